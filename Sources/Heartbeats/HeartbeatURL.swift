import Glibc

/// A URL that is called after a run. Its path and query may hold a token, and appear in no description.
package struct HeartbeatURL: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// The whole URL; never for people.
    package let text: String
    let isTLS: Bool
    /// Without the brackets of an IPv6 address.
    let host: String
    let port: Int
    /// Path and query, as a request line has them.
    package let target: String

    /// Reads `http://` and `https://` URLs without user and password; `nil` for anything else.
    package init?(parsing text: String) {
        isTLS = text.hasPrefix("https://")
        // RFC 3986, section 2: printable ASCII, and no blanks.
        guard isTLS || text.hasPrefix("http://"), text.utf8.allSatisfy({ (33...126).contains($0) }) else { return nil }
        let rest = text.dropFirst(isTLS ? 8 : 7).prefix { $0 != "#" }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let portText: Substring
        if authority.hasPrefix("[") {
            guard let bracket = authority.firstIndex(of: "]") else { return nil }
            host = String(authority[..<bracket].dropFirst())
            var address = in6_addr()
            guard inet_pton(AF_INET6, host, &address) == 1 else { return nil }
            portText = authority[bracket...].dropFirst()
        } else {
            host = String(authority.prefix { $0 != ":" })
            let isName = host.allSatisfy { $0.isLetter || $0.isNumber || "-._".contains($0) }
            guard isName, !host.isEmpty else { return nil }
            portText = authority.dropFirst(host.count)
        }
        let digits = portText.dropFirst()
        guard portText.isEmpty || portText.first == ":" && digits.allSatisfy(\.isNumber),
            let port = portText.isEmpty ? isTLS ? 443 : 80 : Int(digits), (1...65_535).contains(port)
        else { return nil }
        self.port = port
        let target = rest.dropFirst(authority.count)
        self.target = target.hasPrefix("/") ? String(target) : "/" + target
        self.text = text
    }

    package var description: String { "\(isTLS ? "https" : "http")://\(name):\(port)/…" }

    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// The value of the Host field: RFC 9110, section 7.2.
    var authority: String { port == (isTLS ? 443 : 80) ? name : "\(name):\(port)" }

    private var name: String { host.contains(":") ? "[\(host)]" : host }
}
