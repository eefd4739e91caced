import Postgres
package import Time

/// A job's history, as the service reads it at its start.
package struct JobHistory: Hashable, Sendable {
    /// `nil` if the history does not know the job.
    package let latest: LatestRun?
    package let earlierRuns: EarlierRuns
    /// `nil` where they could not be read.
    package var recentRuns: RecentRuns?

    /// The run of the latest fire time that has come by the database's clock and has a row. Rows of `--once` answer no
    /// fire time and do not count.
    package struct LatestRun: Hashable, Sendable {
        package let scheduledAt: UTCInstant
        /// True if the row is still `running`: its owner is alive, or has died.
        package var isRunning = false
        /// The time until the run is to be resumed: the rest of the wait if an attempt failed and another was to follow; zero if
        /// the run is running, was canceled or abandoned, or was made before its time by a fast clock; `nil` if it has ended.
        package var wait: Duration?
    }
}

/// A job's last runs, by all processes that share the history: for display, never for a decision.
package struct RecentRuns: Hashable, Sendable {
    /// The last runs that have ended, the oldest first; at most 40.
    package fileprivate(set) var runs: [RecordedRun] = []
    /// Rows deleted by runs of the last 24 hours, by the age of each run's last heartbeat in quarters of an hour.
    package fileprivate(set) var deletions: [Int: Int] = [:]

    /// When the last of the runs ended, by the database's clock.
    package var lastEnd: UTCInstant? { runs.compactMap(\.finishedAt).max() }

    /// Ten times what 100,000 rows take. After it the page shows no recent runs: missed runs wait for this read.
    private static let longestRead = Duration.seconds(3)

    /// Reads each job's last runs, by its name, in a transaction of its own. The role must be able to read them.
    static func read(_ jobs: [String], in session: DatabaseSession) async throws(RunFailure) -> [String: RecentRuns] {
        let script = HistorySQL.recentRuns(of: jobs).adding("COMMIT")
        let answers = try await session.open(script, isReadOnly: true, limit: longestRead)
        var recent = Dictionary(uniqueKeysWithValues: jobs.map { ($0, RecentRuns()) })
        for run in try answers.read(.runs, { try $0.rows.map { try RecordedRun($0) } }) {
            recent[run.job]?.runs.append(run)
        }
        try answers.read(.deletions) { result in
            for row in result.rows {
                recent[try row.text("name")]?.deletions[try row.integer("quarter")] = try row.integer("deleted")
            }
        }
        return recent
    }
}

extension DatabaseAccess {
    /// Returns each job's history, by the job's name; an empty dictionary if the table does not exist. Closes the runs
    /// of dead owners, if there are any. Uses its own connection, for 30 s at most; cancellation ends it.
    ///
    /// - Parameter sessions: the sessions table, whose owner the history may belong to.
    package func lookBack(
        at jobs: [String], beside sessions: TableName, lease: Duration = .seconds(60)
    ) async throws(RunFailure) -> [String: JobHistory] {
        try await withSession(deadline: .seconds(30)) { session in
            guard try await session.survey(.runs, beside: sessions) != nil else { return [:] }
            let statement = HistorySQL.lookBack(at: jobs, lease: lease)
            let rows = try await session.read(statement, limit: session.budget.remaining).rows
            var histories: [String: JobHistory] = [:]
            for row in rows { histories[try row.text("name")] = try JobHistory(row) }
            if try rows.contains(where: { try $0.bool("has_dead_owners") }) {
                // If closing the dead owners' runs fails, for example without the privilege, the next claim closes them.
                _ = try? await session.write(Script(HistorySQL.abandon(after: lease)))
            }
            // A failure is ignored: recent runs are only shown.
            let recent = (try? await RecentRuns.read(jobs, in: session)) ?? [:]
            for (job, runs) in recent { histories[job]?.recentRuns = runs }
            return histories
        }
    }
}

extension JobHistory {
    /// Reads a row of `HistorySQL.lookBack`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        let (isRunning, wait) = (try row.boolIfPresent("is_running"), try row.millisecondsIfPresent("wait_ms"))
        let latest = try row.instantIfPresent("latest_at").map { scheduledAt in
            LatestRun(scheduledAt: scheduledAt, isRunning: isRunning ?? false, wait: wait)
        }
        self.init(latest: latest, earlierRuns: try EarlierRuns(row))
    }
}
