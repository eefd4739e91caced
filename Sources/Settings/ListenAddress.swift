import Glibc

/// An address to listen on: an IP address of this machine with a port, or a Unix socket.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The host without the brackets of an IPv6 address.
    case tcp(host: String, port: Int)
    case unix(path: String)

    /// The most bytes of a Unix socket's path: sockaddr_un of unix(7) has 108, the last of them zero.
    static let longestPath = 107

    /// Takes no host's name, which would mean another address tomorrow.
    init?(parsing text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard path.hasPrefix("/"), path.utf8.count <= Self.longestPath, !path.utf8.contains(0) else { return nil }
            self = .unix(path: path)
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = Int(digits: text[colon...].dropFirst()),
            (1...65_535).contains(port)
        else { return nil }
        let host = text[..<colon]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let name = String(isBracketed ? host.dropFirst().dropLast() : host)
        guard Self.bytes(name, isIPv6: isBracketed) != nil else { return nil }
        self = .tcp(host: name, port: port)
    }

    /// True if every machine that reaches this one reaches the address.
    package var isOnAllAddresses: Bool {
        guard case .tcp(let host, _) = self else { return false }
        // 0.0.0.0 and ::, however they are written.
        return Self.bytes(host, isIPv6: host.contains(":"))?.allSatisfy { $0 == 0 } ?? false
    }

    package var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// The bytes of an IP address, and zeros behind those of the shorter kind; `nil` for any other text.
    private static func bytes(_ text: String, isIPv6: Bool) -> [UInt8]? {
        // As large as the larger of both kinds of address.
        var address = in6_addr()
        guard inet_pton(isIPv6 ? AF_INET6 : AF_INET, text, &address) == 1 else { return nil }
        return withUnsafeBytes(of: &address) { Array($0) }
    }
}
