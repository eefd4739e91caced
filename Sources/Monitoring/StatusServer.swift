import Glibc
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypes
import NIOPosix
import ServiceLifecycle

/// Serves `Endpoints` over HTTP/1.1, on a thread of its own, so that a stuck scheduler can be told.
///
/// Whatever comes in takes bounded memory and time: see `ConnectionLimits`. Between requests nothing wakes up.
package struct StatusServer: Service, CustomStringConvertible {
    private let address: (host: String, port: Int)
    private let endpoints: Endpoints
    private let onListening: @Sendable () -> Void

    /// - Parameters:
    ///   - address: an IP address, without brackets, and a port; 0 is one that is free.
    ///   - onListening: called once connections are taken.
    package init(
        address: (host: String, port: Int), endpoints: Endpoints, onListening: @escaping @Sendable () -> Void
    ) {
        self.address = address
        self.endpoints = endpoints
        self.onListening = onListening
    }

    /// Short: the service group puts it into its messages.
    package var description: String { "http" }

    /// Takes connections until the graceful shutdown.
    /// - Throws: `ListenFailure`.
    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let limits = ConnectionLimits()
        let isLoopback = address.host.hasPrefix("127.") || address.host == "::1"
        let channel = HTTP1Channel(
            responder: { [endpoints] request, writer, _ in
                let answer =
                    isLoopback && !Self.isLocal(request.head.authority)
                    ? Self.misdirected
                    : await endpoints.answer(method: request.method.rawValue, target: request.head.path ?? "")
                let body = ResponseBody(byteBuffer: ByteBuffer(string: request.method == .head ? "" : answer.body))
                try await writer.write(response: answer.head, body: body)
            },
            configuration: .init(
                additionalChannelHandlers: [limits.handler()], idleTimeout: ConnectionLimits.lifetime,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 8192, maxHeaderListSize: 16_384, maxHeaderFieldCount: 64)))
        let server = Server(
            childChannelSetup: channel,
            configuration: ServerConfiguration(address: .hostname(address.host, port: address.port)),
            onServerRunning: { [onListening] _ in onListening() }, eventLoopGroup: group, logger: Self.silent)
        do {
            try await withTaskExecutorPreference(EventLoopExecutor(group.next())) { try await server.run() }
        } catch let error as IOError {
            throw ListenFailure(host: address.host, port: address.port, code: error.errnoCode)
        }
    }

    /// Connections are nobody's news, least of all those of an attacker.
    private static let silent = Logger(label: "mcp-cleanupd.http") { _ in SwiftLogNoOpLogHandler() }

    // MARK: DNS rebinding

    /// Whether a request to a loopback address names it as a person or a scraper on this machine would. A web page whose
    /// name was made to point at 127.0.0.1 names itself.
    private static func isLocal(_ authority: String?) -> Bool {
        guard let authority, !authority.isEmpty else { return true }
        if authority.hasPrefix("[") { return true }
        let host = authority.prefix { $0 != ":" }
        return host == "localhost" || host.allSatisfy { $0.isASCII && $0.isNumber || $0 == "." }
    }

    private static let misdirected = Endpoints.Answer(
        421,
        "The Host header names another host. Ask for localhost or an IP address, or set http.listen to the address that others reach."
    )
}

extension Endpoints.Answer {
    fileprivate var head: HTTPResponse {
        var fields: HTTPFields = [
            .contentType: contentType, .contentLength: "\(body.utf8.count)", .cacheControl: "no-store",
            .contentSecurityPolicy: contentPolicy, .xContentTypeOptions: "nosniff", .connection: "close",
        ]
        if let name = HTTPField.Name("Referrer-Policy") { fields[name] = "no-referrer" }
        if let name = HTTPField.Name("Cross-Origin-Resource-Policy") { fields[name] = "same-origin" }
        if status == 405 { fields[.allow] = "GET, HEAD" }
        return HTTPResponse(status: .init(code: status), headerFields: fields)
    }
}

/// Runs tasks on the thread that has their sockets: from one to another and back, a thread that slept would cost each
/// request more than its answer does.
private final class EventLoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// The address could not be listened on.
package struct ListenFailure: Error, CustomStringConvertible {
    package let host: String
    package let port: Int
    /// An `errno`.
    package let code: Int32

    /// Whether it may pass: somebody else has the address now, or nobody has it yet, as while a machine boots.
    package var mayPass: Bool { code == EADDRINUSE || code == EADDRNOTAVAIL }

    package var description: String {
        "cannot listen on \(host.contains(":") ? "[\(host)]" : host):\(port): \(String(cString: strerror(code)))"
    }

    /// What to do about it.
    package var hint: String { "Set http.listen to another address and port, or to off." }
}
