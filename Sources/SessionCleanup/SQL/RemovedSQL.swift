import Postgres
import Time

/// The statements about `mcp_cleanup.removed`, which has a row for each session that a built-in job removed.
enum RemovedSQL {
    /// The columns of a session that are recorded. Any other may hold a credential.
    private static let columns = [
        "session_id", "user_id", "server_id", "server_name", "server_url", "created_at", "updated_at", "expires_at",
    ]

    /// The most rows past their retention that one statement removes: a transaction of some 50 ms.
    static let pruneLimit = 10_000
    /// The most such statements of a run: more rows than a job of every five minutes adds in a day.
    static let mostPrunes = 100

    /// What a batch records of the sessions that it deletes.
    struct Recording: Hashable, Sendable {
        let retention: Duration
        /// The recorded columns that the sessions table has, in order, with their types.
        let columns: [Column]

        struct Column: Hashable, Sendable {
            let name: String
            let type: ColumnType
        }

        init(retention: Duration, types: [String: ColumnType]) {
            self.retention = retention
            columns = RemovedSQL.columns.compactMap { name in types[name].map { Column(name: name, type: $0) } }
        }

        /// More columns for the RETURNING of the batch's DELETE.
        var returned: String { columns.map { ", \($0.name)" }.joined() }

        /// Returns the part of a batch's statement that records the rows in `deleted`: a row and its record are one
        /// transaction. Under the role's own search path, so every name is qualified.
        func insert(_ claim: RunClaim) -> String {
            """
            INSERT INTO mcp_cleanup.removed (run_id, removed_at\(returned))
            SELECT \(claim.runID), pg_catalog.now()\(columns.map { ", \($0.sql)" }.joined()) FROM deleted
            """
        }
    }

    /// Returns the statement that removes the oldest rows from before a time. Its result is one row with their number.
    static func prune(before time: UTCInstant) -> String {
        """
        WITH pruned AS (
            DELETE FROM mcp_cleanup.removed
             WHERE ctid = ANY (ARRAY(SELECT ctid FROM mcp_cleanup.removed WHERE removed_at < \(SearchSQL.literal(time))
                                      ORDER BY removed_at LIMIT \(pruneLimit)))
            RETURNING run_id
        )
        SELECT count(*) AS pruned FROM pruned
        """
    }

    // MARK: Reading

    /// Returns the statement for the latest rows, the latest first, and the job of each as far as its run is kept.
    ///
    /// - Parameter user: `nil` for the sessions of all users.
    static func latest(_ limit: Int, ofUser user: String?) -> String {
        func seconds(_ time: String) -> String {
            // A time after 9999, infinity included, becomes one that is read as `nil`.
            SearchSQL.seconds("LEAST(s.\(time), timestamptz '10000-01-01 00:00:00+00')")
        }
        return """
            SELECT s.run_id, s.session_id, s.user_id, s.server_id, s.server_name, s.server_url
                 , \(seconds("created_at")) AS created, \(seconds("updated_at")) AS updated
                 , \(seconds("expires_at")) AS expires, \(seconds("removed_at")) AS removed
                 , (SELECT r.job FROM mcp_cleanup.runs AS r WHERE r.run_id = s.run_id) AS job
              FROM (SELECT * FROM mcp_cleanup.removed \(user.map { "WHERE user_id = \(SQL.literal($0))" } ?? "")
                     ORDER BY removed_at DESC LIMIT \(limit)) AS s
             ORDER BY s.removed_at DESC, s.session_id
            """
    }

    /// One row: how many sessions are recorded, and when the oldest of them was removed.
    static let count = """
        SELECT count(*) AS recorded, \(SearchSQL.seconds("min(removed_at)")) AS oldest FROM mcp_cleanup.removed
        """
}

extension RemovedSQL.Recording.Column {
    /// SQL for the value to record.
    fileprivate var sql: String {
        if name.hasSuffix("_at") { return type.oid == ColumnType.timestamp.oid ? name : "NULL" }
        return name == "server_url" ? Self.withoutSecrets(text) : text
    }

    /// The value as text, by the output function of its type: a cast to text may be another role's function.
    private var text: String {
        switch type.oid {
        case ColumnType.text.oid: name
        case ColumnType.varchar.oid: "\(name)::pg_catalog.text"
        default: "CASE WHEN \(name) IS NULL THEN NULL ELSE pg_catalog.concat(\(name)) END"
        }
    }

    /// SQL for a URL without user info, query and fragment; NULL for a text that no URL can be, since any part of it may be
    /// a password. Most URLs are plain, which LIKE finds in a fifth of the time that the pattern takes; ANY and an array cost
    /// half as much again.
    private static func withoutSecrets(_ url: String) -> String {
        let url = "(\(url)) COLLATE pg_catalog.\"C\""
        // Scheme and slashes, user info, host, port, path, the rest. A browser takes any number of slashes, and backslashes.
        let parts =
            #"^(?:([A-Za-z][-+.0-9A-Za-z]*:[/\\]+)|[/\\]*)(?:[^/?#\\]*@)?"#
            + #"(\[[0-9A-Fa-f:.]+(?:%[-._~0-9A-Za-z]+)?\]|[^]\[/?#@:\\%<>^|"{}[:space:][:cntrl:]]+)(:[0-9]+)?"#
            + #"([/\\][^?#]*)?(?:[?#].*)?$"#
        func compared(_ comparison: String, _ patterns: [String], _ conjunction: String) -> String {
            patterns.map { "\(url) OPERATOR(pg_catalog.\(comparison)) '\($0)'" }.joined(separator: " \(conjunction) ")
        }
        return """
            CASE WHEN (\(compared("~~", ["https://_%", "http://_%"], "OR")))
                  AND \(compared("!~~", ["%@%", "%?%", "%#%", "%://%:%"], "AND")) THEN \(url)
                 ELSE pg_catalog.array_to_string(pg_catalog.regexp_match(\(url),\(SQL.literal(parts))), '') END
            """
    }
}
