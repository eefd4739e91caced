import Postgres

/// The statement that lists a user's sessions.
enum SessionsSQL {
    /// Returns the statement for a user's sessions, without any credential, and until when each of them is kept. By the
    /// application's index on user_id; under the search path `pg_catalog, pg_temp`.
    static func sessions(of table: TableName, user: String, transient: Rule, dormant: Rule) -> String {
        // The first time that has a name stands for all before it: they are as much in the past.
        let first = "timestamptz '0001-01-01 00:00:00+00'"
        // The first one that has no name stands for all after it, infinity included.
        let last = "timestamptz '10000-01-01 00:00:00+00'"
        func seconds(_ time: String) -> String { SearchSQL.seconds("LEAST(\(time), \(last))") }
        let (active, pending) = (dormant.qualifiedCandidates, transient.qualifiedCandidates)
        return """
            SELECT s.*
                 , \(seconds("CASE WHEN s.due_since < \(first) THEN \(first) ELSE s.due_since END")) AS kept_until
              FROM (SELECT session_id, server_id, server_name, \(seconds("created_at")) AS created
                         , \(seconds("updated_at")) AS updated
                         , \(seconds("expires_at")) AS expires
                         , coalesce(\(active), false) AS is_active
                         , coalesce(\(active), false) OR coalesce(\(pending), false) AS is_removable
                         , CASE WHEN \(active) THEN \(dormant.dueSince)
                                WHEN \(pending) THEN \(transient.dueSince) END AS due_since
                      FROM \(table.quoted) WHERE user_id = \(SQL.literal(user))) AS s
             ORDER BY s.created, s.session_id
            """
    }
}
