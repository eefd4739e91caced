import Postgres
package import Time

/// A run as the history has it.
package struct RecordedRun: Sendable {
    package let runID: Int
    package let job: String
    /// `running`, or an outcome.
    package let status: String
    package let origin: String
    package let scheduledAt: UTCInstant
    package let startedAt: UTCInstant
    package let heartbeatAt: UTCInstant
    /// `nil` while it is under way.
    package let finishedAt: UTCInstant?
    package let cutoff: UTCInstant
    package let rowsDeleted: Int
    package let rowsSkipped: Int
    package let rowsRefused: Int
    package let batches: Int
    package let attempts: Int
    package let claimedBy: String
    package let errorSQLState: String?
    package let errorMessage: String?
}

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

    package init(_ access: DatabaseAccess) { self.access = access }

    private static let deadline = Duration.seconds(30)

    /// The latest runs, the latest first.
    ///
    /// - Parameters:
    ///   - jobs: their names; none stands for all jobs.
    ///   - limit: the most to return.
    /// - Throws: `nothingRecorded`, `historyUnusable`, or what a connection throws.
    package func latest(_ limit: Int, of jobs: [String]) async throws(RunFailure) -> [RecordedRun] {
        try await reading(RecordStatements.latest(limit, of: jobs)) { result in
            try result.rows.map { try RecordedRun($0) }
        }
    }

    /// What is known of each job, by its name.
    ///
    /// - Throws: `nothingRecorded`, `historyUnusable`, or what a connection throws.
    package func records(of jobs: [String]) async throws(RunFailure) -> [String: JobRecord] {
        guard !jobs.isEmpty else { return [:] }
        return try await reading(RecordStatements.records(of: jobs)) { result in
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
        let result = try await access.withSession(deadline: Self.deadline) { session throws(RunFailure) in
            let table = SessionTable(name: .sessions, schema: .auto)
            let survey = try await Survey.make(of: table, for: .reading, in: session)
            guard survey.history.isThere else { throw .nothingRecorded }
            if let obstacle = survey.history.readingObstacle {
                throw .historyUnusable(role: survey.role, obstacle)
            }
            return try await session.read(statement, limit: session.budget.remaining)
        }
        return try result.reading(read)
    }
}

extension RecordedRun {
    /// Reads a row of `RecordStatements`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        runID = try row.integer("run_id")
        job = try row.text("job")
        status = try row.text("status")
        origin = try row.text("origin")
        scheduledAt = try row.instant("scheduled")
        startedAt = try row.instant("started")
        heartbeatAt = try row.instant("heartbeat")
        finishedAt = try row.instantIfPresent("finished")
        cutoff = try row.instant("cutoff_at")
        rowsDeleted = try row.integer("rows_deleted")
        rowsSkipped = try row.integer("rows_skipped")
        rowsRefused = try row.integer("rows_refused")
        batches = try row.integer("batches")
        attempts = try row.integer("attempts")
        claimedBy = try row.text("claimed_by")
        errorSQLState = try row.textIfPresent("error_sqlstate")
        errorMessage = try row.textIfPresent("error_message")
    }
}

/// The statements that read the history; all values in them are ours, as literals.
enum RecordStatements {
    private static let columns = """
        r.run_id, r.job, r.status, r.origin, r.rows_deleted, r.rows_skipped, r.rows_refused, r.batches, r.attempts, r.claimed_by
             , r.error_sqlstate, r.error_message
             , \(SearchSQL.microseconds("r.scheduled_at")) AS scheduled, \(SearchSQL.microseconds("r.started_at")) AS started
             , \(SearchSQL.microseconds("r.heartbeat_at")) AS heartbeat, \(SearchSQL.microseconds("r.finished_at")) AS finished
             , \(SearchSQL.microseconds("r.cutoff")) AS cutoff_at
        """

    /// In the order in which they were claimed, by the primary key: whatever the clocks said, and however many there are.
    static func latest(_ limit: Int, of jobs: [String]) -> String {
        let condition = jobs.isEmpty ? "" : "WHERE r.job IN (\(jobs.map(SQL.literal).joined(separator: ", ")))"
        return "SELECT \(columns) FROM mcp_cleanup.runs AS r \(condition) ORDER BY r.run_id DESC LIMIT \(limit)"
    }

    /// A row for each job, and in it what is known. Of runs for fire times that have come, as far as clocks agree: one
    /// that ran ahead would otherwise stand for the last run for ever.
    static func records(of jobs: [String]) -> String {
        let names = jobs.map { "(\(SQL.literal($0)))" }.joined(separator: ", ")
        let runs = "mcp_cleanup.runs AS r WHERE r.job = j.name AND r.scheduled_at < now() + interval '5 minutes'"
        return """
            SELECT j.name, last.*, \(SearchSQL.microseconds("now()")) AS clock
                 , (SELECT \(SearchSQL.microseconds("r.finished_at")) FROM \(runs) AND \(HistorySQL.isSuccess)
                     ORDER BY r.scheduled_at DESC LIMIT 1) AS last_success
                 , (SELECT \(SearchSQL.microseconds("r.started_at")) FROM \(runs) ORDER BY r.scheduled_at LIMIT 1) AS first_run
              FROM (VALUES \(names)) AS j (name)
              LEFT JOIN LATERAL (SELECT \(columns) FROM \(runs) ORDER BY r.scheduled_at DESC LIMIT 1) AS last ON true
            """
    }

    /// Runs whose owner has been silent for longer than the lease.
    static func stale(after lease: Duration) -> String {
        """
        SELECT job, claimed_by, \(SearchSQL.microseconds("heartbeat_at")) AS heartbeat FROM mcp_cleanup.runs
         WHERE status = 'running' AND \(HistorySQL.isSilent(for: lease))
         ORDER BY run_id LIMIT 1
        """
    }
}
