import CleanupSchedule
import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// Claims, accounting and history of runs in `mcp_cleanup.runs`, against a real server.
@Suite(.inTurn) struct HistoryTests {
    /// A database with the sessions table, `due` due rows in it, and the history.
    static func database(due: Int = 5, on server: PostgresServer? = nil) async throws -> SessionsDatabase {
        let server = if let server { server } else { try await PostgresServer.packaged() }
        let database = try await SessionsDatabase(on: server)
        try await database.run(
            """
            \(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"));
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
            SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour', false
              FROM generate_series(1, \(due)) AS n;
            """)
        return database
    }

    static let fireTime = UTCInstant(secondsSinceEpoch: UTCInstant.hostNow.wholeSecondsSinceEpoch / 300 * 300)

    /// A run in this process, for the last fire time unless said otherwise.
    static func run(
        _ database: SessionsDatabase, _ request: RunRequest = RunRequest(scheduledAt: fireTime, origin: .schedule),
        job: Job = .transientSessions, schema: SessionSchema = .auto, history: History = History(mode: .required),
        memory: HistoryMemory = HistoryMemory(), limits: RunLimits = .test
    ) async -> RunReport {
        var series = RunSeries(database.access())
        let report = await series.execute(
            CleanupRun(
                job: job, table: SessionTable(name: .sessions, schema: schema), limits: limits, history: history,
                memory: memory, hostClock: { .hostNow }), request)
        await series.end()
        return report
    }

    /// Inserts a run's row as another process would, for the last fire time unless given.
    static func insertRun(
        _ database: SessionsDatabase, status: String = "running", owner: String = "another",
        heartbeat: String = "now()", scheduledAt: UTCInstant = fireTime, started: String = "now()",
        cutoff: String = "now() - interval '10 minutes'", origin: String = "schedule", job: Job = .transientSessions
    ) async throws {
        try await database.run(
            """
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at,
                finished_at, cutoff, rows_deleted, batches)
            VALUES ('\(job.name)', '\(scheduledAt)', '\(origin)', '\(owner)', 1, '\(status)', \(started), \(heartbeat),
                \(status == "running" ? "NULL" : "now()"), \(cutoff), 3, 1)
            """)
    }

    static func rows(_ database: SessionsDatabase) async throws -> [String] {
        try await database.run(
            """
            SELECT concat_ws(' ', origin, status, attempts, rows_deleted, rows_skipped, error_sqlstate) AS row
              FROM mcp_cleanup.runs ORDER BY run_id
            """
        ).rows.map { try $0.text("row") }
    }

    @Test func aRunIsRecordedWithWhatItDid() async throws {
        let database = try await Self.database()
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded)
        #expect(report.runID == 1)
        #expect(try await Self.rows(database) == ["schedule succeeded 1 5 0"])
        let cutoff = try await database.value(
            "SELECT to_json(cutoff AT TIME ZONE 'UTC') #>> '{}' FROM mcp_cleanup.runs")
        #expect(UTCInstant(rfc3339: (cutoff ?? "") + "Z") == report.cutoff)
        #expect(try await database.value("SELECT claimed_by FROM mcp_cleanup.runs") == report.claimToken)
        let overdue = try #require(report.oldestOverdue)
        #expect(overdue >= .seconds(3599) && overdue < .seconds(3700))
    }

    @Test func aFireTimeIsAnsweredOnce() async throws {
        let database = try await Self.database()
        _ = await Self.run(database)
        let second = await Self.run(database)
        #expect(second.outcome == .skipped)
        #expect(second.skip == .answered)
        let success = try #require(second.earlierRuns?.lastSuccess)
        #expect(success.age >= .zero && success.age < .seconds(60))
        #expect(second.earlierRuns?.lastEnd == success.at)
        #expect(try await Self.rows(database).count == 1)
    }

    @Test func aLivingOwnerIsLeftAlone() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database)
        let report = await Self.run(database)
        guard case .held(by: "another", let wait) = report.skip else {
            Issue.record("\(report)")
            return
        }
        #expect(wait > .seconds(50) && wait <= .seconds(60))
        #expect(try await database.count() == 5)
    }

    @Test func aLivingOwnerOfAnotherFireTimeIsLeftAlone() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, scheduledAt: Self.fireTime - .seconds(300))
        let report = await Self.run(database)
        guard case .held = report.skip else {
            Issue.record("\(report)")
            return
        }
        #expect(try await Self.rows(database).count == 1)
    }

    @Test func aDeadOwnersRunIsTakenOverWithItsCutoffAndItsCounts() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, heartbeat: "now() - interval '61 seconds'")
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded)
        #expect(report.attempts == 2)
        #expect(report.progress.rowsDeleted == 8)
        #expect(try await Self.rows(database) == ["schedule succeeded 2 8 0"])
        #expect(
            try await database.value("SELECT started_at - cutoff = interval '10 minutes' FROM mcp_cleanup.runs")
                == "true")
    }

    @Test func aDeadOwnersEarlierRunIsClosedAsAbandoned() async throws {
        let database = try await Self.database()
        try await Self.insertRun(
            database, heartbeat: "now() - interval '2 minutes'", scheduledAt: Self.fireTime - .seconds(300))
        try await Self.insertRun(
            database, heartbeat: "now() - interval '2 minutes'", scheduledAt: Self.fireTime - .seconds(86_400),
            job: .dormantSessions())
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded)
        #expect(
            try await Self.rows(database) == [
                "schedule abandoned 1 3 0", "schedule abandoned 1 3 0", "schedule succeeded 1 5 0",
            ])
    }

    @Test func anAttemptThatFailedIsRepeatedByItsOwnerOnly() async throws {
        let database = try await Self.database()
        let holder = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN SHARE MODE")
        var job = Job.transientSessions
        job.deadline = .seconds(30)
        let failed = await Self.run(database, job: job)
        #expect(failed.failure?.sqlState == "55P03", "\(failed)")
        #expect(try await Self.rows(database) == ["schedule failed 1 0 0 55P03"])
        try await holder.rollBack()
        let stranger = await Self.run(database)
        #expect(stranger.skip == .answered)
        let repeated = await Self.run(
            database, RunRequest(scheduledAt: Self.fireTime, origin: .schedule, previousTokens: failed.claimTokens))
        #expect(repeated.outcome == .succeeded)
        #expect(repeated.attempts == 2)
        #expect(try await Self.rows(database) == ["schedule succeeded 2 5 0"])
    }

    /// The answer to our claim was lost: the next attempt takes the run over and waits for no lease.
    @Test func aRunThatOurEarlierAttemptHasIsGoneOnWithAtOnce() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, owner: "ours")
        let report = await Self.run(
            database, RunRequest(scheduledAt: Self.fireTime, origin: .schedule, previousTokens: ["other", "ours"]))
        #expect(report.outcome == .succeeded)
        #expect(report.progress.rowsDeleted == 8)
        #expect(try await Self.rows(database) == ["schedule succeeded 2 8 0"])
    }

    /// The answer to the UPDATE that closed the run was lost: the next attempt finds the row closed.
    @Test func aRunThatOurEarlierAttemptEndedIsReportedAndNotRepeated() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "succeeded", owner: "ours")
        let report = await Self.run(
            database, RunRequest(scheduledAt: Self.fireTime, origin: .schedule, previousTokens: ["ours"]))
        #expect(report.outcome == .succeeded)
        #expect(report.runID == 1)
        #expect(report.progress.rowsDeleted == 3)
        #expect(report.progress.batches == 1)
        #expect(try await database.count() == 5)
        #expect(try await Self.rows(database) == ["schedule succeeded 1 3 0"])
    }

    @Test func anAnswerGivenAheadOfItsTimeIsNone() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "succeeded", started: "now() - interval '2 hours'")
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded)
        #expect(try await Self.rows(database) == ["schedule succeeded 2 8 0"])
        #expect(
            try await database.value("SELECT started_at > now() - interval '1 minute' FROM mcp_cleanup.runs") == "true")
        #expect(await Self.run(database).skip == .answered)
    }

    /// The clock was ahead when the run was claimed, and has been corrected: the cutoff of that time no longer counts.
    @Test(arguments: ["running", "failed", "canceled"])
    func aRunThatIsGoneOnWithKeepsNoCutoffOfTheFuture(status: String) async throws {
        let database = try await Self.database()
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('live', 'u', 'x', 'sse', 'x', now() + interval '30 minutes')
            """)
        try await Self.insertRun(database, status: status, owner: "ours", cutoff: "now() + interval '1 hour'")
        let report = await Self.run(
            database, RunRequest(scheduledAt: Self.fireTime, origin: .schedule, previousTokens: ["ours"]))
        #expect(report.outcome == .succeeded)
        #expect(report.attempts == 2)
        #expect(try await database.sessions() == ["live"])
        #expect(try await database.value("SELECT cutoff <= finished_at FROM mcp_cleanup.runs") == "true")
    }

    // MARK: Heartbeats

    /// A client renews the sessions that the search has found: the later batches delete nothing, and update no counts.
    @Test func anOwnerWhoseBatchesFindNothingIsAlive() async throws {
        let database = try await Self.database(due: 60)
        try await database.run(
            """
            CREATE TABLE beat (rows_deleted BIGINT);
            CREATE FUNCTION beat() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.beat VALUES (NEW.rows_deleted); RETURN NULL; END $$;
            CREATE TRIGGER beat AFTER UPDATE OF heartbeat_at ON mcp_cleanup.runs FOR EACH ROW
                WHEN (NEW.status = 'running') EXECUTE FUNCTION beat();
            """)
        let limits = RunLimits(maxClockSkew: .seconds(300), batchRows: 1, batchPause: .milliseconds(100))
        async let ended = Self.run(
            database, history: History(mode: .required, lease: .seconds(3)), limits: limits)
        try await eventually("the first batch") { try await database.count() < 60 }
        try await database.run("UPDATE mcp_sessions SET expires_at = now() + interval '1 hour'")
        let report = await ended
        #expect(report.outcome == .succeeded, "\(report)")
        // One heartbeat each half second, for about six seconds.
        let beats = try await database.count("rows_deleted = \(report.progress.rowsDeleted)", in: "beat")
        #expect(beats >= 3, "\(report)")
    }

    // MARK: The end of a run

    @Test func aRunThatWasTakenAwayDeletesNothingMore() async throws {
        let database = try await Self.database(due: 50)
        try await database.run(
            """
            CREATE FUNCTION steal() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN UPDATE mcp_cleanup.runs SET claimed_by = 'thief' WHERE status = 'running'; RETURN NULL; END $$;
            CREATE TRIGGER steal AFTER DELETE ON mcp_sessions FOR EACH STATEMENT EXECUTE FUNCTION steal();
            """)
        let report = await Self.run(database, limits: RunLimits(maxClockSkew: .seconds(300), batchRows: 10))
        #expect(report.outcome == .abandoned)
        #expect(report.failure == .claimLost)
        #expect(try await database.count() == 49)
        #expect(try await Self.rows(database) == ["schedule running 1 1 0"])
    }

    /// The heartbeat lies an hour ahead: it was written by a fast clock.
    @Test func anOwnerWhoseHeartbeatIsFarAheadIsDead() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, heartbeat: "now() + interval '1 hour'")
        try await Self.insertRun(
            database, heartbeat: "now() + interval '1 hour'", scheduledAt: Self.fireTime - .seconds(86_400),
            job: .dormantSessions())
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded, "\(report)")
        #expect(try await Self.rows(database) == ["schedule succeeded 2 8 0", "schedule abandoned 1 3 0"])
    }

    @Test func oldRunsGoButTheLatestAndTheLastSuccessStay() async throws {
        let database = try await Self.database()
        for (days, status) in [(70, "succeeded"), (60, "failed"), (50, "succeeded"), (45, "failed"), (40, "failed")] {
            try await Self.insertRun(
                database, status: status, scheduledAt: Self.fireTime - .seconds(days * 86_400),
                started: "now() - interval '\(days) days'")
        }
        try await Self.insertRun(
            database, status: "failed", scheduledAt: Self.fireTime - .seconds(50 * 86_400),
            started: "now() - interval '50 days'", job: .dormantSessions())
        var job = Job.transientSessions
        job.maxFraction = 0.5
        let failed = await Self.run(database, job: job)
        #expect(failed.outcome == .failed)
        // Of the old runs only the last success stays; the other job's only run is left alone.
        #expect(try await database.count("job = '\(job.name)'", in: "mcp_cleanup.runs") == 2)
        #expect(await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once)).outcome == .succeeded)
        #expect(try await database.count("job = '\(job.name)'", in: "mcp_cleanup.runs") == 2)
        #expect(try await database.count(in: "mcp_cleanup.runs") == 3)
    }

    /// A fire time is by the host's clock, and not by the database's.
    @Test func aClockThatIsAheadMakesNoRunOld() async throws {
        let database = try await Self.database()
        let fireTime = Self.fireTime - .seconds(400 * 86_400)
        try await Self.insertRun(database, status: "failed", scheduledAt: fireTime - .seconds(86_400))
        #expect(await Self.run(database, RunRequest(scheduledAt: fireTime, origin: .schedule)).outcome == .succeeded)
        #expect(try await Self.rows(database).count == 2)
    }

    @Test func moreThanTheShareDeletesNothing() async throws {
        let database = try await Self.database(due: 6)
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n, 'u', 'x', 'sse', 'x', now() + interval '1 hour' FROM generate_series(1, 4) AS n
            """)
        var job = Job.transientSessions
        job.maxFraction = 0.59
        let refused = await Self.run(database, job: job)
        #expect(refused.failure == .tooManyDue(.sessions, due: 6, total: 10, limit: 0.59))
        #expect(try await database.count() == 10)
        job.maxFraction = 0.6
        #expect(
            await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once), job: job).outcome == .succeeded)
        #expect(try await database.count() == 4)
    }

    @Test func aRunEndsAtItsMostRows() async throws {
        let database = try await Self.database(due: 25)
        var job = Job.transientSessions
        job.maxRows = 12
        let limits = RunLimits(maxClockSkew: .seconds(300), batchRows: 5)
        for (expected, left) in [(Outcome.capped, 13), (.capped, 1), (.succeeded, 0)] {
            let request = RunRequest(scheduledAt: .hostNow, origin: .once)
            #expect(await Self.run(database, request, job: job, limits: limits).outcome == expected)
            #expect(try await database.count() == left)
        }
        #expect(
            try await Self.rows(database) == [
                "once capped 1 12 0", "once capped 1 12 0", "once succeeded 1 1 0",
            ])
    }

    // MARK: A history that cannot be used

    @Test func aTableThatVanishesFailsTheRun() async throws {
        let database = try await Self.database()
        let (history, memory) = (History(), HistoryMemory())
        #expect(await Self.run(database, history: history, memory: memory).outcome == .succeeded)
        try await database.run("DROP TABLE mcp_cleanup.runs")
        #expect(
            await Self.run(database, history: history, memory: memory).failure == .historyMissing(hasVanished: true))
        #expect(await Self.run(database).failure == .historyMissing(hasVanished: false))
        #expect(await Self.run(database, history: History()).outcome == .succeeded)
    }

    @Test(arguments: [
        ("ALTER TABLE mcp_cleanup.runs DROP COLUMN batches", "no column batches"),
        ("ALTER TABLE mcp_cleanup.runs ALTER rows_deleted TYPE INTEGER", "rows_deleted of mcp_cleanup.runs is integer"),
        ("DROP INDEX mcp_cleanup.runs_job_running_key", "no unique index on (job) WHERE"),
        ("DROP INDEX mcp_cleanup.runs_job_scheduled_at_key", "no unique index on (job, scheduled_at)"),
        ("REVOKE UPDATE ON mcp_cleanup.runs FROM ROLE", "no UPDATE privilege"),
        ("REVOKE USAGE ON SCHEMA mcp_cleanup FROM ROLE", "no USAGE privilege on the schema"),
        ("ALTER TABLE mcp_cleanup.runs ENABLE ROW LEVEL SECURITY", "row security on mcp_cleanup.runs"),
    ])
    func aHistoryThatCannotBeTrustedFailsTheRun(change: String, message: String) async throws {
        let database = try await Self.database()
        let role = try await database.makeServiceRole()
        try await database.run(
            """
            GRANT USAGE ON SCHEMA mcp_cleanup TO \(role);
            GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO \(role);
            """)
        let url = database.server.url(database.name, user: role)
        let fine = try await database.daemon(["--once", "--json"], url: url)
        #expect(fine.status == 0, "\(fine)")
        #expect(fine.output.contains(#""run_id":1,"#), "\(fine)")
        try await database.run(change.replacingOccurrences(of: "ROLE", with: role))
        let result = try await database.daemon(["--once", "--job", "transient", "--json"], url: url)
        #expect(result.status == (message.contains("privilege") || message.contains("security") ? 77 : 78), "\(result)")
        #expect(result.error.contains(message), "\(result)")
    }
}
