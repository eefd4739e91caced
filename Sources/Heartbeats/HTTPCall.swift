import Glibc
import Synchronization
import Time

/// One GET over a connection of its own. Blocks its thread.
package enum HTTPCall {
    package enum Server: Hashable, Sendable {
        /// The host is a name, or an address without brackets. With TLS, its certificate has to be signed by one of the
        /// system's authorities or of those in the first of `authorities`' files that can be read.
        case tcp(host: String, port: Int, isTLS: Bool, authorities: [String])
        case unix(path: String)
    }

    /// Makes the call, and reads `length` bytes of the answer at most. Only the resolver may take longer than `limit`.
    ///
    /// - Parameter authority: the value of the Host field: RFC 9110, section 7.2.
    package static func get(
        _ target: String, from server: Server, authority: String, within limit: Duration, length: Int
    ) throws(HTTPFailure) -> (status: Int, body: String) {
        let deadline = ContinuousClock.now + limit
        let descriptor = try connected(to: server, by: deadline)
        // At the deadline every wait on the socket ends, also if the other end sends nothing.
        let isOpen = Mutex(true)
        let end = Deadlines.shared.add(at: deadline) {
            isOpen.withLock { if $0 { shutdown(descriptor, Int32(SHUT_RDWR)) } }
        }
        defer {
            Deadlines.shared.cancel(end)
            isOpen.withLock { isOpen in
                isOpen = false
                close(descriptor)
            }
        }
        let request =
            "GET \(target) HTTP/1.1\r\nHost: \(authority)\r\nUser-Agent: mcp-cleanupd\r\n"
            + "Accept: */*\r\nConnection: close\r\n\r\n"
        let answer: String
        if case .tcp(let host, _, true, let authorities) = server {
            answer = try TLSExchange.send(
                request, over: descriptor, host: host, authorities: authorities, length: length)
        } else {
            // A few hundred bytes fit into any socket's buffer.
            let isSent = send(descriptor, request, request.utf8.count, Int32(MSG_NOSIGNAL)) == request.utf8.count
            answer = isSent ? text(length: length) { recv(descriptor, $0, $1, 0) } : ""
        }
        guard !answer.isEmpty else { throw .unanswered }
        guard answer.hasPrefix("HTTP/1."), let status = Int(answer.dropFirst(9).prefix(3)) else { throw .notHTTP }
        let body = answer.firstRange(of: "\r\n\r\n").map { answer[$0.upperBound...] } ?? ""
        return (status, String(body))
    }

    /// Reads the answer to its end, or its first `length` bytes.
    // The pointer is into the buffer, which has `wanted` bytes, and is used during the call only.
    static func text(length: Int, _ read: (UnsafeMutableRawPointer?, Int) -> Int) -> String {
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: min(length, 4096))
        while answer.count < length {
            let wanted = min(buffer.count, length - answer.count)
            let count = buffer.withUnsafeMutableBytes { read($0.baseAddress, wanted) }
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }

    /// Tries the server's addresses in their order, each for its share of the time that is left: a network that loses the
    /// packets to one of them, as happens with IPv6, must not keep us from the others.
    private static func connected(
        to server: Server, by deadline: ContinuousClock.Instant
    ) throws(HTTPFailure) -> Int32 {
        let addresses = try addresses(of: server)
        var failure = HTTPFailure.unreachable(ETIMEDOUT)
        for (index, address) in addresses.enumerated() where deadline > .now {
            do {
                let left = (deadline - .now) / (addresses.count - index)
                return try connected(to: address, within: max(left, .milliseconds(1)))
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// Returns the bytes of each address: of a `sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.
    private static func addresses(of server: Server) throws(HTTPFailure) -> [[UInt8]] {
        switch server {
        case .unix(let path):
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            // A longer path would have no zero byte at its end.
            guard path.utf8.count < MemoryLayout.size(ofValue: name.sun_path) else { throw .unreachable(ENAMETOOLONG) }
            withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
            return [withUnsafeBytes(of: name) { Array($0) }]
        case .tcp(let host, let port, _, _):
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            // If getaddrinfo(3) returns 0, this is its list, read only until it is freed at the end of this function.
            var found: UnsafeMutablePointer<addrinfo>?
            let status = getaddrinfo(host, "\(port)", &hints, &found)
            guard status == 0, let first = found else { throw .unresolved(String(cString: gai_strerror(status))) }
            defer { freeaddrinfo(found) }
            return sequence(first: first.pointee, next: \.ai_next?.pointee).map {
                // An address has as many bytes as its entry says.
                Array(UnsafeRawBufferPointer(start: $0.ai_addr, count: Int($0.ai_addrlen)))
            }
        }
    }

    private static func connected(to address: [UInt8], within limit: Duration) throws(HTTPFailure) -> Int32 {
        // Every address begins with its family.
        let family = address.withUnsafeBytes { Int32($0.loadUnaligned(as: sa_family_t.self)) }
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .unreachable(errno) }
        // SO_SNDTIMEO limits connect(2) too: socket(7).
        let (seconds, attoseconds) = limit.components
        var time = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        let status = address.withUnsafeBytes {
            connect(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        guard status == 0 else {
            let code = errno == EINPROGRESS ? ETIMEDOUT : errno
            close(descriptor)
            throw .unreachable(code)
        }
        return descriptor
    }
}

/// Why a call failed, or may have. Holds nothing of the URL but its host.
package enum HTTPFailure: Error, Hashable, Sendable, CustomStringConvertible {
    case unresolved(String)
    /// With an `errno`.
    case unreachable(Int32)
    case tls(String)
    /// The connection or the time limit ended before an answer came.
    case unanswered
    /// An answer other than 2xx.
    case refused(status: Int)
    case notHTTP

    package var description: String {
        switch self {
        case .unresolved(let message): "the host's name cannot be resolved: \(message)"
        case .unreachable(let code): "the host cannot be reached: \(String(cString: strerror(code)))"
        case .tls(let message): "TLS failed: \(message)"
        case .unanswered: "no answer came in time"
        case .refused(let status): "the answer was \(status)"
        case .notHTTP: "what answered does not speak HTTP"
        }
    }
}
