import Postgres
package import Time

/// What the history has of a job when the service starts.
package struct JobHistory: Hashable, Sendable {
    /// The latest fire time that has come, by the database's clock, and that has a row; nil: the history does not know
    /// the job. Rows of `--once` answer no fire time and do not count.
    package let latest: LatestRun?
    package let earlierRuns: EarlierRuns

    package init(latest: LatestRun?, earlierRuns: EarlierRuns) {
        self.latest = latest
        self.earlierRuns = earlierRuns
    }

    package struct LatestRun: Hashable, Sendable {
        package let scheduledAt: UTCInstant
        package let state: State

        package init(scheduledAt: UTCInstant, state: State) {
            self.scheduledAt = scheduledAt
            self.state = state
        }

        package enum State: Hashable, Sendable {
            /// The run is at its end.
            case ended
            /// The row has no end: its owner is alive, or has died.
            case running
            /// The run is to be resumed: a shutdown canceled it, it was closed after its owner's death, or a clock that
            /// ran ahead made it before its time.
            case cutShort
            /// An attempt failed and the process that waited to retry is gone; negative when the time has passed.
            case waiting(Duration)
        }

        /// The wait before the run is to be resumed; nil if it is at its end.
        package var waitIfUnfinished: Duration? {
            switch state {
            case .ended: nil
            case .running, .cutShort: .zero
            case .waiting(let wait): max(wait, .zero)
            }
        }

        /// Zero if the row has no end; else nil.
        package var waitIfRunning: Duration? { state == .running ? .zero : nil }
    }
}

/// Reads, after the start of the service, how far the history has come.
package struct LookBack: Sendable {
    private let access: DatabaseAccess

    package init(_ access: DatabaseAccess) { self.access = access }

    /// The longest time that the read may take, connecting included.
    private static let deadline = Duration.seconds(30)

    /// Returns what the history has of each job, by its name; nothing where the table does not exist.
    ///
    /// One read-only statement over a connection of its own. Cancellation of the task ends it.
    /// - Parameter jobs: their names.
    package func read(_ jobs: [String]) async throws(RunFailure) -> [String: JobHistory] {
        guard !jobs.isEmpty else { return [:] }
        do {
            return try await access.withSession(deadline: Self.deadline) { session throws(RunFailure) in
                let found = try await session.read(HistorySQL.lookBack(at: jobs), limit: session.budget.remaining)
                return try found.reading { result in
                    var histories: [String: JobHistory] = [:]
                    for row in result.rows { histories[try row.text("name")] = try JobHistory(row) }
                    return histories
                }
            }
        } catch {
            // undefined_table, invalid_schema_name: without the table nothing was missed.
            if error.sqlState == "42P01" || error.sqlState == "3F000" { return [:] }
            throw error
        }
    }
}

extension JobHistory {
    /// Reads a row of `HistorySQL.lookBack`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        earlierRuns = try EarlierRuns(row)
        guard let scheduledAt = try row.instantIfPresent("latest_at") else {
            latest = nil
            return
        }
        let state: LatestRun.State
        switch try row.text("latest_state") {
        case "ended": state = .ended
        case "running": state = .running
        case "cut short": state = .cutShort
        case "waiting": state = .waiting(.milliseconds(try row.integer("next_attempt_ms")))
        case let other: throw .unexpectedAnswer("a run that is \(other)")
        }
        latest = LatestRun(scheduledAt: scheduledAt, state: state)
    }
}

extension HistorySQL {
    /// One row for each job. Each of its subqueries reads one end of the index on (job, scheduled_at) or of that on
    /// successes; no lock but ACCESS SHARE.
    ///
    /// Every function and operator is `pg_catalog`'s by name: a role's search path may lead to others.
    static func lookBack(at jobs: [String]) -> String {
        let names = jobs.map { "(\(SQL.literal($0)))" }.joined(separator: ", ")
        let ofJob = "FROM mcp_cleanup.runs AS r WHERE r.job OPERATOR(pg_catalog.=) j.name"
        let (clock, minus) = ("pg_catalog.clock_timestamp()", "OPERATOR(pg_catalog.-)")
        // Fire times are named by the clocks of hosts, which may be a little ahead of the database.
        let hasCome =
            "r.scheduled_at OPERATOR(pg_catalog.<=) (pg_catalog.now() OPERATOR(pg_catalog.+) interval '1 minute')"
        return """
            SELECT j.name
                 , \(SearchSQL.microseconds("latest.scheduled_at")) AS latest_at
                 , CASE WHEN latest.status OPERATOR(pg_catalog.=) 'running' THEN 'running'
                        WHEN latest.status OPERATOR(pg_catalog.=) 'canceled'
                          OR latest.status OPERATOR(pg_catalog.=) 'abandoned' OR latest.is_early THEN 'cut short'
                        WHEN pg_catalog.isfinite(latest.next_attempt_at) THEN 'waiting'
                        ELSE 'ended' END AS latest_state
                 , \(milliseconds("latest.next_attempt_at", "latest.next_attempt_at \(minus) \(clock)"))
                   AS next_attempt_ms
                 , \(SearchSQL.microseconds("ended.finished_at")) AS last_end_at
                 , \(SearchSQL.microseconds("success.finished_at")) AS last_success_at
                 , \(milliseconds("success.finished_at", "\(clock) \(minus) success.finished_at"))
                   AS last_success_age_ms
              FROM (VALUES \(names)) AS j (name)
              LEFT JOIN LATERAL (
                   SELECT r.scheduled_at, r.status, r.next_attempt_at
                        , r.started_at OPERATOR(pg_catalog.<)
                          (r.scheduled_at OPERATOR(pg_catalog.-) interval '1 minute') AS is_early
                     \(ofJob) AND r.origin OPERATOR(pg_catalog.<>) 'once'
                      AND r.scheduled_at OPERATOR(pg_catalog.<=) pg_catalog.now()
                    ORDER BY r.scheduled_at DESC LIMIT 1) AS latest ON true
              LEFT JOIN LATERAL (
                   SELECT r.finished_at \(ofJob) AND r.status OPERATOR(pg_catalog.<>) 'running' AND \(hasCome)
                    ORDER BY r.scheduled_at DESC LIMIT 1) AS ended ON true
              LEFT JOIN LATERAL (
                   SELECT r.finished_at \(ofJob) AND \(hasCome)
                      AND r.status OPERATOR(pg_catalog.=) ANY (ARRAY['succeeded', 'capped'])
                    ORDER BY r.scheduled_at DESC LIMIT 1) AS success ON true
            """
    }

    /// Milliseconds of an interval; NULL where the time that it is measured from is infinite.
    private static func milliseconds(_ time: String, _ interval: String) -> String {
        "CASE WHEN pg_catalog.isfinite(\(time)) "
            + "THEN (extract(epoch FROM \(interval)) OPERATOR(pg_catalog.*) 1000)::bigint END"
    }
}
