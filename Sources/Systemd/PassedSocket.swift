import Glibc
package import Time

/// The listening socket that the service manager passed to the service: systemd.socket(5).
package struct PassedSocket: Hashable, Sendable {
    /// Close-on-exec. The caller owns it.
    package let descriptor: Int32
    package let address: ListenAddress

    /// Finds the passed socket; `nil` if none was passed, or libsystemd cannot be used.
    package static func find(environment: [String: String]) throws(SystemdRefusal) -> PassedSocket? {
        guard let count = environment["LISTEN_FDS"], !count.isEmpty else { return nil }
        let passed: [(descriptor: Int32, name: String)]
        do {
            passed = try SystemdLibrary.passedDescriptors()
        } catch .failed(let code) {
            throw SystemdRefusal(
                "the sockets that systemd passed cannot be used: LISTEN_FDS is “\(count)” (\(SystemdError.failed(code)))",
                hint: "Start the service by its systemd unit, or unset LISTEN_FDS.")
        } catch {
            // The library is missing or too old, which the service warns of once: `SystemdLibrary.shortcoming`.
            return nil
        }
        guard let (descriptor, name) = passed.first else { return nil }
        guard passed.count == 1 else {
            let names = passed.map(\.name).joined(separator: ", ")
            throw SystemdRefusal(
                "systemd passed \(passed.count) sockets (\(names)), and the service listens on one",
                hint: "Keep one ListenStream= in mcp-cleanupd.socket.")
        }
        guard option(SO_ACCEPTCONN, of: descriptor) == 1,
            option(SO_TYPE, of: descriptor) == Int32(SOCK_STREAM.rawValue),
            let address = address(of: descriptor)
        else {
            throw SystemdRefusal(
                "what systemd passed as “\(name)” is no listening stream socket",
                hint: "Use one ListenStream= with Accept=no in mcp-cleanupd.socket.")
        }
        return PassedSocket(descriptor: descriptor, address: address)
    }

    /// The value of a socket option that is a number; `nil` if the descriptor is no socket.
    private static func option(_ name: Int32, of descriptor: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }

    /// The address that the socket is bound to; `nil` if it is neither IP nor Unix.
    private static func address(of descriptor: Int32) -> ListenAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // A sockaddr_storage holds an address of any family: socket(7).
        return withUnsafeMutableBytes(of: &storage) { bytes in
            let status = bytes.withMemoryRebound(to: sockaddr.self) {
                getsockname(descriptor, $0.baseAddress, &length)
            }
            guard status == 0 else { return nil }
            let family = Int32(bytes.load(as: sockaddr.self).sa_family)
            switch family {
            case AF_INET, AF_INET6:
                // The port in network order, then the address; in IPv6 a flow label stands between: ip(7), ipv6(7).
                let port = Int(bytes[2]) << 8 | Int(bytes[3])
                let address = Array(bytes[(family == AF_INET ? 4 : 8)...])
                return .tcp(host: ListenAddress.host(family, address), port: port)
            case AF_UNIX:
                // The path begins after the family; an abstract name begins with a zero byte: unix(7).
                let name = bytes[..<Int(length)].dropFirst(MemoryLayout<sa_family_t>.size)
                let path = String(decoding: name.drop { $0 == 0 }.prefix { $0 != 0 }, as: UTF8.self)
                return .unix(path: name.first == 0 ? "@" + path : path)
            default: return nil
            }
        }
    }
}
