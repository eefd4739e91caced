import Glibc
import Time

/// One address to try: libpq's `host`, `hostaddr` and `port`.
struct HostCandidate: Hashable, Sendable {
    /// The name that a certificate must have, or a socket's directory; `nil` for libpq's default.
    var host: String?
    /// A numeric address, so that libpq resolves nothing itself.
    var address: String?
    var port: String?

    /// True for a path, an abstract socket's name (`@`), and libpq's default host: libpq manual, `host`.
    var isUnixSocket: Bool {
        let place = address ?? host ?? ""
        return place.isEmpty || place.hasPrefix("/") || place.hasPrefix("@")
    }

    /// For messages: visible, with an ellipsis for a part that looks like a URL.
    var description: String {
        let name = (host ?? address ?? "the default host").withoutURL
        let resolved = address.flatMap { $0 == name ? nil : " (\($0))" } ?? ""
        return name + resolved + (port.map { ", port \($0.withoutURL)" } ?? "")
    }

    /// Returns this host at each of its addresses: libpq would resolve the name itself, without a limit.
    /// - Throws: `unreachable(.unresolved)` when the name has no address by the deadline; `canceled`.
    func resolved(deadline: ContinuousClock.Instant) async throws(PostgresError) -> [HostCandidate] {
        guard address == nil, !isUnixSocket, let host else { return [self] }
        let started = ContinuousClock.now
        let answer = await BlockingCalls.nameResolutions.run(limit: started.duration(to: deadline)) {
            Self.addresses(of: host)
        }
        if Task.isCancelled { throw .canceled(during: .connecting) }
        if let answer, !answer.addresses.isEmpty {
            return answer.addresses.map { HostCandidate(host: host, address: $0, port: port) }
        }
        let name = host.withoutURL
        let problem =
            answer.map { "the host name \(name) has no address: \($0.problem)" }
            ?? "the name server did not answer for \(name) within \(started.duration(to: .now).secondsText)"
        throw .unreachable(.unresolved, message: problem)
    }

    /// getaddrinfo(3); blocks.
    private static func addresses(of host: String) -> (addresses: [String], problem: String) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        // A list of getaddrinfo(3)'s if it returns 0; read until it is freed at the end of this function.
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, nil, &hints, &list)
        guard status == 0, let first = list else { return ([], String(cString: gai_strerror(status))) }
        defer { freeaddrinfo(list) }
        let addresses = sequence(first: first, next: { $0.pointee.ai_next }).compactMap { entry -> String? in
            // NI_MAXHOST of netdb.h.
            var text = [CChar](repeating: 0, count: 1025)
            let status = getnameinfo(
                entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
            guard status == 0 else { return nil }
            return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        return (addresses, "no usable address")
    }
}

extension DatabaseURL {
    /// Returns the URL's hosts in its order, with their ports, paired as in libpq: one port for all, or one for each.
    /// - Throws: `invalidParameters` when the lists do not match, or when a service file would have to be read.
    func hosts(environment: [String: String]) throws(PostgresError) -> [HostCandidate] {
        var hosts = Self.list(parameters["host"])
        var addresses = Self.list(parameters["hostaddr"])
        var ports = Self.list(parameters["port"])
        if hosts.isEmpty && addresses.isEmpty {
            hosts = Self.list(environment["PGHOST"])
            addresses = Self.list(environment["PGHOSTADDR"])
        }
        if ports.isEmpty { ports = Self.list(environment["PGPORT"]) }
        // libpq would read the file or ask an LDAP server, and resolve the host names found there, all without a limit.
        let isServiceNeeded = hosts.isEmpty && addresses.isEmpty && !Self.list(environment["PGSERVICE"]).isEmpty
        guard parameters["service"] == nil, !isServiceNeeded else {
            throw .invalidParameters("connection services are not supported; it has to name the host itself")
        }
        let count = max(hosts.count, addresses.count, 1)
        guard [0, count].contains(hosts.count), [0, count].contains(addresses.count),
            [0, 1, count].contains(ports.count)
        else { throw .invalidParameters("it names \(count) hosts but another number of addresses or ports") }
        return (0..<count).map { index in
            HostCandidate(
                host: hosts.isEmpty ? nil : hosts[index], address: addresses.isEmpty ? nil : addresses[index],
                port: ports.count == count ? ports[index] : ports.first)
        }
    }
}
