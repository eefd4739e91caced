import Postgres
package import Time

/// The history's record of a job.
package struct JobRecord: Sendable {
    package let lastRun: RecordedRun?
    package let lastSuccessAt: UTCInstant?
    /// The start of the job's oldest run that is still recorded.
    package let firstRunAt: UTCInstant?
    /// The database's clock.
    package let now: UTCInstant
}

/// A row of `mcp_cleanup.removed`: a session that a run removed. Nothing in it is a credential.
package struct RemovedSession: Sendable {
    package let runID: Int
    /// `nil` if the run is no longer recorded.
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

/// Lists of the history, for commands. Each needs no privilege but SELECT, and uses a connection of its own for at most
/// 30 s. `sessions` is the sessions table, whose owner may own the history too.
///
/// All throw `nothingRecorded`, `removedMissing`, `historyUnusable`, or what a connection throws.
extension DatabaseAccess {
    /// The latest runs of some jobs, or of all if none is named, the latest first.
    package func latestRuns(
        _ limit: Int, of jobs: [String], beside sessions: TableName
    ) async throws(RunFailure) -> [RecordedRun] {
        try await list(HistorySQL.latest(limit, of: jobs), .runs, beside: sessions) {
            try $0.rows.map(RecordedRun.init)
        }
    }

    /// The record of each job, by the job's name.
    package func records(
        of jobs: [String], beside sessions: TableName
    ) async throws(RunFailure) -> [String: JobRecord] {
        try await list(HistorySQL.records(of: jobs), .runs, beside: sessions) { result in
            var records: [String: JobRecord] = [:]
            for row in result.rows {
                records[try row.text("name")] = JobRecord(
                    lastRun: try row.textIfPresent("run_id") == nil ? nil : try RecordedRun(row),
                    lastSuccessAt: try row.instantIfPresent("last_success"),
                    firstRunAt: try row.instantIfPresent("first_run"), now: try row.instant("clock"))
            }
            return records
        }
    }

    /// The sessions that were removed last, of one user or (`nil`) of all users; the latest first.
    package func latestRemoved(
        _ limit: Int, ofUser user: String?, beside sessions: TableName
    ) async throws(RunFailure) -> [RemovedSession] {
        try await list(RemovedSQL.latest(limit, ofUser: user), .removed, beside: sessions) { result in
            try result.rows.map { row in
                RemovedSession(
                    runID: try row.integer("run_id", most: .max), job: try row.textIfPresent("job"),
                    sessionID: try row.textIfPresent("session_id"), userID: try row.textIfPresent("user_id"),
                    serverID: try row.textIfPresent("server_id"), serverName: try row.textIfPresent("server_name"),
                    serverURL: try row.textIfPresent("server_url"), createdAt: try row.instantIfPresent("created"),
                    updatedAt: try row.instantIfPresent("updated"), expiresAt: try row.instantIfPresent("expires"),
                    removedAt: try row.instant("removed"))
            }
        }
    }

    /// The number of removed sessions that are recorded, and the time of the oldest removal among them.
    package func removedCount(
        beside sessions: TableName
    ) async throws(RunFailure) -> (recorded: Int, oldest: UTCInstant?) {
        try await list(RemovedSQL.count, .removed, beside: sessions) { result in
            let row = try result.onlyRow()
            return (try row.integer("recorded"), try row.instantIfPresent("oldest"))
        }
    }

    private func list<Value>(
        _ statement: String, _ table: HistoryTable.Name, beside sessions: TableName,
        _ read: (QueryResult) throws -> Value
    ) async throws(RunFailure) -> Value {
        try await withSession(deadline: .seconds(30)) { session in
            guard try await session.survey(.runs, beside: sessions) != nil else { throw RunFailure.nothingRecorded }
            if table == .removed, try await session.survey(.removed, beside: sessions) == nil {
                throw RunFailure.removedMissing(hasHistory: true)
            }
            return try read(await session.read(statement, limit: session.budget.remaining))
        }
    }
}

extension DatabaseSession {
    /// Surveys the sessions table and a table of the history before anything reads the latter: it may be another role's
    /// view, which would run that role's code. Leaves the transaction open. Throws `historyUnusable`; `nil` if there is
    /// no such table.
    func survey(
        _ name: HistoryTable.Name, beside sessions: TableName, for purpose: Purpose = .reading
    ) async throws(RunFailure) -> Survey? {
        let table = SessionTable(name: sessions, schema: nil)
        let survey = try await Survey.make(of: table, for: .reading, history: name, in: self)
        guard survey.history.isThere else { return nil }
        try survey.history.requireUsable(for: purpose, by: survey.role)
        return survey
    }
}

extension History {
    /// Returns what batches record of removed sessions; `nil` for an operator's own job or if `history.removed` is off.
    ///
    /// - Throws: `removedMissing`, `historyUnusable`, or what a connection throws.
    func recording(_ survey: Survey, in session: DatabaseSession) async throws(RunFailure) -> RemovedSQL.Recording? {
        guard let removed, survey.table.schema != nil else { return nil }
        guard mode != .off, survey.history.isThere else { throw .removedMissing(hasHistory: false) }
        let found = try await session.survey(.removed, beside: survey.table.name, for: .deleting)
        guard let found else { throw .removedMissing(hasHistory: true) }
        return RemovedSQL.Recording(retention: removed, types: found.columnTypes)
    }
}
