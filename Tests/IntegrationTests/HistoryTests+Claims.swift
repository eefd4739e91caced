import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// Claims by many processes, and rows that dead processes have left or that were forged.
extension HistoryTests {
    /// Claims of both jobs close the same rows. An UPDATE that waits for a row while it locks another could deadlock; a
    /// claim that loses a takeover could wait for the dead owner.
    @Test(arguments: [0, 300])
    func simultaneousClaimsAfterADeadOwnerDeadlockNowhere(age: Int) async throws {
        let database = try await Self.database(due: 0)
        let jobs = [Job.transientSessions, .dormantSessions()]
        for round in 0..<3 {
            let fireTime = Self.fireTime - .seconds(86_400 * (10 - round))
            for job in jobs {
                try await Self.insertRun(
                    database, owner: "dead", heartbeat: "now() - interval '2 minutes'",
                    scheduledAt: fireTime - .seconds(age), job: job)
            }
            let reports = await withTaskGroup(of: RunReport.self) { group in
                for number in 0..<40 {
                    group.addTask {
                        await Self.run(
                            database, RunRequest(scheduledAt: fireTime, origin: .schedule), job: jobs[number % 2])
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(reports.compactMap(\.failure) == [])
            #expect(reports.filter { $0.outcome == .succeeded }.count == 2)
            for report in reports {
                guard case .held(let owner, _) = report.skip else { continue }
                #expect(owner != "dead", "waits for an owner that is dead")
            }
        }
        #expect(try await database.count("status = 'running'", in: "mcp_cleanup.runs") == 0)
    }

    @Test func aRunOfOnceHoldsAFireTimeForSecondsOnly() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, scheduledAt: .hostNow, origin: "once")
        guard case .held(by: "another", let wait) = await Self.run(database).skip else {
            Issue.record("the run of --once is under way")
            return
        }
        #expect(wait <= .seconds(4))
    }

    /// A batch of one row may work for longer than a claim waits: for a trigger of the application's, say.
    @Test(arguments: [0, 300])
    func aLongBatchOfALivingOwnerIsLeftAlone(age: Int) async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, scheduledAt: Self.fireTime - .seconds(age))
        let batch = try await OtherTransaction(
            in: database, "UPDATE mcp_cleanup.runs SET rows_deleted = 4, heartbeat_at = clock_timestamp()")
        // A claim waits for a sixth of the lease.
        let report = await Self.run(database, history: History(mode: .required, lease: .seconds(12)))
        #expect(report.failure == nil)
        guard case .held(by: "another", _) = report.skip else {
            Issue.record("\(report)")
            return
        }
        try await batch.commit()
        #expect(try await Self.rows(database) == ["schedule running 1 4 0"])
    }

    @Test(arguments: [
        "LOCK TABLE mcp_cleanup.runs IN SHARE MODE",
        """
        INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
        VALUES ('\(Job.transientSessions.name)', '\(fireTime)', 'schedule', 'another', 1, 'running', now(), now(), now())
        """,
    ])
    func aLockThatIsNoRunsFailsTheClaim(sql: String) async throws {
        let database = try await Self.database()
        let other = try await OtherTransaction(in: database, sql)
        let report = await Self.run(database, history: History(mode: .required, lease: .seconds(3)))
        #expect(report.failure?.sqlState == "55P03")
        try await other.rollBack()
        #expect(await Self.run(database).outcome == .succeeded)
    }

    /// No later run of `--once` has the dead run's fire time, so another claim has to close its row.
    @Test func aDeadOnceIsClosedByTheNextClaimOrLookBackOfAnyJob() async throws {
        let database = try await Self.database()
        let dead = "now() - interval '2 minutes'"
        try await Self.insertRun(
            database, heartbeat: dead, scheduledAt: .hostNow, origin: "once", job: .dormantSessions())
        #expect(await Self.run(database).outcome == .succeeded)
        #expect(try await Self.rows(database) == ["once abandoned 1 3 0", "schedule succeeded 1 5 0"])
        try await Self.insertRun(
            database, heartbeat: dead, scheduledAt: .hostNow, origin: "once", job: .dormantSessions())
        _ = try await database.access().lookBack(
            at: [Job.transientSessions.name], beside: .sessions)
        #expect(try await database.count("status = 'abandoned'", in: "mcp_cleanup.runs") == 2)
    }

    /// A row whose `started_at` is in the future would answer its fire time when that comes.
    @Test func rowsForFireTimesToComeSilenceNothing() async throws {
        let database = try await Self.database()
        let later = Self.fireTime + .seconds(3600)
        try await Self.insertRun(
            database, status: "succeeded", heartbeat: "now() + interval '1 hour'", scheduledAt: later,
            started: "now() + interval '1 hour'")
        try await database.run("UPDATE mcp_cleanup.runs SET finished_at = now() + interval '1 hour'")
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded)
        #expect(report.earlierRuns?.lastSuccess == nil && report.earlierRuns?.lastEnd == nil)
        // An hour later.
        try await database.run(
            """
            UPDATE mcp_cleanup.runs SET scheduled_at = scheduled_at - interval '2 hours', started_at = started_at - interval '2 hours',
                   finished_at = finished_at - interval '2 hours' WHERE run_id = 1
            """)
        let next = await Self.run(database, RunRequest(scheduledAt: later - .seconds(7200), origin: .schedule))
        #expect(next.outcome == .succeeded, "\(next)")
    }

    /// A `next_attempt_at` that is further ahead than any process sets it counts as due.
    @Test func aNextAttemptInTheDistantFutureIsDue() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "failed")
        try await database.run("UPDATE mcp_cleanup.runs SET next_attempt_at = now() + interval '1 year'")
        #expect(await Self.run(database).outcome == .succeeded)
    }

    // MARK: The schema of the sessions table

    private static func once(_ database: SessionsDatabase, _ schema: SessionSchema = .auto) async -> RunReport {
        await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once), schema: schema)
    }

    /// Each run here is a process of its own, as from cron.
    @Test func aSchemaThatChangesIsNoticedByTheNextProcess() async throws {
        let database = try await Self.database(due: 0)
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
            VALUES ('live', 'u', 'x', 'sse', 'x', now() - interval '1 hour', true)
            """)
        #expect(await Self.once(database).outcome == .succeeded)
        try await database.run(
            "ALTER TABLE mcp_sessions ADD status text DEFAULT 'pending'; ALTER TABLE mcp_sessions DROP active")
        for _ in 0..<2 {
            #expect(await Self.once(database).failure == .schemaChanged(.sessions, from: .active, to: .status))
        }
        let preview = try await database.daemon(["--once", "--dry-run"])
        #expect(preview.status == 78 && preview.error.contains("session-schema"), "\(preview)")
        #expect(try await database.sessions() == ["live"])
        try await database.run("UPDATE mcp_sessions SET status = 'active'")
        #expect(await Self.once(database, .status).outcome == .succeeded)
        #expect(await Self.once(database).outcome == .succeeded)
        #expect(try await database.sessions() == ["live"])
        #expect(
            try await database.value("SELECT string_agg(session_schema, ' ' ORDER BY run_id) FROM mcp_cleanup.runs")
                == "active active active status status")
    }

    /// Once the configuration has named the new schema, the process may return to `auto`.
    @Test func aProcessForgetsTheSchemaThatTheConfigurationHasReplaced() async throws {
        let database = try await Self.database(due: 0)
        let history = History(mode: .required)
        func run(_ schema: SessionSchema) async -> Outcome {
            await Self.run(
                database, RunRequest(scheduledAt: .hostNow, origin: .once), schema: schema, history: history
            ).outcome
        }
        #expect(await run(.auto) == .succeeded)
        try await database.run(
            "ALTER TABLE mcp_sessions ADD status text DEFAULT 'pending'; ALTER TABLE mcp_sessions DROP active")
        #expect(await run(.auto) == .failed)
        #expect(await run(.status) == .succeeded)
        #expect(await run(.auto) == .succeeded)
    }
}
