import CLibpq
import Glibc

/// libpq's keywords and values for one attempt at one address.
struct ConnectionParameters {
    let candidate: HostCandidate
    private(set) var values: [String: String]
    /// The passwords among them and in libpq's own variables, and what looks like a URL in the place of another value.
    private let secrets: [String]

    init(
        url: DatabaseURL, security: TransportSecurity, candidate: HostCandidate, environment: [String: String],
        libpqVersion: Int32 = PQlibVersion()
    ) {
        self.candidate = candidate
        values = Self.defaults.merging(url.parameters) { $1 }.merging(security.overrides) { $1 }
        values["host"] = candidate.host
        values["hostaddr"] = candidate.address
        values["port"] = candidate.port
        // Overrides PGCLIENTENCODING: our statements are UTF-8.
        values["client_encoding"] = "UTF8"
        // Kerberos is negotiated with blocking calls to other servers: only where it is asked for.
        if values["gssencmode"] == nil, environment["PGGSSENCMODE"] == nil { values["gssencmode"] = "disable" }
        // A password in clear is for a server that has proved its name, or for the owner of a Unix socket: on the
        // loopback address any user may hold the port while the server is down. libpq 16 can refuse to send it; libpq
        // 15 has only channel_binding=require for that.
        if libpqVersion >= 160_000, values["require_auth"] == nil, environment["PGREQUIREAUTH"] == nil,
            !candidate.isUnixSocket,
            !["verify-ca", "verify-full"].contains(values["sslmode"] ?? environment["PGSSLMODE"])
        {
            values["require_auth"] = "!password"
        }
        let others = Array(url.parameters.values) + environment.filter { $0.key.hasPrefix("PG") }.values
        secrets =
            [values["password"], environment["PGPASSWORD"], values["sslpassword"]].compactMap(\.self)
            + others.flatMap { [$0] + DatabaseURL.list($0) }.filter(MisplacedURL.isIn)
    }

    /// Returns all that no message about a connection may repeat: also the password that libpq found in a file.
    func secrets(in connection: OpaquePointer) -> [String] {
        // Owned by the connection, and copied at once. Empty where it has none.
        secrets + [PQpass(connection)].compactMap { $0.map { String(cString: $0) } }
    }

    /// A second limit under our own deadlines: the kernel ends a connection whose peer is silent. Two minutes without
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
        let security = try TransportSecurity(url: self, environment: environment) { access($0, R_OK) == 0 }
        // libpq checks values only when it connects, and connects last of all: to a socket whose path no system takes.
        // Its message then names the path, in every language.
        let nowhere = "/nowhere" + String(repeating: "-", count: 200)
        let parameters = ConnectionParameters(
            url: self, security: security, candidate: HostCandidate(host: nowhere), environment: environment)
        guard let connection = parameters.withCStrings({ PQconnectStartParams($0, $1, 0) }) else {
            throw .invalidParameters("out of memory")
        }
        defer { PQfinish(connection) }
        let message = libpqMessage(of: connection, hiding: [])
        if !message.contains(nowhere) { throw .invalidParameters(withoutQuotations(message)) }
    }
}
