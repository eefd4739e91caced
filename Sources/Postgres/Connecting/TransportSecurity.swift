import CLibpq
import Glibc

/// The TLS settings of a URL, completed for versions of libpq that lack some.
///
/// libpq 16 has `sslrootcert=system`. libpq 15 reads this as a file's name, and `verify-full` needs
/// `~/.postgresql/root.crt`, which a hardened service does not have. The path of the system's bundle works with both.
package struct TransportSecurity {
    /// `sslmode` and `sslrootcert`, where they differ from the URL's.
    let overrides: [String: String]

    /// - Parameters:
    ///   - url: the operator's URL.
    ///   - environment: for libpq's own variables, `HOME` and `SSL_CERT_FILE`.
    ///   - isReadable: returns true for a file that can be read.
    /// - Throws: `invalidParameters` when certificates must be verified and there are none to verify against, or
    ///   when `sslrootcert=system` comes with a weaker `sslmode`.
    init(
        url: DatabaseURL, environment: [String: String], isReadable: (String) -> Bool
    ) throws(PostgresError) {
        let rootCertificates = url.parameters["sslrootcert"] ?? environment["PGSSLROOTCERT"]
        var mode = url.parameters["sslmode"] ?? environment["PGSSLMODE"]
        var overrides: [String: String] = [:]
        if rootCertificates == "system" {
            // As in libpq 16: to trust every public authority makes sense only if the name is checked too.
            if mode == nil { overrides["sslmode"] = "verify-full" }
            mode = mode ?? "verify-full"
            guard mode == "verify-full" else {
                throw .invalidParameters("sslrootcert=system needs sslmode=verify-full and has a weaker one")
            }
        }
        let isVerified = mode == "verify-full" || mode == "verify-ca"
        let usersOwn = Self.home(environment).map { $0 + "/.postgresql/root.crt" }
        let needsBundle =
            rootCertificates == "system"
            || isVerified && (rootCertificates ?? "").isEmpty && !(usersOwn.map(isReadable) ?? false)
        if needsBundle {
            let candidates = [environment["SSL_CERT_FILE"] ?? ""].filter { !$0.isEmpty } + Self.systemBundles
            guard let bundle = candidates.first(where: isReadable) else {
                throw .invalidParameters(
                    "sslmode=\(mode ?? "") needs certificate authorities, and none of "
                        + "\(candidates.joined(separator: ", ")) can be read; install ca-certificates or set sslrootcert"
                )
            }
            overrides["sslrootcert"] = bundle
        }
        self.overrides = overrides
    }

    /// The home directory as libpq 15 finds it: `HOME`, else the one in the password database.
    private static func home(_ environment: [String: String]) -> String? {
        if let home = environment["HOME"], !home.isEmpty { return home }
        var record = passwd()
        var found: UnsafeMutablePointer<passwd>?
        // Above what sysconf(_SC_GETPW_R_SIZE_MAX) suggests anywhere; a longer record counts as none.
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16_384) { buffer in
            guard let start = buffer.baseAddress,
                getpwuid_r(geteuid(), &record, start, buffer.count, &found) == 0, found != nil,
                let home = record.pw_dir
            else { return nil }
            return String(cString: home)
        }
    }

    /// The files in which distributions keep all authorities: Debian and Alpine, Fedora and RHEL, SUSE, Alpine's other.
    package static let systemBundles = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]
}

extension DatabaseURL {
    /// A warning for an operator whose connection leaves this machine less protected than it could be; `nil` if it does
    /// not.
    ///
    /// - Parameter environment: for libpq's own variables, which count where the URL has no value.
    package func transportWarning(environment: [String: String]) -> String? {
        let hosts: [HostCandidate]
        do {
            hosts = try self.hosts(environment: environment)
        } catch {
            // Connecting throws the same error, which is reported.
            return nil
        }
        guard let remote = hosts.first(where: { !$0.isLocal }) else { return nil }
        var missing: [String] = []
        let mode = parameters["sslmode"] ?? environment["PGSSLMODE"]
        let usesSystemBundle = (parameters["sslrootcert"] ?? environment["PGSSLROOTCERT"]) == "system"
        if mode != "verify-full" && !(mode == nil && usesSystemBundle) { missing.append("sslmode=verify-full") }
        if (parameters["channel_binding"] ?? environment["PGCHANNELBINDING"]) != "require" {
            missing.append("channel_binding=require")
        }
        guard !missing.isEmpty else { return nil }
        return
            "the database URL for \(remote.host ?? remote.address ?? "") is without \(missing.joined(separator: " and ")); "
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
