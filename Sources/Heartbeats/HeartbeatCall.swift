import COpenSSL
import Glibc
import Synchronization
import Time

/// One GET, of which only the status of the answer counts. Blocks its thread.
///
/// TLS is that of the library that libpq uses, with the system's authorities: it costs nothing, where a client library
/// with a TLS of its own would have added megabytes to the program.
enum HeartbeatCall {
    static func make(to url: HeartbeatURL, limit: Duration, authorities: [String]) throws(HeartbeatFailure) {
        let deadline = ContinuousClock.now + limit
        let descriptor = try connected(to: url, by: deadline)
        // Whatever the other end does, or does not: at the deadline every wait on the socket ends.
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
            "GET \(url.target) HTTP/1.1\r\nHost: \(url.authority)\r\nUser-Agent: mcp-cleanupd\r\n"
            + "Accept: */*\r\nConnection: close\r\n\r\n"
        let answer =
            try url.isTLS
            ? TLSExchange.send(request, over: descriptor, host: url.host, authorities: authorities)
            : send(request, over: descriptor)
        guard !answer.isEmpty else { throw .unanswered }
        guard answer.hasPrefix("HTTP/1."), let status = Int(answer.dropFirst(9).prefix(3)) else { throw .notHTTP }
        guard (200..<300).contains(status) else { throw .refused(status: status) }
    }

    /// `HTTP/1.1 200`.
    fileprivate static let statusLength = 12

    private static func send(_ request: String, over descriptor: Int32) -> String {
        let bytes = Array(request.utf8)
        // A few hundred bytes fit into any socket's buffer.
        guard Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { return "" }
        return readStatus { recv(descriptor, $0, $1, 0) }
    }

    fileprivate static func readStatus(_ read: (UnsafeMutableRawPointer?, Int) -> Int) -> String {
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: statusLength)
        while answer.count < statusLength {
            let count = buffer.withUnsafeMutableBytes { read($0.baseAddress, statusLength - answer.count) }
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }

    /// Tries the host's addresses in their order, each for its share of what is left: a network that loses what goes to
    /// one, as happens with IPv6, must not keep us from the others.
    private static func connected(
        to url: HeartbeatURL, by deadline: ContinuousClock.Instant
    ) throws(HeartbeatFailure) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(url.host, "\(url.port)", &hints, &found)
        guard status == 0 else { throw .unresolved(String(cString: gai_strerror(status))) }
        defer { freeaddrinfo(found) }
        var code: Int32 = ETIMEDOUT
        var next = found
        // Ends with the list.
        while let address = next?.pointee, deadline > .now {
            let type = address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue)
            let descriptor = socket(address.ai_family, type, address.ai_protocol)
            guard descriptor >= 0 else { throw .unreachable(errno) }
            let count = sequence(first: address, next: \.ai_next?.pointee).lazy.reduce(0) { count, _ in count + 1 }
            let share = max((deadline - .now) / count, .milliseconds(1)).components
            // connect(2) heeds it too: socket(7).
            var patience = timeval(tv_sec: Int(share.seconds), tv_usec: Int(share.attoseconds / 1_000_000_000_000))
            setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
            if connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 { return descriptor }
            code = errno == EINPROGRESS ? ETIMEDOUT : errno
            close(descriptor)
            next = address.ai_next
        }
        throw .unreachable(code)
    }
}

/// The same over TLS: with the system's authorities, and the host's own name or address in the certificate.
private enum TLSExchange {
    static func send(
        _ request: String, over descriptor: Int32, host: String, authorities: [String]
    ) throws(HeartbeatFailure) -> String {
        guard let context = SSL_CTX_new(TLS_client_method()), SSL_CTX_set_default_verify_paths(context) == 1 else {
            throw failure()
        }
        defer { SSL_CTX_free(context) }
        // The library's own places are links of a package that an image need not have.
        if let bundle = authorities.first(where: { access($0, R_OK) == 0 }),
            SSL_CTX_load_verify_file(context, bundle) != 1
        {
            throw failure()
        }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        guard let connection = SSL_new(context) else { throw failure() }
        defer { SSL_free(connection) }
        var address = in6_addr()
        let isAddress = inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1
        let isNamed =
            isAddress
            ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(connection), host) == 1
                // The macro SSL_set_tlsext_host_name: a server with many names has to know which is meant.
            : SSL_set1_host(connection, host) == 1
                && host.withCString {
                    SSL_ctrl(
                        connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name),
                        UnsafeMutableRawPointer(mutating: $0)) == 1
                }
        guard isNamed, SSL_set_fd(connection, descriptor) == 1, SSL_connect(connection) == 1 else {
            let verification = SSL_get_verify_result(connection)
            guard verification == Int(X509_V_OK) else {
                throw .tls(String(cString: X509_verify_cert_error_string(verification)))
            }
            throw failure()
        }
        let bytes = Array(request.utf8)
        guard SSL_write(connection, bytes, Int32(bytes.count)) == Int32(bytes.count) else { return "" }
        return HeartbeatCall.readStatus { Int(SSL_read(connection, $0, Int32($1))) }
    }

    private static func failure() -> HeartbeatFailure {
        let code = ERR_get_error()
        guard code != 0 else { return .unanswered }
        var text = [CChar](repeating: 0, count: 256)
        ERR_error_string_n(code, &text, text.count)
        return .tls(text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })
        // The array has 256 elements, so it has an address.
    }
}

extension String {
    init(errorNumber code: Int32) { self.init(cString: strerror(code)) }
}
