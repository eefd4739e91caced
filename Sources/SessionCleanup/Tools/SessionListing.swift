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
    /// Why it is removed then, or kept, in words.
    package let reason: String
}

extension SessionTable {
    /// A user's sessions, oldest first, and when each will be due.
    ///
    /// - Parameter now: the host's clock; what is due already goes at the next fire time.
    package func sessions(
        ofUser user: String, transient: Job, dormant: Job, now: UTCInstant, access: DatabaseAccess
    ) async throws(RunFailure) -> [ListedSession] {
        try await access.withSession(deadline: .seconds(30)) { session in
            let survey = try await Survey.make(of: self, for: .reading, in: session)
            let generation = try survey.generation(for: .reading)
            try await survey.requireNoHiddenRows(for: .reading, in: session)
            let statement = SessionsSQL.sessions(
                of: name, user: user, transient: transient.rules.rule(for: generation),
                dormant: dormant.rules.rule(for: generation))
            return try await session.read(statement, limit: session.budget.remaining).rows.map { row in
                let job = try row.bool("is_active") ? dormant : transient
                return try ListedSession(row, job: job, rule: job.rules.rule(for: generation), now: now)
            }
        }
    }
}

extension ListedSession {
    /// Reads a row of `SessionsSQL.sessions`.
    fileprivate init(_ row: QueryResult.Row, job: Job, rule: Rule, now: UTCInstant) throws(PostgresError) {
        sessionID = try row.text("session_id")
        serverID = try row.textIfPresent("server_id")
        serverName = try row.textIfPresent("server_name")
        isActive = try row.bool("is_active")
        createdAt = try row.instantIfPresent("created")
        updatedAt = try row.instantIfPresent("updated")
        expiresAt = try row.instantIfPresent("expires")
        self.job = job.name
        let keptUntil = job.isEnabled ? try row.instantIfPresent("kept_until") : nil
        self.keptUntil = keptUntil
        // A run at the very instant would not find it: due is what is older than the cutoff.
        removedAt = keptUntil.flatMap { job.schedule.next(after: max($0, now), in: job.timeZone?.rules) }
        reason = Self.reason(
            isActive: isActive, isRemovable: try row.bool("is_removable"), keptUntil: keptUntil, rule: rule, job: job,
            now: now)
    }

    private static func reason(
        isActive: Bool, isRemovable: Bool, keptUntil: UTCInstant?, rule: Rule, job: Job, now: UTCInstant
    ) -> String {
        guard job.isEnabled else { return "the job \(job.name) is disabled" }
        guard isRemovable else { return "no job removes such a session: it has no known status, or never expires" }
        guard let keptUntil else { return "it expires after the year 9999, or never" }
        if isActive {
            let time = "\(rule.after.components.seconds / 86_400) days"
            let idle = rule.after < .seconds(2 * 86_400) ? rule.after.secondsText : time
            return keptUntil < now
                ? "active, but untouched for more than \(idle)" : "active; goes when untouched for more than \(idle)"
        }
        return keptUntil < now
            ? "never became active, and expired" : "not active yet; goes when it expires before it is"
    }
}
