import Glibc

/// An address to listen on: an IP address of this machine with a port, or a Unix socket.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The host as inet_ntop(3) writes it, so that equal addresses are equal texts: without an IPv6 address's brackets.
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

    /// Returns the text of an address of the family AF_INET or AF_INET6.
    /// - Parameter address: at least the 4 or 16 bytes of an address of that family.
    package static func host(_ family: Int32, _ address: UnsafeRawPointer) -> String {
        // Only inet_ntop(3) reads it, and no more bytes than the family has: callers pass the 16 of IPv6 or more.
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
            // inet_ntop(3) fails only for other families and shorter buffers.
            inet_ntop(family, address, text.baseAddress, socklen_t(text.count)).map { String(cString: $0) } ?? ""
        }
    }

    /// True if only programs of this machine reach it over IP, browsers included: web pages may try DNS rebinding.
    package var isLoopback: Bool {
        guard case .tcp(let host, _) = self else { return false }
        return host.hasPrefix("127.") || host == "::1" || host.hasPrefix("::ffff:127.")
    }

    /// True if every machine that reaches this one reaches the address.
    package var isOnAllAddresses: Bool {
        guard case .tcp(let host, _) = self else { return false }
        return ["0.0.0.0", "::", "::ffff:0.0.0.0"].contains(host)
    }

    /// True if a client that connects to the other address reaches this one.
    package func isReached(at other: ListenAddress) -> Bool {
        guard isOnAllAddresses, case .tcp(_, let port) = self, case .tcp(_, port) = other else {
            return self == other
        }
        return true
    }
}
