import Postgres
package import Time

/// What a job's last runs did, in all processes that share the history: for people who watch, never for a decision.
package struct RecentRuns: Hashable, Sendable {
    /// The last runs that have ended, the oldest first; at most 40.
    package let runs: [RecordedRun]
    /// Rows that runs of the last 24 hours deleted, by the age of the run's last heartbeat in quarters of an hour.
    package let deletions: [Int: Int]

    /// When the last of the runs ended, by the database's clock.
    package var lastEnd: UTCInstant? { runs.compactMap(\.finishedAt).max() }

    /// Ten times what 100,000 rows take. Past it the page does without: missed runs are waiting for this read.
    private static let longestRead = Duration.seconds(3)

    /// Reads the runs of each job, by its name, in a transaction of its own. The history must be one that may be read.
    static func read(_ jobs: [String], in session: DatabaseSession) async throws(RunFailure) -> [String: RecentRuns] {
        let script = HistorySQL.recentRuns(of: jobs).adding("COMMIT")
        let answers = try await session.open(script, isReadOnly: true, limit: longestRead)
        let runs = try answers.read(.runs) { try $0.rows.map { try RecordedRun($0) } }
        let deletions = try answers.read(.deletions) { result in
            var deletions: [String: [Int: Int]] = [:]
            for row in result.rows {
                deletions[try row.text("name"), default: [:]][try row.integer("quarter")] = try row.integer("deleted")
            }
            return deletions
        }
        return Dictionary(
            uniqueKeysWithValues: jobs.map { job in
                (job, RecentRuns(runs: runs.filter { $0.job == job }, deletions: deletions[job] ?? [:]))
            })
    }
}

extension RunReport {
    /// A run that has ended, as the history has it: without its failure, of which there is a text only; by the database's
    /// clock. `nil` for a run that is under way.
    package init?(_ run: RecordedRun) {
        guard let outcome = run.status.outcome, let finishedAt = run.finishedAt else { return nil }
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

extension HistorySQL {
    /// Runs whose deletions count, at most: more than a day of a run a second.
    private static let countedRuns = 100_000

    /// Returns the script that reads the last runs of each job, and what its runs of the last 24 hours deleted. By the index on
    /// (job, scheduled_at); no lock but ACCESS SHARE. A run answers a fire time of the last 8 days, or does not count.
    fileprivate static func recentRuns(of jobs: [String]) -> Script {
        let names = "(VALUES \(jobs.map { "(\(SQL.literal($0)))" }.joined(separator: ", "))) AS j (name)"
        var script = Script(
            """
            SELECT \(RecordedRun.columns)
              FROM \(names) CROSS JOIN LATERAL (
                   SELECT * FROM mcp_cleanup.runs
                    WHERE job = j.name AND status <> 'running' AND \(hasCome) AND \(hasEnded)
                    ORDER BY scheduled_at DESC LIMIT 40) AS r
             ORDER BY r.finished_at
            """, as: .runs)
        script.add(
            """
            SELECT j.name, floor(greatest(extract(epoch FROM now() - r.heartbeat_at) / 900, 0))::integer AS quarter
                 , sum(r.rows_deleted)::bigint AS deleted
              FROM \(names) CROSS JOIN LATERAL (
                   SELECT heartbeat_at, rows_deleted FROM mcp_cleanup.runs
                    WHERE job = j.name AND \(hasCome) AND scheduled_at > now() - interval '8 days'
                    ORDER BY scheduled_at DESC LIMIT \(countedRuns)) AS r
             WHERE r.rows_deleted > 0
               AND r.heartbeat_at BETWEEN now() - interval '1 day' AND now() + interval '1 minute'
             GROUP BY 1, 2
            """, as: .deletions)
        return script
    }
}
