import CleanupSchedule
import Postgres
package import Time

/// A session as its owner may see it: nothing in it is a credential, or could contain one.
package struct ListedSession: Sendable {
    package let sessionID: String
    package let serverID: String?
    package let serverName: String?
    package let isActive: Bool
    package let createdAt: UTCInstant?
    package let updatedAt: UTCInstant?
    package let expiresAt: UTCInstant?
    /// The job that will remove it when nothing touches it before.
    package let job: String
    /// The last instant at which it is not due; `nil` when it is kept forever, or longer than until the year 9999.
    package let keptUntil: UTCInstant?
    /// The first fire time of the job at which it is due; `nil` when it is kept forever.
    package let removedAt: UTCInstant?
    /// The reason why it is removed at that time, or kept, in words.
    package let reason: String
}

extension ListedSession {
    /// Reads a row of `SessionTable.listing`.
    fileprivate init(_ row: QueryResult.Row, job: Job, rule: Rule, now: UTCInstant) throws(PostgresError) {
        let (isActive, isRemovable) = (try row.bool("is_active"), try row.bool("is_removable"))
        let keptUntil = job.isEnabled ? try row.instantIfPresent("kept_until") : nil
        let idle =
            rule.after < .seconds(2 * 86_400)
            ? rule.after.secondsText : "\(rule.after.components.seconds / 86_400) days"
        let reason =
            switch (isActive, keptUntil.map { $0 < now }) {
            case _ where !job.isEnabled: "the job \(job.name) is disabled"
            case _ where !isRemovable: "no job removes such a session: it has no known status, or never expires"
            case (_, nil): "it expires after the year 9999, or never"
            case (true, true): "active, but untouched for more than \(idle)"
            case (true, false): "active; goes when untouched for more than \(idle)"
            case (false, true): "never became active, and expired"
            case (false, false): "not active yet; goes when it expires before it is"
            }
        self.init(
            sessionID: try row.text("session_id"), serverID: try row.textIfPresent("server_id"),
            serverName: try row.textIfPresent("server_name"), isActive: isActive,
            createdAt: try row.instantIfPresent("created"), updatedAt: try row.instantIfPresent("updated"),
            expiresAt: try row.instantIfPresent("expires"), job: job.name, keptUntil: keptUntil,
            // A run at that very instant would not find it: only what is older than the cutoff is due.
            removedAt: keptUntil.flatMap { job.schedule.next(after: max($0, now), in: job.timeZone?.rules) },
            reason: reason)
    }
}

extension SessionTable {
    /// A user's sessions, oldest first, and when each will be due.
    ///
    /// - Parameter now: the host's clock; a session that is due already is removed at the next fire time.
    package func sessions(
        ofUser user: String, transient: Job, dormant: Job, now: UTCInstant, access: DatabaseAccess
    ) async throws(RunFailure) -> [ListedSession] {
        try await access.withSession(deadline: .seconds(30)) { session in
            let survey = try await Survey.make(of: self, for: .reading, in: session)
            let generation = try survey.generation(for: .reading)
            try await survey.requireNoHiddenRows(for: .reading, in: session)
            let rules = (transient.rule(for: generation), dormant.rule(for: generation))
            let statement = listing(ofUser: user, transient: rules.0, dormant: rules.1)
            return try await session.read(statement, limit: session.budget.remaining).rows.map { row in
                try row.bool("is_active")
                    ? try ListedSession(row, job: dormant, rule: rules.1, now: now)
                    : try ListedSession(row, job: transient, rule: rules.0, now: now)
            }
        }
    }

    /// Returns the statement that reads a user's sessions, without any credential, and the instant until which each is
    /// kept. It uses the application's index on user_id, and needs the search path `pg_catalog, pg_temp`.
    private func listing(ofUser user: String, transient: Rule, dormant: Rule) -> String {
        // The first instant of the year 1 stands for all earlier times: all are long past.
        let first = "timestamptz '0001-01-01 00:00:00+00'"
        // The first instant after the year 9999 stands for all later times, infinity included.
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
                      FROM \(name.quoted) WHERE user_id = \(SQL.literal(user))) AS s
             ORDER BY s.created, s.session_id
            """
    }
}
