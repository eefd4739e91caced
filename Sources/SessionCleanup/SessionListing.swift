package import CleanupSchedule
import Postgres

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
    /// The last instant at which it is not due; `nil` when it is kept for ever, or longer than until the year 9999.
    package let keptUntil: UTCInstant?
}

extension SessionTable {
    /// A user's sessions, oldest first, and when each will be due.
    package func sessions(
        ofUser user: String, transient: Job, dormant: Job, access: DatabaseAccess
    ) async throws(RunFailure) -> [ListedSession] {
        let clock = RunClock(deadline: .seconds(30))
        let connection = try await access.connect(limit: clock.remaining)
        let inspection = try await look(for: .reading, over: connection, clock: clock)
        let generation = try await shape(inspection, for: .reading, over: connection, clock: clock).generation
        let statement = Statements.sessions(
            of: name, transient: transient.rules.rule(for: generation),
            dormant: dormant.rules.rule(for: generation))
        let result = try await connection.finishTransaction(clock, statement, [.text(user)])
        await connection.close()
        return try result.reading { result in
            try result.rows.map { try ListedSession($0, transient: transient, dormant: dormant) }
        }
    }
}

extension ListedSession {
    /// Reads a row of `Statements.sessions`.
    fileprivate init(_ row: QueryResult.Row, transient: Job, dormant: Job) throws(PostgresError) {
        sessionID = try row.text("session_id")
        serverID = try row.textIfPresent("server_id")
        serverName = try row.textIfPresent("server_name")
        isActive = try row.bool("is_active")
        createdAt = try row.instantIfPresent("created")
        updatedAt = try row.instantIfPresent("updated")
        expiresAt = try row.instantIfPresent("expires")
        let job = isActive ? dormant : transient
        self.job = job.name
        keptUntil = job.isEnabled ? try row.instantIfPresent("kept_until") : nil
    }
}
