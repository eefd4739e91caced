import Postgres
import Time

/// The statements about `mcp_cleanup.runs`. Scripts of the simple protocol, so that several of them take one round trip:
/// all values in them are ours, as literals.
enum HistorySQL {
    /// Closed runs that go with one run at the most: what a day of runs every few minutes leaves behind, and a
    /// transaction of milliseconds.
    private static let pruneLimit = 500

    /// A server's message may quote a whole row, or a function's whole text.
    private static let messageLimit = 4096

    /// Returns the script that claims the run unless another process has it, and reads what stands in the way.
    ///
    /// Closes the runs of dead owners first: an INSERT beside an UPDATE in one statement does not see the row closed.
    /// - Parameters:
    ///   - token: the new owner's.
    ///   - cutoff: the clock that the survey read, which was compared with the host's.
    ///   - tolerance: how far before its fire time, by the database's clock, a run may have begun: fire times are named
    ///     by the host's clock, and by a database that is behind it each run begins early.
    static func claim(
        _ request: RunRequest, of job: String, token: String, history: History, cutoff: UTCInstant, tolerance: Duration
    ) -> Script {
        let (job, fireTime) = (SQL.literal(job), SearchSQL.literal(request.scheduledAt))
        var script = Script(
            """
            UPDATE mcp_cleanup.runs SET status = 'abandoned', finished_at = clock_timestamp()
             WHERE run_id IN (SELECT run_id FROM mcp_cleanup.runs
                               WHERE status = 'running' AND \(isSilent(for: history.lease))
                                 AND NOT (job = \(job) AND scheduled_at = \(fireTime))
                                 FOR UPDATE SKIP LOCKED)
            """)
        script.add(
            """
            INSERT INTO mcp_cleanup.runs
                   (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
            SELECT \(job), \(fireTime), \(SQL.literal(request.origin.rawValue)), \(SQL.literal(token)), 1, 'running',
                   now(), clock_timestamp(), \(SearchSQL.literal(cutoff))
                ON CONFLICT DO NOTHING
            """)
        script.add(
            """
            SELECT r.run_id, r.scheduled_at = \(fireTime) AS is_same_fire_time, r.status, r.origin, r.claimed_by
                 , \(SearchSQL.microseconds("r.cutoff")) AS cutoff_at, r.attempts, r.rows_deleted, r.batches
                 , r.next_attempt_at IS NOT NULL AS waits_to_retry
                 , CASE WHEN \(isSilent(for: history.lease)) THEN 0 ELSE
                       (extract(epoch FROM heartbeat_at + \(interval(history.lease)) - clock_timestamp()) * 1000)::bigint
                   END AS lease_left_ms
                 , r.started_at < r.scheduled_at - \(interval(tolerance))
                   AND r.scheduled_at <= now() + \(interval(tolerance)) AS is_ahead
              FROM mcp_cleanup.runs AS r
             WHERE r.job = \(job) AND (r.scheduled_at = \(fireTime) OR r.status = 'running')
            """, as: .candidates)
        script.add(
            """
            SELECT \(SearchSQL.microseconds("s.finished_at")) AS last_success_at
                 , (extract(epoch FROM clock_timestamp() - s.finished_at) * 1000)::bigint AS last_success_age_ms
                 , \(SearchSQL.microseconds(lastEnd(of: job))) AS last_end_at
              FROM (SELECT) AS one LEFT JOIN \(lastSuccess(of: job)) AS s ON true
            """, as: .earlierRuns)
        return script
    }

    /// Whether a run's owner has given no sign of life for so long. One that lies further ahead than that was given by a
    /// clock that was: for as long as that it would say nothing. Should its owner be alive, the fence stops it.
    static func isSilent(for lease: Duration) -> String {
        let lease = interval(lease)
        return "heartbeat_at NOT BETWEEN clock_timestamp() - \(lease) AND clock_timestamp() + \(lease)"
    }

    /// What a run that did all that it was allowed to ended as; word for word what the index runs_job_success_idx has.
    static let isSuccess = "status IN ('succeeded', 'capped')"

    /// Runs with fire times ahead of the clock are as old as any.
    private static func lastSuccess(of job: String) -> String {
        """
        (SELECT finished_at FROM mcp_cleanup.runs
          WHERE job = \(job) AND \(isSuccess) AND scheduled_at <= now() + interval '1 minute'
          ORDER BY scheduled_at DESC LIMIT 1)
        """
    }

    private static func lastEnd(of job: String) -> String {
        """
        (SELECT finished_at FROM mcp_cleanup.runs
          WHERE job = \(job) AND status <> 'running' AND scheduled_at <= now() + interval '1 minute'
          ORDER BY scheduled_at DESC LIMIT 1)
        """
    }

    /// Takes over a row that was seen, unless it has changed since, or another run of the job is under way. One row if
    /// it did. The transaction's end included.
    ///
    /// - Parameters:
    ///   - isOurs: whether an earlier attempt of this process owned it, so that nobody's lease has to end.
    ///   - keepsCutoff: whether the row's cutoff stays, unless it is later than the new one: then a clock that was ahead
    ///     set it, and sessions that are not due yet would go.
    static func reopen(
        _ seen: ClaimCandidate, token: String, isOurs: Bool, keepsCutoff: Bool, cutoff: UTCInstant, history: History
    ) -> Script {
        let cutoff = SearchSQL.literal(cutoff)
        let isDead =
            seen.isRunning && !isOurs ? "AND \(isSilent(for: history.lease))" : ""
        return Script(
            """
            UPDATE mcp_cleanup.runs AS r
               SET claimed_by = \(SQL.literal(token)), attempts = attempts + 1, status = 'running'
                 , heartbeat_at = clock_timestamp(), finished_at = NULL, next_attempt_at = NULL, error_sqlstate = NULL
                 , error_message = NULL
                 , \(keepsCutoff ? "cutoff = least(r.cutoff, \(cutoff))" : "started_at = now(), cutoff = \(cutoff)")
             WHERE r.run_id = \(seen.runID) AND r.claimed_by = \(SQL.literal(seen.claimedBy))
               AND r.status = \(SQL.literal(seen.status)) \(isDead)
               AND NOT EXISTS (SELECT FROM mcp_cleanup.runs AS o
                                WHERE o.job = r.job AND o.status = 'running' AND o.run_id <> r.run_id)
            RETURNING r.run_id, \(SearchSQL.microseconds("r.cutoff")) AS cutoff_at, r.attempts, r.rows_deleted, r.batches
            """, as: .reopened)
    }

    /// Returns the statement that locks the run's row (FOR NO KEY UPDATE) if the run is still ours; one row if it is.
    /// A process that wants to take the run over waits behind it. By the primary key; qualified, since it is a batch's.
    static func hold(_ claim: RunClaim) -> String {
        "SELECT run_id FROM mcp_cleanup.runs WHERE \(ours(claim)) FOR NO KEY UPDATE"
    }

    /// A condition that holds if the run is still ours, in a statement after `hold`.
    static func isOurs(_ claim: RunClaim) -> String { "EXISTS (SELECT FROM mcp_cleanup.runs WHERE \(ours(claim)))" }

    /// Returns the part of a batch's statement that accounts for it, from `counted`: rows and count are one transaction.
    static func account(_ claim: RunClaim) -> String {
        """
        UPDATE mcp_cleanup.runs
           SET rows_deleted = rows_deleted OPERATOR(pg_catalog.+) deleted, batches = batches OPERATOR(pg_catalog.+) 1
             , heartbeat_at = pg_catalog.clock_timestamp()
          FROM counted WHERE deleted OPERATOR(pg_catalog.>) 0 AND \(ours(claim))
        """
    }

    private static func ours(_ claim: RunClaim) -> String {
        "run_id OPERATOR(pg_catalog.=) \(claim.runID) AND claimed_by OPERATOR(pg_catalog.=) \(SQL.literal(claim.token)) "
            + "AND status OPERATOR(pg_catalog.=) 'running'"
    }

    /// Returns the statement that renews the heartbeat; one row if the run is still ours.
    static func renew(_ claim: RunClaim) -> String {
        """
        UPDATE mcp_cleanup.runs SET heartbeat_at = clock_timestamp()
         WHERE \(ours(claim))
        RETURNING run_id
        """
    }

    /// Closes the run, lets go of what is past its retention, and shows the row, if it is there and its last owner was
    /// the token's. The transaction's end included.
    ///
    /// What is past its retention must be so by the host's clock too, which named the fire time: a database's clock that
    /// is ahead must not empty this table either.
    ///
    /// By the fire time and the token, which are known even when the answer to the claim never came.
    static func finish(
        _ scheduledAt: UTCInstant, of job: String, token: String, outcome: Outcome, progress: RunProgress,
        failure: RunFailure?, nextAttemptIn wait: Duration?, history: History
    ) -> Script {
        let (job, fireTime) = (SQL.literal(job), SearchSQL.literal(scheduledAt))
        let key = "job = \(job) AND scheduled_at = \(fireTime) AND claimed_by = \(SQL.literal(token))"
        var script = Script(
            """
            UPDATE mcp_cleanup.runs
               SET status = '\(outcome.rawValue)', heartbeat_at = clock_timestamp(), finished_at = clock_timestamp()
                 , rows_skipped = \(progress.rowsSkipped), rows_refused = \(progress.rowsRefused)
                 , next_attempt_at = \(wait.map { "clock_timestamp() + \(interval($0))" } ?? "NULL")
                 , error_sqlstate = \(text(failure?.sqlState?.rawValue))
                 , error_message = \(text(failure?.description, limit: messageLimit))
             WHERE \(key) AND status = 'running'
            """)
        script.add(
            """
            DELETE FROM mcp_cleanup.runs
             WHERE run_id IN (
                   SELECT run_id FROM mcp_cleanup.runs
                    WHERE job = \(job) AND scheduled_at < least(now(), \(fireTime)) - \(interval(history.retention))
                      AND scheduled_at < (SELECT max(scheduled_at) FROM mcp_cleanup.runs WHERE job = \(job))
                      AND run_id IS DISTINCT FROM (SELECT run_id FROM mcp_cleanup.runs
                                                    WHERE job = \(job) AND \(isSuccess)
                                                    ORDER BY scheduled_at DESC LIMIT 1)
                      AND status <> 'running'
                    ORDER BY scheduled_at LIMIT \(pruneLimit))
            """)
        script.add(
            "SELECT run_id, status, rows_deleted, batches, attempts FROM mcp_cleanup.runs WHERE \(key)", as: .closed)
        return script
    }

    /// - Parameter limit: bytes of UTF-8 after which a text is cut, at a character's end.
    private static func text(_ value: String?, limit: Int = .max) -> String {
        guard let value else { return "NULL" }
        // A server's text cannot have one; a message of our own might quote what somebody wrote.
        var text = String(value.unicodeScalars.filter { $0 != "\0" }.map(Character.init))
        if text.utf8.count > limit {
            var end = text.utf8.index(text.startIndex, offsetBy: limit)
            while end.samePosition(in: text) == nil { end = text.utf8.index(before: end) }
            text = text[..<end] + "…"
        }
        return SQL.literal(text)
    }

    private static func interval(_ duration: Duration) -> String {
        "interval '\(duration.wholeMilliseconds) milliseconds'"
    }
}
