import Postgres
package import Time

/// A row of `mcp_cleanup.removed`: a session that a run removed. Nothing in it is a credential.
package struct RemovedSession: Sendable {
    package let runID: Int
    /// `nil` if the run is recorded no more.
    package let job: String?
    package let sessionID: String?
    package let userID: String?
    package let serverID: String?
    package let serverName: String?
    /// Without user info, query and fragment.
    package let serverURL: String?
    package let createdAt: UTCInstant?
    package let updatedAt: UTCInstant?
    package let expiresAt: UTCInstant?
    package let removedAt: UTCInstant
}

/// Reads `mcp_cleanup.removed`, for which SELECT is enough, over one connection within half a minute.
package struct RemovedSessions: Sendable {
    private let access: DatabaseAccess
    private let table: TableName

    /// - Parameter table: that of the sessions, whose owner may own the record too.
    package init(_ access: DatabaseAccess, of table: TableName) {
        self.access = access
        self.table = table
    }

    /// The latest ones, of a user or of all users, the latest first.
    ///
    /// - Throws: `removedMissing`, `nothingRecorded`, `historyUnusable`, or what a connection throws.
    package func latest(_ limit: Int, ofUser user: String?) async throws(RunFailure) -> [RemovedSession] {
        try await read(RemovedSQL.latest(limit, ofUser: user)) { try $0.rows.map(RemovedSession.init) }
    }

    /// How many are recorded, and when the oldest of them was removed. Throws as `latest`.
    package func count() async throws(RunFailure) -> (recorded: Int, oldest: UTCInstant?) {
        try await read(RemovedSQL.count) { result in
            let row = try result.onlyRow()
            return (try row.integer("recorded"), try row.instantIfPresent("oldest"))
        }
    }

    private func read<Value>(
        _ statement: String, _ value: (QueryResult) throws -> Value
    ) async throws(RunFailure) -> Value {
        try await access.withSession(deadline: .seconds(30)) { session in
            guard try await session.findsHistory(of: table) else { throw RunFailure.nothingRecorded }
            _ = try await Survey.ofRemoved(table, for: .reading, in: session)
            return try value(await session.read(statement, limit: session.budget.remaining))
        }
    }
}

extension RemovedSession {
    /// Reads a row of `RemovedSQL.latest`.
    fileprivate init(_ row: QueryResult.Row) throws(PostgresError) {
        runID = try row.integer("run_id")
        job = try row.textIfPresent("job")
        sessionID = try row.textIfPresent("session_id")
        userID = try row.textIfPresent("user_id")
        serverID = try row.textIfPresent("server_id")
        serverName = try row.textIfPresent("server_name")
        serverURL = try row.textIfPresent("server_url")
        createdAt = try row.instantIfPresent("created")
        updatedAt = try row.instantIfPresent("updated")
        expiresAt = try row.instantIfPresent("expires")
        removedAt = try row.instant("removed")
    }
}

extension Survey {
    /// Surveys the sessions table, with `mcp_cleanup.removed` as its history. Leaves the transaction open.
    ///
    /// - Throws: `removedMissing`, `historyUnusable`, or what a connection throws.
    fileprivate static func ofRemoved(
        _ table: TableName, for purpose: Purpose, in session: DatabaseSession
    ) async throws(RunFailure) -> Survey {
        let table = SessionTable(name: table, schema: nil)
        let survey = try await Survey.make(of: table, for: .reading, history: .removed, in: session)
        guard survey.history.isThere else { throw .removedMissing(hasHistory: true) }
        if let obstacle = survey.history.obstacle(for: purpose) {
            throw .historyUnusable(.removed, role: survey.role, obstacle)
        }
        return survey
    }
}

extension History {
    /// Returns what the batches of a run record; `nil` where they record nothing: a job of the operator's own, or
    /// `history.removed` is off.
    ///
    /// - Throws: `removedMissing`, `historyUnusable`, or what a connection throws.
    func recording(_ survey: Survey, in session: DatabaseSession) async throws(RunFailure) -> RemovedSQL.Recording? {
        guard let removed, survey.table.schema != nil else { return nil }
        guard mode != .off, survey.history.isThere else { throw .removedMissing(hasHistory: false) }
        let found = try await Survey.ofRemoved(survey.table.name, for: .deleting, in: session)
        return RemovedSQL.Recording(retention: removed, types: found.columnTypes)
    }
}
