import Postgres
package import Time

/// A row of `mcp_cleanup.runs`: a run, as the history has it.
package struct RecordedRun: Hashable, Sendable {
    package var runID: Int
    package var job: String
    package var status: RunStatus
    package var origin: RunOrigin
    package var scheduledAt: UTCInstant
    package var startedAt: UTCInstant
    package var heartbeatAt: UTCInstant
    /// `nil` while the run is under way.
    package var finishedAt: UTCInstant?
    package var cutoff: UTCInstant
    package var rowsDeleted: Int
    package var rowsSkipped: Int
    package var rowsRefused: Int
    package var batches: Int
    package var attempts: Int
    package var claimedBy: String
    /// The schema of the sessions table that the run trusts; `nil` for a job of the operator's own.
    package var sessionSchema: SchemaGeneration?
    package var errorSQLState: String?
    package var errorMessage: String?
}

/// The status of a run's row.
package enum RunStatus: Hashable, Sendable {
    case running
    case ended(Outcome)

    /// The word in the column `status`.
    package var rawValue: String { outcome?.rawValue ?? "running" }

    package var outcome: Outcome? {
        if case .ended(let outcome) = self { outcome } else { nil }
    }

    fileprivate init?(rawValue: String) {
        let outcome = Outcome(rawValue: rawValue)
        guard rawValue == "running" || outcome != nil, outcome != .skipped else { return nil }
        self = outcome.map { .ended($0) } ?? .running
    }
}

extension RecordedRun {
    /// The columns that the decoder below reads, of a row that goes by `r`.
    static let columns = """
        r.run_id, r.job, r.status, r.origin, r.rows_deleted, r.rows_skipped, r.rows_refused, r.batches, r.attempts
             , r.claimed_by, r.session_schema, r.error_sqlstate, r.error_message
             , \(instant("r.scheduled_at")) AS scheduled, \(instant("r.started_at")) AS started
             , \(instant("r.heartbeat_at")) AS heartbeat, \(instant("r.finished_at")) AS finished
             , \(instant("r.cutoff")) AS cutoff_at
        """

    /// Returns a time in microseconds, or NULL for NULL.
    private static func instant(_ column: String) -> String { SearchSQL.seconds(HistorySQL.finite(column)) }

    /// Reads a row with `columns`.
    ///
    /// - Throws: `unexpectedAnswer`, also for a status, an origin or a schema that this release does not know.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        runID = try row.integer("run_id")
        job = try row.text("job")
        status = try Self.word("status", try row.text("status"), RunStatus.init)
        origin = try Self.word("origin", try row.text("origin"), RunOrigin.init)
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
        if let schema = try row.textIfPresent("session_schema") {
            sessionSchema = try Self.word("schema", schema, SchemaGeneration.init)
        }
        errorSQLState = try row.textIfPresent("error_sqlstate")
        errorMessage = try row.textIfPresent("error_message")
    }

    private static func word<Value>(
        _ column: String, _ text: String, _ known: (String) -> Value?
    ) throws(PostgresError) -> Value {
        guard let value = known(text) else { throw .unexpectedAnswer("a run with the \(column) \(text)") }
        return value
    }
}
