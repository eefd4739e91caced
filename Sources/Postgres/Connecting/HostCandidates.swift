import Glibc
import Time

/// One address to try: libpq's `host`, `hostaddr` and `port`.
struct HostCandidate: Hashable, Sendable {
    /// The name that a certificate must have, or a socket's directory; `nil` for libpq's default.
    var host: String?
    /// A numeric address, so that libpq resolves nothing itself.
    var address: String?
    var port: String?

    /// True for a path, an abstract socket's name, and libpq's default host.
    var isUnixSocket: Bool {
        guard let place = address ?? host, !place.isEmpty else { return true }
        return place.hasPrefix("/") || place.hasPrefix("@")
    }

    /// Visible, and without what looks like a URL.
    var description: String {
        let name = (host ?? address ?? "the default host").withoutURL
        let resolved = address.flatMap { $0 == name ? nil : " (\($0))" } ?? ""
        return name + resolved + (port.map { ", port \($0.withoutURL)" } ?? "")
    }
}

extension DatabaseURL {
    /// Returns the URL's hosts in its order, with their ports, paired as in libpq: one port for all, or one for each.
    ///
    /// - Parameter environment: for libpq's own `PGHOST`, `PGHOSTADDR` and `PGPORT`, used where the URL has no value.
    /// - Throws: `invalidParameters` when the lists do not match, or when a service file would have to be read.
    func hosts(environment: [String: String]) throws(PostgresError) -> [HostCandidate] {
        var (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"))
        if hosts.isEmpty && addresses.isEmpty {
            hosts = Self.list(environment["PGHOST"])
            addresses = Self.list(environment["PGHOSTADDR"])
        }
        if ports.isEmpty { ports = Self.list(environment["PGPORT"]) }
        // libpq would read the file, or ask an LDAP server, and resolve the names that it has, all without a limit.
        let isServiceNeeded = hosts.isEmpty && addresses.isEmpty && !Self.list(environment["PGSERVICE"]).isEmpty
        guard parameters["service"] == nil, !isServiceNeeded else {
            throw .invalidParameters("connection services are not supported; it has to name the host itself")
        }
        let count = max(hosts.count, addresses.count, 1)
        guard hosts.isEmpty || hosts.count == count, addresses.isEmpty || addresses.count == count,
            ports.count <= 1 || ports.count == count
        else {
            throw .invalidParameters("it names \(count) hosts but another number of addresses or ports")
        }
        return (0..<count).map { index in
            HostCandidate(
                host: hosts.isEmpty ? nil : hosts[index], address: addresses.isEmpty ? nil : addresses[index],
                port: ports.count == 1 ? ports[0] : ports.isEmpty ? nil : ports[index])
        }
    }
}

extension HostCandidate {
    /// Returns this host at each of its addresses.
    ///
    /// libpq would resolve the name itself, and block its caller without a limit; given an address it does not.
    /// - Throws: `unreachable(.unresolved)` when the name has no address by the deadline; `canceled`.
    func resolved(deadline: ContinuousClock.Instant) async throws(PostgresError) -> [HostCandidate] {
        guard address == nil, let host, Self.needsResolution(host) else { return [self] }
        let started = ContinuousClock.now
        let limit = started.duration(to: deadline)
        let answer = await BlockingCalls.nameResolutions.run(limit: limit) { Self.resolve(host) }
        if Task.isCancelled { throw .canceled(during: .connecting) }
        switch answer {
        case .addresses(let addresses):
            return addresses.map { HostCandidate(host: host, address: $0, port: port) }
        case .failure(let message):
            throw .unreachable(.unresolved, message: "the host name \(host.withoutURL) has no address: \(message)")
        case nil:
            let message =
                "the name server did not answer for \(host.withoutURL) within \(started.duration(to: .now).secondsText)"
            throw .unreachable(.unresolved, message: message)
        }
    }

    /// A path or an abstract socket's name (`@`) is no network host; libpq manual, `host`.
    private static func needsResolution(_ host: String) -> Bool {
        !host.isEmpty && !host.hasPrefix("/") && !host.hasPrefix("@")
    }

    private enum Resolution: Sendable {
        case addresses([String])
        case failure(String)
    }

    /// getaddrinfo(3); blocks.
    private static func resolve(_ host: String) -> Resolution {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        // A list of getaddrinfo(3)'s if it returns 0; read until it is freed at the end of this function.
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, nil, &hints, &list)
        guard status == 0 else { return .failure(String(cString: gai_strerror(status))) }
        defer { freeaddrinfo(list) }
        var addresses: [String] = []
        var entry = list
        while let current = entry {
            // NI_MAXHOST of netdb.h.
            var text = [CChar](repeating: 0, count: 1025)
            let named = getnameinfo(
                current.pointee.ai_addr, current.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0,
                NI_NUMERICHOST)
            if named == 0 {
                addresses.append(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
            }
            entry = current.pointee.ai_next
        }
        return addresses.isEmpty ? .failure("no usable address") : .addresses(addresses)
    }
}
