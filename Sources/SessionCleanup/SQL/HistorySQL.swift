import Postgres
import Time

/// The statements about `mcp_cleanup.runs`. Scripts of the simple protocol, so that several of them take one round trip:
/// all values in them are ours, as literals.
enum HistorySQL {
    /// The most closed runs that one run removes: a day's worth of runs every few minutes, removed in milliseconds.
    private static let pruneLimit = 500

    /// Where runs find nothing, rows stay for a 30th of the retention longer: removing them would double such a run's cost.
    private static let pruneShare = 30

    /// The most bytes of an error message, `...` aside: a server's may quote a whole row, or a function's whole text.
    private static let messageLimit = 4096

    /// The longest wait for a next attempt. A later `next_attempt_at` is no wait of ours, and counts as due.
    private static let longestRetry = Duration.seconds(3600)

    /// The condition that a fire time has come, for what is only reported: the host's clock, which names fire times,
    /// may be a minute ahead of the database's.
    static let hasCome = "scheduled_at <= now() + interval '1 minute'"

    /// Returns the script that claims the run unless another process has it, and reads what stands in the way.
    ///
    /// The INSERT comes first: it alone may wait for another transaction, and then holds no lock that one could wait
    /// for. All later locks are taken without waiting, so two claims cannot deadlock. Where a dead owner's running row
    /// for another fire time prevented the INSERT, it is closed, and no candidate is left: the claim is repeated.
    /// - Parameters:
    ///   - inserts: false to leave out the INSERT, which waits for a batch that is accounting in the row of a run.
    ///   - schema: the schema of the sessions table; `nil` for a job of the operator's own, or where it is in doubt.
    ///   - cutoff: the clock that the survey read, which was compared with the host's.
    ///   - tolerance: how far before its fire time, by the database's clock, a run may have begun: fire times are named
    ///     by the host's clock, and by a database that is behind it each run begins early.
    static func claim(
        _ request: RunRequest, of job: String, schema: TrustedSchema?, token: String, history: History,
        cutoff: UTCInstant, tolerance: Duration, inserts: Bool
    ) -> Script {
        let (job, fireTime) = (SQL.literal(job), SearchSQL.literal(request.scheduledAt))
        var script = Script()
        if inserts {
            script.add(
                """
                INSERT INTO mcp_cleanup.runs
                       (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff,
                        session_schema)
                SELECT \(job), \(fireTime), \(SQL.literal(request.origin.rawValue)), \(SQL.literal(token)), 1, 'running',
                       now(), clock_timestamp(), \(SearchSQL.literal(cutoff)), \(trusted(schema))
                    ON CONFLICT DO NOTHING
                """)
        }
        script.add(abandon(after: history.lease, except: "job = \(job) AND scheduled_at = \(fireTime)"))
        // No run has begun later than now. A future fire time's row that says so would answer it when it comes.
        script.add(
            """
            UPDATE mcp_cleanup.runs SET started_at = clock_timestamp()
             WHERE run_id IN (SELECT run_id FROM mcp_cleanup.runs
                               WHERE job = \(job) AND scheduled_at > now() + \(tolerance.interval) AND status <> 'running'
                                 AND started_at > clock_timestamp()
                               ORDER BY scheduled_at LIMIT \(pruneLimit) FOR UPDATE SKIP LOCKED)
            """)
        script.add(
            """
            SELECT \(RecordedRun.columns), r.scheduled_at = \(fireTime) AS is_same_fire_time
                 , CASE WHEN \(isSilent(for: history.lease)) THEN 0
                        ELSE \(milliseconds("heartbeat_at + \(history.lease.interval) - clock_timestamp()")) END
                   AS lease_left_ms
                 , \(retryWait("r")) AS retry_wait_ms
                 , r.started_at < r.scheduled_at - \(tolerance.interval)
                   AND r.scheduled_at <= now() + \(tolerance.interval) AS is_ahead
              FROM mcp_cleanup.runs AS r
             WHERE r.job = \(job) AND (r.scheduled_at = \(fireTime) OR r.status = 'running')
            """, as: .candidates)
        script.add(
            """
            SELECT \(SearchSQL.seconds("s.finished_at")) AS last_success_at
                 , \(milliseconds("clock_timestamp() - s.finished_at")) AS last_success_age_ms
                 , \(SearchSQL.seconds(lastEnd(of: job))) AS last_end_at
              FROM (SELECT) AS one LEFT JOIN \(lastEnd(of: job, where: isSuccess)) AS s ON true
            """, as: .earlierRuns)
        return script
    }

    /// Returns the statement that records a run which has found nothing, as the part of a statement whose `found` has
    /// the due rows. It returns the row's `run_id`.
    ///
    /// It writes nothing where the history needs more than this row: another run is under way, or its owner is dead; a
    /// row for this fire time is there; a row's fire time is in the future; rows are past their retention; or the
    /// sessions table has another schema than before. Then the run is claimed as any other.
    /// - Parameters: as for `claim`.
    static func record(
        _ request: RunRequest, of job: String, schema: TrustedSchema?, token: String, history: History,
        cutoff: UTCInstant, tolerance: Duration
    ) -> String {
        let (literal, equals, now) = (SearchSQL.literal, "OPERATOR(pg_catalog.=)", "pg_catalog.now()")
        let job = SQL.literal(job)
        let oldest = min(cutoff, request.scheduledAt) - history.retention - history.retention / pruneShare
        let times = "mcp_cleanup.runs WHERE job \(equals) \(job) AND scheduled_at"
        let conditions = [
            "found", "mcp_cleanup.runs WHERE status \(equals) 'running'",
            "\(times) OPERATOR(pg_catalog.<) \(literal(oldest))",
            "\(times) OPERATOR(pg_catalog.>) \(literal(cutoff + tolerance))",
        ]
        var statement = """
            INSERT INTO mcp_cleanup.runs
                   (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, finished_at, cutoff,
                    session_schema)
            SELECT \(job), \(literal(request.scheduledAt)), \(SQL.literal(request.origin.rawValue)),
                   \(SQL.literal(token)), 1, 'succeeded', \(now), \(now), pg_catalog.clock_timestamp(), \(literal(cutoff)),
                   \(schema.map { SQL.literal($0.found.rawValue) } ?? "NULL")
             WHERE \(conditions.map { "NOT EXISTS (SELECT FROM \($0))" }.joined(separator: "\n   AND "))
            """
        if let schema, !schema.isConfigured {
            statement += "\n   AND (\(trustedSchema)) \(equals) \(SQL.literal(schema.found.rawValue))"
        }
        return statement + "\nON CONFLICT (job, scheduled_at) DO NOTHING RETURNING run_id"
    }

    /// The shape of the sessions table as the survey found it: an `active` or a `status` column.
    struct TrustedSchema: Hashable, Sendable {
        let found: SchemaGeneration
        /// True if the configuration names it; else the one of the last run in the history counts.
        let isConfigured: Bool
    }

    /// Returns the `session_schema` for a run's row: that of the last run with one, unless the configuration names it.
    private static func trusted(_ schema: TrustedSchema?) -> String {
        guard let schema else { return "NULL" }
        let found = SQL.literal(schema.found.rawValue)
        return schema.isConfigured ? found : "coalesce((\(trustedSchema)), \(found))"
    }

    /// The schema of the last run that has one, by the order of the claims. Reads the primary key from its end, and at most
    /// ten thousand rows: where few rows have a schema, the planner would read and sort all others.
    static let trustedSchema = """
        SELECT session_schema FROM (SELECT session_schema, run_id FROM mcp_cleanup.runs
                                     ORDER BY run_id DESC LIMIT 10000) AS latest
         WHERE session_schema IS NOT NULL ORDER BY run_id DESC LIMIT 1
        """

    /// Returns the statement that closes the runs of dead owners, of any job, but for rows that meet the exception or are locked.
    static func abandon(after lease: Duration, except exception: String? = nil) -> String {
        """
        UPDATE mcp_cleanup.runs SET status = 'abandoned', finished_at = clock_timestamp()
         WHERE run_id IN (SELECT run_id FROM mcp_cleanup.runs
                           WHERE status = 'running' AND \(isSilent(for: lease))
                             \(exception.map { "AND NOT (\($0))" } ?? "")
                             FOR UPDATE SKIP LOCKED)
        """
    }

    /// Returns the wait until a row's next attempt, in milliseconds, zero if it is due; NULL if none is to follow.
    static func retryWait(_ row: String) -> String {
        """
        CASE WHEN \(row).next_attempt_at BETWEEN clock_timestamp() AND clock_timestamp() + \(longestRetry.interval)
             THEN \(milliseconds("\(row).next_attempt_at - clock_timestamp()"))
             WHEN \(row).next_attempt_at IS NOT NULL THEN 0 END
        """
    }

    /// Returns an interval in whole milliseconds.
    static func milliseconds(_ interval: String) -> String { "(extract(epoch FROM \(interval)) * 1000)::bigint" }

    /// Returns SQL for a time between the years 1 and 9999: an infinite one becomes the first or the last of these.
    static func finite(_ column: String) -> String {
        """
        CASE WHEN \(column) IS NOT NULL THEN least(greatest(\(column), timestamptz '0001-01-01 00:00:00+00'),
                  timestamptz '9999-12-31 00:00:00+00') END
        """
    }

    /// Returns the condition that `heartbeat_at` is older than the lease, or further in the future than the lease (written
    /// by a fast clock). If the run's owner is alive nevertheless, the fence stops it.
    static func isSilent(for lease: Duration) -> String {
        let lease = lease.interval
        return "heartbeat_at NOT BETWEEN clock_timestamp() - \(lease) AND clock_timestamp() + \(lease)"
    }

    /// The condition that a run did all that it was allowed to; word for word that of the index runs_job_success_idx.
    static let isSuccess = "status IN ('succeeded', 'capped')"

    /// Returns the subquery for the end of a job's last run that meets the condition; `job` is SQL for the job's name.
    static func lastEnd(of job: String, where condition: String = "status <> 'running'") -> String {
        """
        (SELECT finished_at FROM mcp_cleanup.runs
          WHERE job = \(job) AND \(condition) AND \(hasCome) AND \(hasEnded)
          ORDER BY scheduled_at DESC LIMIT 1)
        """
    }

    /// The condition that the end of a run is possible: finite, and at most a minute in the future.
    static let hasEnded = "isfinite(finished_at) AND finished_at <= now() + interval '1 minute'"

    /// Returns the script that takes over a row that was seen, unless it has changed since, or another run of the job is
    /// under way. One row if it did.
    ///
    /// - Parameters:
    ///   - isOurs: true if an earlier attempt of this process owned it: then no lease has to end.
    ///   - keepsCutoff: true if the row's cutoff stays, unless it is later than the new one: then a clock that was
    ///     ahead set it, and sessions that are not due yet would be deleted.
    static func reopen(
        _ seen: RecordedRun, schema: TrustedSchema?, token: String, isOurs: Bool, keepsCutoff: Bool,
        cutoff: UTCInstant, history: History
    ) -> Script {
        let cutoff = SearchSQL.literal(cutoff)
        let isDead = seen.outcome == nil && !isOurs ? "AND \(isSilent(for: history.lease))" : ""
        return Script(
            """
            UPDATE mcp_cleanup.runs AS r
               SET claimed_by = \(SQL.literal(token)), attempts = attempts + 1, status = 'running'
                 , heartbeat_at = clock_timestamp(), finished_at = NULL, next_attempt_at = NULL, error_sqlstate = NULL
                 , error_message = NULL, session_schema = \(trusted(schema))
                 , \(keepsCutoff ? "cutoff = least(r.cutoff, \(cutoff))" : "started_at = now(), cutoff = \(cutoff)")
             WHERE r.run_id = \(seen.runID) AND r.claimed_by = \(SQL.literal(seen.claimedBy))
               AND r.status = \(SQL.literal(seen.status)) \(isDead)
               AND NOT EXISTS (SELECT FROM mcp_cleanup.runs AS o
                                WHERE o.job = r.job AND o.status = 'running' AND o.run_id <> r.run_id)
            RETURNING \(RecordedRun.columns)
            """, as: .reopened)
    }

    /// Returns the part of a batch's statement that locks the run's row (FOR NO KEY UPDATE) if the run is still ours
    /// and no other transaction has it locked: one row then, by the primary key. A process that takes the run over
    /// waits for this lock.
    static func hold(_ claim: RunClaim) -> String {
        "SELECT run_id FROM mcp_cleanup.runs WHERE \(ours(claim)) FOR NO KEY UPDATE SKIP LOCKED"
    }

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
        "UPDATE mcp_cleanup.runs SET heartbeat_at = clock_timestamp() WHERE \(ours(claim)) RETURNING run_id"
    }

    /// Returns the script that closes the run, removes rows that are past their retention, and returns the run's row,
    /// if it is there and `claimed_by` is the token.
    ///
    /// It finds the row by the fire time and the token, which are known even when the answer to the claim was lost.
    /// - Parameter isCorrection: true if the row is closed already, by this attempt.
    static func finish(
        _ scheduledAt: UTCInstant, of job: String, token: String, outcome: Outcome, progress: RunProgress,
        failure: RunFailure?, nextAttemptIn wait: Duration?, history: History, isCorrection: Bool = false
    ) -> Script {
        let fireTime = SearchSQL.literal(scheduledAt)
        let key = "job = \(SQL.literal(job)) AND scheduled_at = \(fireTime) AND claimed_by = \(SQL.literal(token))"
        var script = Script()
        if isCorrection {
            // The wait for a standby that does not answer would be the same again.
            script.add("SET LOCAL synchronous_commit = local")
        } else if progress.rowsDeleted > 0 {
            // What is reported as deleted survives a crash of the server.
            script.add(
                """
                SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
                """)
        }
        script.add(
            """
            UPDATE mcp_cleanup.runs
               SET status = '\(outcome.rawValue)', heartbeat_at = clock_timestamp(), finished_at = clock_timestamp()
                 , rows_skipped = \(progress.rowsSkipped), rows_refused = \(progress.rowsRefused)
                 , next_attempt_at = \(wait.map { "clock_timestamp() + \($0.interval)" } ?? "NULL")
                 , error_sqlstate = \(text(failure?.sqlState?.rawValue))
                 , error_message = \(text(failure?.description, limit: messageLimit))
             WHERE \(key) AND status \(isCorrection ? "<>" : "=") 'running'
            """)
        script.add(prune(before: fireTime, history.retention))
        script.add("SELECT \(RecordedRun.columns) FROM mcp_cleanup.runs AS r WHERE \(key)", as: .closed)
        return script
    }

    /// Returns the statement that removes rows of any job, configured or not, that are past their retention: by the
    /// index on (job, scheduled_at), job by job. Each job keeps its latest row, its latest one not of `--once` and its
    /// latest success. Past by the host's clock too: a database's clock that is ahead must not empty this table.
    private static func prune(before fireTime: String, _ retention: Duration) -> String {
        let latest = "FROM mcp_cleanup.runs WHERE job = j.job"
        return """
            WITH RECURSIVE jobs AS (
                (SELECT job FROM mcp_cleanup.runs ORDER BY job LIMIT 1)
                UNION ALL
                SELECT (SELECT job FROM mcp_cleanup.runs WHERE job > jobs.job ORDER BY job LIMIT 1) FROM jobs
                 WHERE jobs.job IS NOT NULL
            )
            DELETE FROM mcp_cleanup.runs
             WHERE run_id IN (
                   SELECT old.run_id FROM jobs AS j CROSS JOIN LATERAL (
                          SELECT r.run_id FROM mcp_cleanup.runs AS r
                           WHERE r.job = j.job AND r.scheduled_at < least(now(), \(fireTime)) - \(retention.interval)
                             AND r.status <> 'running'
                             AND r.run_id <> (SELECT run_id \(latest) ORDER BY scheduled_at DESC LIMIT 1)
                             AND r.run_id IS DISTINCT FROM (SELECT run_id \(latest) AND origin <> 'once'
                                                             ORDER BY scheduled_at DESC LIMIT 1)
                             AND r.run_id IS DISTINCT FROM (SELECT run_id \(latest) AND \(isSuccess)
                                                             ORDER BY scheduled_at DESC LIMIT 1)
                           ORDER BY r.scheduled_at LIMIT \(pruneLimit) FOR UPDATE OF r SKIP LOCKED) AS old
                    LIMIT \(pruneLimit))
            """
    }

    /// Returns a literal of at most `limit` bytes for every server encoding: what is not ASCII is written as `\u{…}`.
    private static func text(_ value: String?, limit: Int = .max) -> String {
        guard let value else { return "NULL" }
        var text = ""
        // `visible` makes it one line without control characters, which could steer a terminal that shows the table.
        for scalar in value.visible.unicodeScalars {
            let form = scalar.isASCII ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
            guard text.utf8.count + form.utf8.count <= limit else { return SQL.literal(text + "...") }
            text += form
        }
        return SQL.literal(text)
    }
}
