import Foundation

/// A server that answers any GET over TLS, with the certificate of a database server: for `localhost`, and 127.0.0.1.
package final class HTTPSServer: Sendable {
    package let port: Int
    private let process: SupervisedProcess

    /// Returns when the server listens.
    package init(like server: PostgresServer) async throws {
        let directory = (server.authority as NSString).deletingLastPathComponent
        let copy = try TemporaryDirectory.make()
        port = try Loopback.freePort()
        for file in ["server.crt", "server.key"] {
            try FileManager.default.copyItem(atPath: "\(directory)/\(file)", toPath: "\(copy)/\(file)")
        }
        let program = """
            import http.server, ssl
            class Answer(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200)
                    self.end_headers()
            server = http.server.HTTPServer(("127.0.0.1", \(port)), Answer)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("\(copy)/server.crt", "\(copy)/server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
            print("listening")
            server.serve_forever()
            """
        process = try SupervisedProcess(["/usr/bin/env", "python3", "-u", "-c", program], logPath: copy + "/log")
        try await eventually(
            "the HTTPS server listens", within: .seconds(60), details: { try log }, { try log.contains("listening") })
    }

    /// One line per request.
    package var log: String {
        get throws {
            FileManager.default.contents(atPath: process.logPath).map { String(decoding: $0, as: UTF8.self) } ?? ""
        }
    }

    package func stop() { process.stop() }
}
