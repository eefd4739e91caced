import Glibc
import Time

extension ListenAddress: ConfigurationValue {
    /// The most bytes of a Unix socket's path: sockaddr_un of unix(7) has 108, the last of them zero.
    private static let longestPath = 107

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
        let name = String(isBracketed ? host.dropFirst().dropLast() : host)
        // As large as the larger of both kinds of address.
        var address = in6_addr()
        let isAddress = inet_pton(isBracketed ? AF_INET6 : AF_INET, name, &address) == 1
        return isAddress ? .tcp(host: name, port: port) : nil
    }
}
