import CLibpq
import Glibc

/// libpq's keywords and values for one attempt at one address.
struct ConnectionParameters {
    private var values: [String: String]

    init(
        url: DatabaseURL, security: TransportSecurity, candidate: HostCandidate, environment: [String: String]
    ) {
        values = url.parameters
        values.merge(security.overrides) { $1 }
        values["host"] = candidate.host
        values["hostaddr"] = candidate.address
        values["port"] = candidate.port
        // Set whatever the environment says: our statements are UTF-8.
        values["client_encoding"] = "UTF8"
        for (keyword, value) in Self.defaults where values[keyword] == nil { values[keyword] = value }
        // Kerberos is negotiated with blocking calls to other servers: only for those who ask for it.
        if values["gssencmode"] == nil, environment["PGGSSENCMODE"] == nil { values["gssencmode"] = "disable" }
        secrets = [values["password"] ?? environment["PGPASSWORD"], values["sslpassword"]].compactMap(\.self)
    }

    /// A second net under our own deadlines: the kernel ends a connection whose peer went silent. Two minutes without
    /// traffic before the first probe is far above any statement of ours, so a healthy connection is never probed.
    private static let defaults = [
        "fallback_application_name": "mcp-cleanupd",
        "keepalives_idle": "120",
        "tcp_user_timeout": "60000",
    ]

    /// The passwords among them, and in libpq's own variables.
    let secrets: [String]

    /// Calls `body` with the keywords and the values as libpq's two null-terminated arrays.
    func withCStrings<Result>(
        _ body: (UnsafePointer<UnsafePointer<CChar>?>, UnsafePointer<UnsafePointer<CChar>?>) -> Result
    ) -> Result {
        let pairs = values.sorted { $0.key < $1.key }
        let keywords = pairs.map { strdup($0.key) }
        let texts = pairs.map { strdup($0.value) }
        defer { for text in keywords + texts { free(text) } }
        return body(
            keywords.map { UnsafePointer($0) } + [nil],
            texts.map { UnsafePointer($0) } + [nil])
    }
}

extension DatabaseURL {
    /// Asks everything of the URL that can be asked without a server: hosts, certificates, and libpq for each value.
    ///
    /// - Parameter environment: for libpq's own variables; what they say where the URL is silent is checked with it.
    /// - Throws: `invalidParameters`, as connecting would.
    package func check(environment: [String: String]) throws(PostgresError) {
        _ = try hosts(environment: environment)
        let security = try TransportSecurity(url: self, environment: environment) { access($0, R_OK) == 0 }
        // libpq checks values only when it connects, and connects last of all: to a socket whose path no system takes. Its
        // message then names the path, in every language.
        let nowhere = "/nowhere" + String(repeating: "-", count: 200)
        let parameters = ConnectionParameters(
            url: self, security: security, candidate: HostCandidate(host: nowhere), environment: environment)
        guard let connection = parameters.withCStrings({ PQconnectStartParams($0, $1, 0) }) else {
            throw .invalidParameters("out of memory")
        }
        defer { PQfinish(connection) }
        let message = String(cString: PQerrorMessage(connection))
        if !message.contains(nowhere) { throw .invalidParameters(withoutQuotations(withoutTrailingLines(message))) }
    }
}
