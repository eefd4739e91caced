import Glibc

package enum TransportSecurity {
    /// Where distributions keep all certificate authorities: Debian and Alpine, Fedora and RHEL, SUSE, Alpine's other.
    package static let systemBundles = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]

    /// The home directory as libpq 15 finds it: `HOME`, else the one in the password database.
    fileprivate static func home(_ environment: [String: String]) -> String? {
        if let home = environment["HOME"], !home.isEmpty { return home }
        var record = passwd()
        // getpwuid_r points it to `record` if the user has one; it is only compared with nil.
        var found: UnsafeMutablePointer<passwd>?
        // Above what sysconf(_SC_GETPW_R_SIZE_MAX) suggests anywhere; a longer record counts as none.
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16_384) { buffer in
            guard let start = buffer.baseAddress,
                getpwuid_r(geteuid(), &record, start, buffer.count, &found) == 0, found != nil
            else { return nil }
            return record.pw_dir.map { String(cString: $0) }
        }
    }
}

extension DatabaseURL {
    /// Returns `sslmode` and `sslrootcert` where they must replace the URL's own. `sslrootcert=system` is new in libpq
    /// 16; libpq 15 reads it as a file's name. Without `sslrootcert`, `verify-full` needs `~/.postgresql/root.crt`,
    /// which a hardened service does not have. The path of the system's bundle works with both versions.
    /// - Throws: `invalidParameters` when certificates must be verified and there are none to verify against, or when
    ///   `sslrootcert=system` comes with a weaker `sslmode`.
    func tlsOverrides(
        environment: [String: String], isReadable: (String) -> Bool = { access($0, R_OK) == 0 }
    ) throws(PostgresError) -> [String: String] {
        let authorities = value("sslrootcert", environment)
        var mode = value("sslmode", environment)
        if authorities == "system" {
            // As in libpq 16: to trust every public authority makes sense only if the name is checked too.
            mode = mode ?? "verify-full"
            guard mode == "verify-full" else {
                throw .invalidParameters("sslrootcert=system needs sslmode=verify-full and has a weaker one")
            }
        } else {
            let usersOwn = TransportSecurity.home(environment).map { $0 + "/.postgresql/root.crt" }
            guard mode == "verify-full" || mode == "verify-ca", (authorities ?? "").isEmpty,
                !(usersOwn.map(isReadable) ?? false)
            else { return [:] }
        }
        let candidates = [environment["SSL_CERT_FILE"] ?? ""].filter { !$0.isEmpty } + TransportSecurity.systemBundles
        guard let bundle = candidates.first(where: isReadable) else {
            throw .invalidParameters(
                "sslmode=\(mode ?? "") needs certificate authorities, and none of "
                    + "\(candidates.joined(separator: ", ")) can be read; install ca-certificates or set sslrootcert")
        }
        return value("sslmode", environment) == nil
            ? ["sslmode": "verify-full", "sslrootcert": bundle] : ["sslrootcert": bundle]
    }

    /// The URL's value of a keyword, else the value of libpq's environment variable for it.
    func value(_ keyword: String, _ environment: [String: String]) -> String? {
        parameters[keyword] ?? environment["PG" + keyword.filter { $0 != "_" }.uppercased()]
    }

    /// A warning if `verify-full` or channel binding is missing for a host on another machine; else `nil`.
    package func transportWarning(environment: [String: String]) -> String? {
        // Connecting throws the same error, which is reported.
        guard let remote = (try? hosts(environment: environment))?.first(where: { !$0.isLocal }) else { return nil }
        let usesSystemBundle = value("sslrootcert", environment) == "system"
        let isVerified = value("sslmode", environment) ?? (usesSystemBundle ? "verify-full" : "") == "verify-full"
        let isBound = value("channel_binding", environment) == "require"
        let missing = [isVerified ? nil : "sslmode=verify-full", isBound ? nil : "channel_binding=require"]
            .compactMap(\.self)
        guard !missing.isEmpty else { return nil }
        return
            "the database URL for \((remote.host ?? remote.address ?? "").withoutURL) is without \(missing.joined(separator: " and ")); "
            + "add it, so that a network in between can neither read nor change what goes to the database"
    }
}

extension HostCandidate {
    /// True if packets to this host stay on this machine.
    fileprivate var isLocal: Bool {
        guard !isUnixSocket, let place = address ?? host else { return true }
        return place == "localhost" || place == "::1"
            || place.hasPrefix("127.") && place.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (48...57).contains($0) }
    }
}
