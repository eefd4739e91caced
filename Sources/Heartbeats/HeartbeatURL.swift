/// Where a heartbeat goes: a URL, taken apart. Path and query may hold a token, and appear in no description.
package struct HeartbeatURL: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    package let isTLS: Bool
    /// Without the brackets of an IPv6 address.
    package let host: String
    package let port: Int
    /// Path and query, as a request line has them.
    package let target: String

    package init(isTLS: Bool, host: String, port: Int, target: String) {
        self.isTLS = isTLS
        self.host = host
        self.port = port
        self.target = target
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
