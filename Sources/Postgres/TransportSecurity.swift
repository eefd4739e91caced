import CLibpq
import Glibc

/// What a URL says about TLS, completed where older libpqs fall short.
///
/// libpq 16 brought `sslrootcert=system`; before it, the word is taken for a file's name, and `verify-full` wants
/// `~/.postgresql/root.crt`, which no hardened service has. With the path of the system's bundle every libpq can do it.
struct TransportSecurity {
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
                throw .invalidParameters("sslrootcert=system needs sslmode=verify-full, not sslmode=\(mode ?? "")")
            }
        }
        let isVerified = mode == "verify-full" || mode == "verify-ca"
        let usersOwn = environment["HOME"].map { $0 + "/.postgresql/root.crt" }
        let needsBundle =
            rootCertificates == "system"
            || isVerified && (rootCertificates ?? "").isEmpty && !(usersOwn.map(isReadable) ?? false)
        if needsBundle {
            let candidates = [environment["SSL_CERT_FILE"]].compactMap(\.self) + Self.systemBundles
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

    /// Where distributions keep all authorities in one file: Debian and Alpine, Fedora and RHEL, SUSE, Alpine's other.
    static let systemBundles = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]
}

extension DatabaseURL {
    /// What to tell the operator once about a connection that leaves this machine less protected than it could be;
    /// `nil` when there is nothing to say.
    package var transportWarning: String? {
        let remoteHosts = (list("host") + list("hostaddr")).filter { !Self.isLocal($0) }
        guard let host = remoteHosts.first else { return nil }
        var missing: [String] = []
        if parameters["sslmode"] != "verify-full" && parameters["sslrootcert"] != "system" {
            missing.append("sslmode=verify-full")
        }
        if parameters["channel_binding"] != "require" { missing.append("channel_binding=require") }
        guard !missing.isEmpty else { return nil }
        return "the database URL for \(host) is without \(missing.joined(separator: " and ")); "
            + "add it, so that nobody in between can read or change what goes to the database"
    }

    private static func isLocal(_ host: String) -> Bool {
        host.isEmpty || host.hasPrefix("/") || host.hasPrefix("@") || host == "localhost" || host == "::1"
            || host.hasPrefix("127.")
    }
}
