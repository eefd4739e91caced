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

    /// The latest ones, the latest first.
    ///
    /// - Parameters:
    ///   - limit: the most to return.
    ///   - user: `nil` for the sessions of all users.
    /// - Throws: `removedMissing`, `nothingRecorded`, `historyUnusable`, or what a connection throws.
    package func latest(_ limit: Int, ofUser user: String?) async throws(RunFailure) -> [RemovedSession] {
        try await read(RemovedSQL.latest(limit, ofUser: user)).reading { try $0.rows.map(RemovedSession.init) }
    }

    /// How many are recorded, and when the oldest of them was removed.
    ///
    /// - Throws: as `latest`.
    package func count() async throws(RunFailure) -> (recorded: Int, oldest: UTCInstant?) {
        try await read(RemovedSQL.count).reading { result in
            let row = try result.onlyRow()
            return (try row.integer("recorded"), try row.instantIfPresent("oldest"))
        }
    }

    private func read(_ statement: String) async throws(RunFailure) -> QueryResult {
        try await access.withSession(deadline: .seconds(30)) { session throws(RunFailure) in
            guard try await session.findsHistory() else { throw .nothingRecorded }
            let found = try await session.continue(Script(RemovedSQL.survey(table), as: .answer)).read(.answer) {
                try RemovedTable($0.onlyRow())
            }
            guard found.table.isThere else { throw .removedMissing(hasHistory: true) }
            if let obstacle = found.table.readingObstacle {
                throw .historyUnusable(.removed, role: found.role, obstacle)
            }
            return try await session.read(statement, limit: session.budget.remaining)
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

/// The table of removed sessions as the database has it, and the types of those columns of a session that it can record.
struct RemovedTable: Sendable {
    let role: String
    let table: HistoryTable
    let columnTypes: [String: ColumnType]

    /// Reads the row of `RemovedSQL.survey`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        role = try row.text("role")
        let table = try HistoryTable(removed: row)
        self.table = table
        columnTypes = HistoryTable.columns(in: try row.textIfPresent("session_columns"))
    }

    /// Requires that a run can record there.
    ///
    /// - Throws: `removedMissing`, `historyUnusable`.
    func recording(for retention: Duration) throws(RunFailure) -> RemovedSQL.Recording {
        guard table.isThere else { throw .removedMissing(hasHistory: true) }
        if let obstacle = table.obstacle { throw .historyUnusable(.removed, role: role, obstacle) }
        return RemovedSQL.Recording(retention: retention, types: columnTypes)
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
        let found = try await session.read(RemovedSQL.survey(survey.table.name)).reading {
            try RemovedTable($0.onlyRow())
        }
        return try found.recording(for: removed)
    }
}
