import CLibpq
import Glibc

/// What a URL says about TLS, completed where older libpqs fall short.
///
/// libpq 16 brought `sslrootcert=system`; before it, the word is taken for a file's name, and `verify-full` wants
/// `~/.postgresql/root.crt`, which no hardened service has. With the path of the system's bundle every libpq can do it.
package struct TransportSecurity {
    /// `sslmode` and `sslrootcert`, where they differ from what the URL says.
    let overrides: [String: String]

    /// - Parameters:
    ///   - url: what the user wrote.
    ///   - environment: for libpq's own variables, `HOME` and `SSL_CERT_FILE`.
    ///   - isReadable: whether a file can be read.
    /// - Throws: `invalidParameters` when certificates must be verified and there are none to verify against, or
    ///   when `sslrootcert=system` comes with a weaker `sslmode`.
    init(
        url: DatabaseURL, environment: [String: String], isReadable: (String) -> Bool
    ) throws(PostgresError) {
        let rootCertificates = url.parameters["sslrootcert"] ?? environment["PGSSLROOTCERT"]
        var mode = url.parameters["sslmode"] ?? environment["PGSSLMODE"]
        var overrides: [String: String] = [:]
        if rootCertificates == "system" {
            // As libpq 16 has it: trusting every public authority makes sense only if the name is checked too.
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

    /// As libpq 15 finds it: `HOME`, else what the password database says.
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

    /// Where distributions keep all authorities in one file: Debian and Alpine, Fedora and RHEL, SUSE, Alpine's other.
    package static let systemBundles = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]
}

extension DatabaseURL {
    /// What to tell the operator once about a connection that leaves this machine less protected than it could be;
    /// `nil` when there is nothing to say.
    ///
    /// - Parameter environment: for what libpq takes from its own variables where the URL says nothing.
    package func transportWarning(environment: [String: String]) -> String? {
        let hosts: [HostCandidate]
        do {
            hosts = try self.hosts(environment: environment)
        } catch {
            // Connecting ends with the same error, and says it.
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
            + "add it, so that nobody in between can read or change what goes to the database"
    }
}

extension HostCandidate {
    /// Whether its packets stay on this machine.
    fileprivate var isLocal: Bool {
        guard !isUnixSocket, let place = address ?? host else { return true }
        return place == "localhost" || place == "::1"
            || place.hasPrefix("127.") && place.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (48...57).contains($0) }
    }
}
