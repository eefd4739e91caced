import Glibc

/// Where HTTP is served: an IP address of this machine, and a port.
package struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// Without brackets.
    package let host: String
    package let port: Int

    /// Other machines see nothing of it.
    package static let loopback = ListenAddress(host: "127.0.0.1", port: 9764)

    private init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `127.0.0.1:9764` or `[::1]:9764`; `nil` for names, and for anything else.
    package init?(parsing text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0,
            // UInt16 reads a sign too.
            text.last?.isNumber ?? false, text[text.index(after: colon)] != "+"
        else { return nil }
        let host = text[..<colon]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let bare = String(isBracketed ? host.dropFirst().dropLast() : host)
        var address = in6_addr()
        guard inet_pton(isBracketed ? AF_INET6 : AF_INET, bare, &address) == 1 else { return nil }
        self.init(host: bare, port: Int(port))
    }

    package var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }
}
