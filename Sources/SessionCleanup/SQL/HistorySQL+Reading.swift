import Postgres
import Time

/// What commands list, and what a service reads at its start.
extension HistorySQL {
    /// The latest runs in the order of their claims: the primary key, which no clock and no number of rows changes.
    static func latest(_ limit: Int, of jobs: [String]) -> String {
        let condition = jobs.isEmpty ? "" : "WHERE r.job IN (\(jobs.map(SQL.literal).joined(separator: ", ")))"
        return
            "SELECT \(RecordedRun.columns) FROM mcp_cleanup.runs AS r \(condition) ORDER BY r.run_id DESC LIMIT \(limit)"
    }

    /// One row for each job, with its last run, last success and first run. Fire times more than 5 minutes ahead do not
    /// count: a run of a clock that was ahead would otherwise stay the last one until its time comes.
    static func records(of jobs: [String]) -> String {
        let runs = "mcp_cleanup.runs AS r WHERE r.job = j.name AND r.scheduled_at < now() + interval '5 minutes'"
        return """
            SELECT j.name, last.*, \(SearchSQL.seconds("now()")) AS clock
                 , (SELECT \(SearchSQL.seconds("r.finished_at")) FROM \(runs) AND \(isSuccess)
                      AND r.finished_at < now() + interval '5 minutes'
                     ORDER BY r.scheduled_at DESC LIMIT 1) AS last_success
                 , (SELECT \(SearchSQL.seconds(finite("r.started_at"))) FROM \(runs)
                     ORDER BY r.scheduled_at LIMIT 1) AS first_run
              FROM \(names(jobs))
              LEFT JOIN LATERAL (SELECT \(RecordedRun.columns) FROM \(runs) ORDER BY r.scheduled_at DESC LIMIT 1) AS last ON true
            """
    }

    /// One running row without a heartbeat within the lease, the first that was claimed, if there is any.
    static func stale(after lease: Duration) -> String {
        """
        SELECT job, claimed_by, \(SearchSQL.seconds(finite("heartbeat_at"))) AS heartbeat FROM mcp_cleanup.runs
         WHERE status = 'running' AND \(isSilent(for: lease))
         ORDER BY run_id LIMIT 1
        """
    }

    /// The names as a relation `j (name)`.
    static func names(_ jobs: [String]) -> String {
        "(VALUES \(jobs.map { "(\(SQL.literal($0)))" }.joined(separator: ", "))) AS j (name)"
    }

    /// Returns the statement that reads how far the history has come: one row for each job. Each of its subqueries reads
    /// one end of the index on (job, scheduled_at) or of that on successes; no lock but ACCESS SHARE.
    static func lookBack(at jobs: [String], lease: Duration) -> String {
        """
        SELECT j.name
             , \(SearchSQL.seconds("latest.scheduled_at")) AS latest_at, latest.status = 'running' AS is_running
             , CASE WHEN latest.status IN ('running', 'canceled', 'abandoned') OR latest.is_early THEN 0
                    ELSE \(retryWait("latest")) END AS wait_ms
             , \(SearchSQL.seconds("ended.finished_at")) AS last_end_at
             , \(SearchSQL.seconds("success.finished_at")) AS last_success_at
             , \(milliseconds("clock_timestamp() - success.finished_at")) AS last_success_age_ms
             , EXISTS (SELECT FROM mcp_cleanup.runs WHERE status = 'running' AND \(isSilent(for: lease)))
               AS has_dead_owners
          FROM \(names(jobs))
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

    /// The most runs of a job whose deletions count: more than one run a second makes in a day.
    private static let countedRuns = 100_000

    /// Returns the script that reads the last runs of each job, and what its runs of the last 24 hours deleted. By the
    /// index on (job, scheduled_at); no lock but ACCESS SHARE. For deletions only fire times of the last 8 days count.
    static func recentRuns(of jobs: [String]) -> Script {
        Script(
            """
            SELECT \(RecordedRun.columns)
              FROM \(names(jobs)) CROSS JOIN LATERAL (
                   SELECT * FROM mcp_cleanup.runs
                    WHERE job = j.name AND status <> 'running' AND \(hasCome) AND \(hasEnded)
                    ORDER BY scheduled_at DESC LIMIT 40) AS r
             ORDER BY r.finished_at
            """, as: .runs
        ).adding(
            """
            SELECT j.name, floor(greatest(extract(epoch FROM now() - r.heartbeat_at) / 900, 0))::integer AS quarter
                 , least(sum(r.rows_deleted), \(QueryResult.Row.mostOfInteger))::bigint AS deleted
              FROM \(names(jobs)) CROSS JOIN LATERAL (
                   SELECT heartbeat_at, rows_deleted FROM mcp_cleanup.runs
                    WHERE job = j.name AND \(hasCome) AND scheduled_at > now() - interval '8 days'
                    ORDER BY scheduled_at DESC LIMIT \(countedRuns)) AS r
             WHERE r.rows_deleted > 0
               AND r.heartbeat_at BETWEEN now() - interval '1 day' AND now() + interval '1 minute'
             GROUP BY 1, 2
            """, as: .deletions)
    }
}
