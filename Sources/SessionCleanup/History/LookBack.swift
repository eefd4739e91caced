import Postgres
package import Time

/// What the history has of a job when the service starts.
package struct JobHistory: Hashable, Sendable {
    /// The latest fire time that has come, by the database's clock, and that has a row; nil: the history does not know
    /// the job. Rows of `--once` answer no fire time and do not count.
    package let latest: LatestRun?
    package let earlierRuns: EarlierRuns
    /// `nil` where they could not be read.
    package var recentRuns: RecentRuns?

    package struct LatestRun: Hashable, Sendable {
        package let scheduledAt: UTCInstant
        package let state: State

        package enum State: Hashable, Sendable {
            /// The run is at its end.
            case ended
            /// The row has no end: its owner is alive, or has died.
            case running
            /// The run is to be resumed: a shutdown canceled it, it was closed after its owner's death, or a clock that
            /// ran ahead made it before its time.
            case cutShort
            /// An attempt failed and the process that waited to retry is gone; zero when the time has passed.
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
    private let sessions: TableName
    private let lease: Duration

    /// - Parameters:
    ///   - sessions: the sessions table, whose owner the history may belong to.
    ///   - lease: the time without a heartbeat after which a run's owner counts as dead.
    package init(_ access: DatabaseAccess, of sessions: TableName, lease: Duration = .seconds(60)) {
        self.access = access
        self.sessions = sessions
        self.lease = lease
    }

    /// Returns what the history has of each job, by its name; nothing where the table does not exist.
    ///
    /// Reads over a connection of its own within half a minute, and closes what dead owners have left behind, if there is
    /// anything. Cancellation of the task ends it.
    /// - Parameter jobs: their names.
    package func read(_ jobs: [String]) async throws(RunFailure) -> [String: JobHistory] {
        guard !jobs.isEmpty else { return [:] }
        return try await access.withSession(deadline: .seconds(30)) { session in
            // Without the table nothing was missed.
            guard try await session.findsHistory(of: sessions) else { return [:] }
            let statement = HistorySQL.lookBack(at: jobs, lease: lease)
            let rows = try await session.read(statement, limit: session.budget.remaining).rows
            var histories: [String: JobHistory] = [:]
            for row in rows { histories[try row.text("name")] = try JobHistory(row) }
            if try rows.contains(where: { try $0.bool("has_dead_owners") }) {
                // If that fails, for want of a privilege as well, the next claim closes them.
                _ = try? await session.write(Script(HistorySQL.abandon(after: lease)))
            }
            // They are only shown.
            let recent = (try? await RecentRuns.read(jobs, in: session)) ?? [:]
            for (job, runs) in recent { histories[job]?.recentRuns = runs }
            return histories
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
    /// Returns the statement that reads how far the history has come: one row for each job. Each of its subqueries reads
    /// one end of the index on (job, scheduled_at) or of that on successes; no lock but ACCESS SHARE.
    static func lookBack(at jobs: [String], lease: Duration) -> String {
        let names = jobs.map { "(\(SQL.literal($0)))" }.joined(separator: ", ")
        return """
            SELECT j.name
                 , \(SearchSQL.seconds("latest.scheduled_at")) AS latest_at
                 , CASE WHEN latest.status = 'running' THEN 'running'
                        WHEN latest.status IN ('canceled', 'abandoned') OR latest.is_early THEN 'cut short'
                        WHEN latest.next_attempt_at IS NOT NULL THEN 'waiting'
                        ELSE 'ended' END AS latest_state
                 , \(retryWait("latest")) AS next_attempt_ms
                 , \(SearchSQL.seconds("ended.finished_at")) AS last_end_at
                 , \(SearchSQL.seconds("success.finished_at")) AS last_success_at
                 , \(milliseconds("clock_timestamp() - success.finished_at")) AS last_success_age_ms
                 , EXISTS (SELECT FROM mcp_cleanup.runs WHERE status = 'running' AND \(isSilent(for: lease)))
                   AS has_dead_owners
              FROM (VALUES \(names)) AS j (name)
              LEFT JOIN LATERAL (
                   SELECT scheduled_at, status, next_attempt_at
                        , started_at < scheduled_at - interval '1 minute' AS is_early
                     FROM mcp_cleanup.runs
                    WHERE job = j.name AND origin <> 'once' AND isfinite(scheduled_at) AND scheduled_at <= now()
                    ORDER BY scheduled_at DESC LIMIT 1) AS latest ON true
              LEFT JOIN LATERAL \(lastEnd(of: "j.name")) AS ended ON true
              LEFT JOIN LATERAL \(lastEnd(of: "j.name", where: isSuccess)) AS success ON true
            """
    }
}
