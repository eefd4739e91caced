import Glibc
package import Heartbeats

/// An address to listen on: an IP address of this machine with a port, or a Unix socket.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The host without the brackets of an IPv6 address.
    case tcp(host: String, port: Int)
    case unix(path: String)

    /// Not reachable from other machines.
    package static let loopback = ListenAddress.tcp(host: "127.0.0.1", port: 9764)

    /// The most bytes of a Unix socket's path: sockaddr_un of unix(7) has 108, the last of them zero.
    private static let longestPath = 107

    /// Reads `127.0.0.1:9764`, `[::1]:9764` or `unix:/path`; `nil` for anything else, a host's name included.
    init?(parsing text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard path.hasPrefix("/"), path.utf8.count <= Self.longestPath, !path.utf8.contains(0) else { return nil }
            self = .unix(path: path)
            return
        }
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let (host, digits) = (text[..<colon], text[text.index(after: colon)...])
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(digits), (1...65_535).contains(port)
        else { return nil }
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let name = isBracketed ? String(host.dropFirst().dropLast()) : String(host)
        // As large as the larger of both kinds of address.
        var address = in6_addr()
        guard inet_pton(isBracketed ? AF_INET6 : AF_INET, name, &address) == 1 else { return nil }
        self = .tcp(host: name, port: port)
    }

    /// True if every machine that reaches this one reaches the address.
    package var isOnAllAddresses: Bool {
        guard case .tcp(let host, _) = self else { return false }
        var address = in6_addr()
        guard inet_pton(host.utf8.contains(UInt8(ascii: ":")) ? AF_INET6 : AF_INET, host, &address) == 1 else {
            return false
        }
        // 0.0.0.0 and ::, however they are written; the larger address is zero from the start.
        return withUnsafeBytes(of: &address) { $0.allSatisfy { $0 == 0 } }
    }

    package var description: String {
        switch self {
        case .tcp(let host, let port): host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}

extension ListenAddress: ConfigurationValue {
    static var form: String {
        "an IP address and a port, such as 127.0.0.1:9764 or [::1]:9764, or unix: and an absolute path of at most "
            + "\(longestPath) bytes"
    }

    static func read(_ text: String) throws(Expectation) -> ListenAddress {
        guard let address = ListenAddress(parsing: text) else { throw Expectation(form) }
        return address
    }

    var configured: String { description }
}

extension HeartbeatURL: ConfigurationValue {
    static var form: String { "a URL such as https://hc-ping.com/UUID, without user and password" }

    static func read(_ text: String) throws(Expectation) -> HeartbeatURL {
        guard let url = HeartbeatURL(parsing: text) else { throw Expectation(form) }
        return url
    }

    var configured: String { text }
}
