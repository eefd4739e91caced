import Glibc
import Time

extension ListenAddress {
    /// The most bytes of a Unix socket's path: sockaddr_un of unix(7) has 108, the last of them zero.
    static let longestPath = 107

    /// Reads an IP address and port, or `unix:` and a path; `nil` for any other text. A name's address may change.
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
        // Room for an address of either family: IPv6's is the larger one.
        var address = in6_addr()
        let family = isBracketed ? AF_INET6 : AF_INET
        guard inet_pton(family, name, &address) == 1 else { return nil }
        self = .tcp(host: Self.host(family, &address), port: port)
    }
}
