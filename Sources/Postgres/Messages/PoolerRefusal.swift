/// Why PgBouncer itself refuses a client. All its messages have the SQLSTATE 08P01 (protocol violation), so only their
/// text, never translated, tells the reason: pgbouncer 1.18 to 1.24, `disconnect_client` and `disconnect_server`.
package enum PoolerRefusal: Hashable, Sendable {
    /// The role is unknown to it, or the password is wrong.
    case authentication
    /// It has no such database.
    case database
    /// An administrator has disabled the database.
    case disabled
    /// The startup packet has a parameter that it does not pass on.
    case startupParameter
    /// `pool_mode = statement`, in which a transaction cannot be opened.
    case statementPooling
    /// It has no connection to give: its limits are reached, the database is paused, or its server does not answer.
    case busy

    /// - Returns: `nil` for a message that is not PgBouncer's own.
    package init?(_ message: ServerMessage) {
        guard message.sqlState == "08P01", let text = message.text else { return nil }
        // These have the name in the middle. PgBouncer passes on the server's own refusal with its own SQLSTATE 08P01.
        let hasName = text.hasPrefix("database \"") || text.hasPrefix("role \"")
        if let found = Self.beginnings.first(where: { $0.value.contains(where: text.hasPrefix) }) {
            self = found.key
        } else if hasName, text.hasSuffix(" is disabled") {
            self = .disabled
        } else if hasName, text.hasSuffix(" does not exist") {
            self = text.hasPrefix("database") ? .database : .authentication
        } else {
            return nil
        }
    }

    private static let beginnings: KeyValuePairs<PoolerRefusal, [String]> = [
        .authentication: [
            "SASL authentication failed", "password authentication failed", "no such user", "auth failed",
            "login rejected",
        ],
        .database: ["no such database"], .startupParameter: ["unsupported startup parameter"],
        .statementPooling: ["transaction blocks not allowed in statement pooling mode"],
        .busy: [
            "query_wait_timeout", "no more connections allowed", "client_login_timeout",
            "pgbouncer cannot connect to server", "server login has been failing", "server login failed",
            "server_login_retry", "server conn crashed?", "client unexpected eof", "pooler is paused",
        ],
    ]
}
