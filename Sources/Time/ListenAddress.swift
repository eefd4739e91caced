/// An address to listen on: an IP address of this machine with a port, or a Unix socket.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The host without the brackets of an IPv6 address.
    case tcp(host: String, port: Int)
    /// A path, or `@` and the name of an abstract socket.
    case unix(path: String)

    /// As `http.listen` has it: `127.0.0.1:9764`, `[::1]:9764`, `unix:/run/…`.
    package var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// True if only programs of this machine reach it over IP, browsers included: web pages may try DNS rebinding.
    package var isLoopback: Bool {
        guard case .tcp(let host, _) = self else { return false }
        return host.hasPrefix("127.") || host == "::1"
    }

    /// True if every machine that reaches this one reaches the address: 0.0.0.0 and ::, however they are written.
    package var isOnAllAddresses: Bool {
        guard case .tcp(let host, _) = self else { return false }
        return host.allSatisfy { "0:.".contains($0) }
    }

    /// True if a client that connects to the other address reaches this one.
    package func isReached(at other: ListenAddress) -> Bool {
        guard isOnAllAddresses, case .tcp(_, let port) = self, case .tcp(_, port) = other else {
            return self == other
        }
        return true
    }
}
