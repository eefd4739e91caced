import CLibpq
import Glibc

/// libpq's keywords and values for one attempt at one address.
struct ConnectionParameters {
    let candidate: HostCandidate
    private(set) var values: [String: String]
    /// The passwords among `values` and in libpq's environment variables, and other values that look like a URL.
    let secrets: [String]

    init(
        url: DatabaseURL, tls overrides: [String: String], candidate: HostCandidate, environment: [String: String],
        libpqVersion: Int32 = PQlibVersion()
    ) {
        self.candidate = candidate
        values = Self.defaults.merging(url.parameters) { $1 }.merging(overrides) { $1 }
        values["host"] = candidate.host
        values["hostaddr"] = candidate.address
        values["port"] = candidate.port
        // Overrides PGCLIENTENCODING: our statements are UTF-8.
        values["client_encoding"] = "UTF8"
        // Kerberos encryption is negotiated with blocking calls to other servers: off unless it is asked for.
        if url.value("gssencmode", environment) == nil { values["gssencmode"] = "disable" }
        // A password in clear text should go only to a server that has proved its name, or to a Unix socket: on the
        // loopback address any user may listen on the port while the server is down. libpq 16 can refuse to send it;
        // libpq 15 has only channel_binding=require for that.
        let mode = overrides["sslmode"] ?? url.value("sslmode", environment)
        if libpqVersion >= 160_000, url.value("require_auth", environment) == nil, !candidate.isUnixSocket,
            mode != "verify-ca", mode != "verify-full"
        {
            values["require_auth"] = "!password"
        }
        let others = Array(url.parameters.values) + environment.filter { $0.key.hasPrefix("PG") }.values
        secrets =
            [values["password"], environment["PGPASSWORD"], values["sslpassword"]].compactMap(\.self)
            + others.flatMap { [$0] + DatabaseURL.list($0) }.filter(MisplacedURL.isIn)
    }

    /// A second limit beside our own deadlines: the kernel ends a connection whose peer is silent. Two minutes without
    /// traffic before the first probe is far above any statement of ours, so a healthy connection is never probed.
    private static let defaults = [
        "fallback_application_name": "mcp-cleanupd", "keepalives_idle": "120", "tcp_user_timeout": "60000",
    ]

    /// Calls `body` with the keywords and the values as libpq's two null-terminated arrays.
    func withCStrings<Result>(
        // Valid during the call: the texts are freed after it.
        _ body: (UnsafePointer<UnsafePointer<CChar>?>, UnsafePointer<UnsafePointer<CChar>?>) -> Result
    ) -> Result {
        let keywords = values.keys.map { strdup($0) }
        let texts = values.values.map { strdup($0) }
        defer { for text in keywords + texts { free(text) } }
        // Both arrays outlive the call, and end with a null pointer.
        return body(keywords.map { UnsafePointer($0) } + [nil], texts.map { UnsafePointer($0) } + [nil])
    }
}

extension DatabaseURL {
    /// Checks everything in the URL that needs no server: hosts, certificates, and, by libpq, each value.
    /// - Throws: `invalidParameters`, as connecting would.
    package func check(environment: [String: String]) throws(PostgresError) {
        _ = try hosts(environment: environment)
        let tls = try tlsOverrides(environment: environment)
        // libpq checks values only when it connects, just before it opens a socket. This socket's path is too long for
        // any system: if the message names the path, as it does in every language, all values have passed.
        let nowhere = "/nowhere" + String(repeating: "-", count: 200)
        let parameters = ConnectionParameters(
            url: self, tls: tls, candidate: HostCandidate(host: nowhere), environment: environment)
        guard let connection = LibpqConnection(parameters, onNotice: { _ in }) else {
            throw .invalidParameters("out of memory")
        }
        if !String(cString: PQerrorMessage(connection.pointer)).contains(nowhere) {
            throw .invalidParameters(withoutQuotations(connection.message))
        }
    }
}
