import Glibc

/// A TCP address to listen on: an IP address of this machine, and a port.
package struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// Without the brackets of an IPv6 address.
    package let host: String
    package let port: Int

    /// Other machines see nothing of it.
    package static let loopback = ListenAddress(host: "127.0.0.1", port: 9764)

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `127.0.0.1:9764` or `[::1]:9764`; `nil` for anything else, a host's name included.
    init?(parsing text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let (host, digits) = (text[..<colon], text[text.index(after: colon)...])
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(digits), (1...65_535).contains(port)
        else { return nil }
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let name = isBracketed ? String(host.dropFirst().dropLast()) : String(host)
        // As large as the larger of both kinds of address.
        var address = in6_addr()
        guard inet_pton(isBracketed ? AF_INET6 : AF_INET, name, &address) == 1 else { return nil }
        self.init(host: name, port: port)
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// A URL that is called after a run. Its path and query may hold a token: nothing that describes it shows them.
package struct NotifyURL: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// The whole URL; never for people.
    package let text: String
    package let isTLS: Bool
    /// Without the brackets of an IPv6 address.
    package let host: String
    package let port: Int
    /// Path and query, as a request line has them.
    package let target: String

    /// Reads `http://` and `https://` URLs without user and password; `nil` for anything else.
    init?(parsing text: String) {
        let isTLS = text.hasPrefix("https://")
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
        self.isTLS = isTLS
    }

    package var description: String {
        "\(isTLS ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)/…"
    }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension ValueGrammar<ListenAddress> {
    static var listenAddress: Self {
        Self(
            read: { text throws(Expectation) in
                guard let address = ListenAddress(parsing: text) else {
                    throw Expectation("an IP address and a port, such as 127.0.0.1:9764 or [::1]:9764")
                }
                return address
            },
            write: \.description)
    }
}

extension ValueGrammar<NotifyURL> {
    static var url: Self {
        Self(
            read: { text throws(Expectation) in
                guard let url = NotifyURL(parsing: text) else {
                    throw Expectation("a URL such as https://hc-ping.com/UUID, without user and password")
                }
                return url
            },
            write: \.text)
    }
}
