import Glibc

/// A URL that is called after a run. Its path and query may hold a token, and appear in no description.
package struct HeartbeatURL: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// The whole URL; never for people.
    package let text: String
    package let isTLS: Bool
    /// Without the brackets of an IPv6 address.
    package let host: String
    package let port: Int
    /// Path and query, as a request line has them.
    package let target: String

    /// Reads `http://` and `https://` URLs without user and password; `nil` for anything else.
    package init?(parsing text: String) {
        isTLS = text.hasPrefix("https://")
        // RFC 3986, section 2: printable ASCII, and no blanks.
        guard isTLS || text.hasPrefix("http://"), text.utf8.allSatisfy({ (33...126).contains($0) }) else { return nil }
        let rest = text.dropFirst(isTLS ? 8 : 7).prefix { $0 != "#" }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard !authority.contains("@") else { return nil }
        let afterHost: Substring
        if authority.hasPrefix("[") {
            guard let bracket = authority.firstIndex(of: "]") else { return nil }
            host = String(authority[authority.index(after: authority.startIndex)..<bracket])
            var address = in6_addr()
            guard inet_pton(AF_INET6, host, &address) == 1 else { return nil }
            afterHost = authority[authority.index(after: bracket)...]
        } else {
            host = String(authority.prefix { $0 != ":" })
            let isName = host.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
            guard !host.isEmpty, isName else { return nil }
            afterHost = authority.dropFirst(host.count)
        }
        if afterHost.isEmpty {
            port = isTLS ? 443 : 80
        } else {
            let digits = afterHost.dropFirst()
            guard afterHost.first == ":", digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(digits),
                (1...65_535).contains(port)
            else { return nil }
            self.port = port
        }
        let target = rest.dropFirst(authority.count)
        self.target = target.hasPrefix("/") ? String(target) : "/" + target
        self.text = text
    }

    package var description: String {
        "\(isTLS ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)/…"
    }

    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// As the Host field has it: RFC 9110, section 7.2.
    var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isTLS ? 443 : 80) ? name : "\(name):\(port)"
    }
}
