import Glibc

/// An address to listen on: an IP address of this machine with a port, or a Unix socket.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The host without the brackets of an IPv6 address.
    case tcp(host: String, port: Int)
    case unix(path: String)

    /// Not reachable from other machines.
    package static let loopback = ListenAddress.tcp(host: "127.0.0.1", port: 9764)

    /// The most bytes of a Unix socket's path: sockaddr_un of unix(7) has 108, the last of them zero.
    private static let longestPath = 107

    /// True if every machine that reaches this one reaches the address.
    package var isOnAllAddresses: Bool {
        guard case .tcp(let host, _) = self, let bytes = Self.bytes(host, isIPv6: host.contains(":")) else {
            return false
        }
        // 0.0.0.0 and ::, however they are written.
        return bytes.allSatisfy { $0 == 0 }
    }

    package var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// The bytes of an IP address, and zeros behind those of the shorter kind; `nil` for any other text.
    private static func bytes(_ text: some StringProtocol, isIPv6: Bool) -> [UInt8]? {
        // As large as the larger of both kinds of address.
        var address = in6_addr()
        guard inet_pton(isIPv6 ? AF_INET6 : AF_INET, String(text), &address) == 1 else { return nil }
        return withUnsafeBytes(of: &address) { Array($0) }
    }
}

extension ListenAddress: ConfigurationValue {
    static var form: String {
        "an IP address and a port, such as 127.0.0.1:9764 or [::1]:9764, or unix: and an absolute path of at most "
            + "\(longestPath) bytes"
    }

    /// No host's name: it would mean another address tomorrow.
    static func read(_ text: String) -> ListenAddress? {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            let isPath = path.hasPrefix("/") && path.utf8.count <= longestPath && !path.utf8.contains(0)
            return isPath ? .unix(path: path) : nil
        }
        guard let colon = text.lastIndex(of: ":"), let port = Int.read(String(text[text.index(after: colon)...])),
            (1...65_535).contains(port)
        else { return nil }
        let host = text[..<colon]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let name = isBracketed ? host.dropFirst().dropLast() : host
        return bytes(name, isIPv6: isBracketed) == nil ? nil : .tcp(host: String(name), port: port)
    }
}
