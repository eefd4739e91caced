import Foundation
import Glibc

/// A response over HTTP.
package struct HTTPAnswer: Sendable {
    /// 0 if the response is not HTTP.
    package let status: Int
    package let head: String
    package let body: String
}

/// Requests to 127.0.0.1, whose bytes the test chooses.
package enum LoopbackHTTP {
    package static func get(_ path: String, port: Int, headers: String = "") async throws -> HTTPAnswer {
        try await send(
            "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n\(headers)\r\n", port: port)
    }

    /// Sends the text and reads until the server closes the connection; each read and write may take 15 s.
    package static func send(_ request: String, port: Int) async throws -> HTTPAnswer {
        let text = try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result {
                        let descriptor = try connected(port: port)
                        defer { close(descriptor) }
                        return exchange(Array(request.utf8), over: descriptor)
                    })
            }
        }
        let parts = text.firstRange(of: "\r\n\r\n")
        return HTTPAnswer(
            status: text.hasPrefix("HTTP/1.1 ") ? Int(text.dropFirst(9).prefix(3)) ?? 0 : 0,
            head: String(parts.map { text[..<$0.lowerBound] } ?? text[...]),
            body: parts.map { String(text[$0.upperBound...]) } ?? "")
    }

    /// Opens a connection, which the caller has to close.
    package static func connected(port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: 15, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        guard Loopback.withAddress(port: port, { connect(descriptor, $0, $1) }) == 0 else {
            let code = errno
            close(descriptor)
            throw TestServerError("cannot connect to port \(port): \(String(cString: strerror(code)))")
        }
        return descriptor
    }

    private static func exchange(_ request: [UInt8], over descriptor: Int32) -> String {
        var rest = request[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            // A server may answer before it has read all of a request.
            if count <= 0 { break }
            rest = rest.dropFirst(count)
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
            answer += buffer[..<count]
        }
    }
}
