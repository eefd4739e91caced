import Postgres
package import Time

/// A row of `mcp_cleanup.runs`: a run, as the history has it.
package struct RecordedRun: Hashable, Sendable {
    package var runID: Int
    package var job: String
    /// `nil` while the run is under way, as is `finishedAt`.
    package var outcome: Outcome?
    package var origin: RunOrigin
    package var scheduledAt: UTCInstant
    package var startedAt: UTCInstant
    package var heartbeatAt: UTCInstant
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

    /// The word in the column `status`.
    package var status: String { outcome?.rawValue ?? "running" }
}

extension RecordedRun {
    /// The columns that `init(_:)` reads, of a row with the alias `r`.
    static let columns = """
        r.run_id, r.job, r.status, r.origin, r.batches, r.attempts
             , \(rows("deleted")), \(rows("skipped")), \(rows("refused"))
             , r.claimed_by, r.session_schema, r.error_sqlstate, r.error_message
             , \(instant("r.scheduled_at")) AS scheduled, \(instant("r.started_at")) AS started
             , \(instant("r.heartbeat_at")) AS heartbeat, \(instant("r.finished_at")) AS finished
             , \(instant("r.cutoff")) AS cutoff_at
        """

    /// A forged row may count more rows than any table holds.
    private static func rows(_ what: String) -> String {
        "least(r.rows_\(what), \(QueryResult.Row.mostOfInteger)) AS rows_\(what)"
    }

    private static func instant(_ column: String) -> String { SearchSQL.seconds(HistorySQL.finite(column)) }

    /// Reads a row with `columns`.
    ///
    /// - Throws: `unexpectedAnswer`, also for a status, an origin or a schema that this release does not know.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        let status = try row.text("status")
        self.init(
            runID: try row.integer("run_id", most: .max), job: try row.text("job"),
            outcome: status == "running"
                ? nil : try Self.word("status", status) { $0 == "skipped" ? nil : Outcome(rawValue: $0) },
            origin: try Self.word("origin", try row.text("origin"), RunOrigin.init),
            scheduledAt: try row.instant("scheduled"), startedAt: try row.instant("started"),
            heartbeatAt: try row.instant("heartbeat"), finishedAt: try row.instantIfPresent("finished"),
            cutoff: try row.instant("cutoff_at"), rowsDeleted: try row.integer("rows_deleted"),
            rowsSkipped: try row.integer("rows_skipped"), rowsRefused: try row.integer("rows_refused"),
            batches: try row.integer("batches"), attempts: try row.integer("attempts"),
            claimedBy: try row.text("claimed_by"), errorSQLState: try row.textIfPresent("error_sqlstate"),
            errorMessage: try row.textIfPresent("error_message"))
        if let schema = try row.textIfPresent("session_schema") {
            sessionSchema = try Self.word("schema", schema, SchemaGeneration.init)
        }
    }

    private static func word<Value>(
        _ column: String, _ text: String, _ known: (String) -> Value?
    ) throws(PostgresError) -> Value {
        guard let value = known(text) else { throw .unexpectedAnswer("a run with the \(column) \(text)") }
        return value
    }
}

extension RunReport {
    /// The report of a run that has ended, from its row: without the failure, of which the row has only the text; times
    /// are the database clock's. `nil` for a run that is under way.
    package init?(_ run: RecordedRun) {
        guard let outcome = run.outcome, let finishedAt = run.finishedAt else { return nil }
        self.init(
            job: run.job, outcome: outcome, scheduledAt: run.scheduledAt, startedAt: run.startedAt,
            finishedAt: finishedAt, cutoff: run.cutoff)
        progress = RunProgress(
            rowsDeleted: run.rowsDeleted, rowsSkipped: run.rowsSkipped, rowsRefused: run.rowsRefused,
            batches: run.batches)
        attempts = run.attempts
        runID = Int64(run.runID)
        recordedEnd = finishedAt
    }
}

extension QueryResult.Row {
    func millisecondsIfPresent(_ column: String) throws(PostgresError) -> Duration? {
        try textIfPresent(column) == nil ? nil : .milliseconds(try integer(column))
    }
}
