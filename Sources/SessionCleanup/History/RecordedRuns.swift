import Postgres
package import Time

/// What the history knows of a job.
package struct JobRecord: Sendable {
    package let lastRun: RecordedRun?
    package let lastSuccessAt: UTCInstant?
    /// When its oldest run that is still recorded began.
    package let firstRunAt: UTCInstant?
    /// The database's clock.
    package let now: UTCInstant
}

/// Reads `mcp_cleanup.runs`, for which SELECT is enough, over one connection within half a minute.
package struct RecordedRuns: Sendable {
    private let access: DatabaseAccess
    private let sessions: TableName

    /// - Parameter sessions: the sessions table, whose owner the history may belong to.
    package init(_ access: DatabaseAccess, of sessions: TableName) {
        self.access = access
        self.sessions = sessions
    }

    /// The latest runs of some jobs, or of all if none is named, the latest first.
    ///
    /// - Throws: `nothingRecorded`, `historyUnusable`, or what a connection throws.
    package func latest(_ limit: Int, of jobs: [String]) async throws(RunFailure) -> [RecordedRun] {
        try await reading(HistorySQL.latest(limit, of: jobs)) { try $0.rows.map(RecordedRun.init) }
    }

    /// What is known of each job, by its name. Throws as `latest`.
    package func records(of jobs: [String]) async throws(RunFailure) -> [String: JobRecord] {
        guard !jobs.isEmpty else { return [:] }
        return try await reading(HistorySQL.records(of: jobs)) { result in
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

    private func reading<Value>(
        _ statement: String, _ read: (QueryResult) throws -> Value
    ) async throws(RunFailure) -> Value {
        try await access.withSession(deadline: .seconds(30)) { session in
            guard try await session.findsHistory(of: sessions) else { throw RunFailure.nothingRecorded }
            return try read(await session.read(statement, limit: session.budget.remaining))
        }
    }
}

extension DatabaseSession {
    /// Looks for the history before anything reads it: a view of another role's would run that role's code. Leaves the
    /// transaction open.
    ///
    /// - Returns: false if there is none.
    /// - Throws: `historyUnusable`, or what a connection throws.
    func findsHistory(of sessions: TableName) async throws(RunFailure) -> Bool {
        let table = SessionTable(name: sessions, schema: .auto)
        let survey = try await Survey.make(of: table, for: .reading, in: self)
        guard survey.history.isThere else { return false }
        if let obstacle = survey.history.obstacle(for: .reading) {
            throw .historyUnusable(.runs, role: survey.role, obstacle)
        }
        return true
    }
}

extension HistorySQL {
    /// In the order in which they were claimed, by the primary key, which no clock and no number of rows changes.
    static func latest(_ limit: Int, of jobs: [String]) -> String {
        let condition = jobs.isEmpty ? "" : "WHERE r.job IN (\(jobs.map(SQL.literal).joined(separator: ", ")))"
        return
            "SELECT \(RecordedRun.columns) FROM mcp_cleanup.runs AS r \(condition) ORDER BY r.run_id DESC LIMIT \(limit)"
    }

    /// A row for each job, and in it what is known. Of runs for fire times that have come, as far as clocks agree: a
    /// run of a clock that was ahead would else stay the last one until its time comes.
    static func records(of jobs: [String]) -> String {
        let names = jobs.map { "(\(SQL.literal($0)))" }.joined(separator: ", ")
        let runs = "mcp_cleanup.runs AS r WHERE r.job = j.name AND r.scheduled_at < now() + interval '5 minutes'"
        return """
            SELECT j.name, last.*, \(SearchSQL.seconds("now()")) AS clock
                 , (SELECT \(SearchSQL.seconds("r.finished_at")) FROM \(runs) AND \(isSuccess)
                      AND r.finished_at < now() + interval '5 minutes'
                     ORDER BY r.scheduled_at DESC LIMIT 1) AS last_success
                 , (SELECT \(SearchSQL.seconds(finite("r.started_at"))) FROM \(runs)
                     ORDER BY r.scheduled_at LIMIT 1) AS first_run
              FROM (VALUES \(names)) AS j (name)
              LEFT JOIN LATERAL (SELECT \(RecordedRun.columns) FROM \(runs) ORDER BY r.scheduled_at DESC LIMIT 1) AS last ON true
            """
    }

    /// Runs whose owner has been silent for longer than the lease.
    static func stale(after lease: Duration) -> String {
        """
        SELECT job, claimed_by, \(SearchSQL.seconds(finite("heartbeat_at"))) AS heartbeat FROM mcp_cleanup.runs
         WHERE status = 'running' AND \(isSilent(for: lease))
         ORDER BY run_id LIMIT 1
        """
    }
}
