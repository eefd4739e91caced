import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// The table itself: the rows that it refuses, those that it may hold all the same, and for how long.
extension HistoryTests {
    private static let migration = "20260513030000_install_mcp_cleanup_runs"

    private static let constraints = """
        ALTER TABLE mcp_cleanup.runs DROP CONSTRAINT runs_times_check;
        ALTER TABLE mcp_cleanup.runs DROP CONSTRAINT runs_counts_check;
        """

    @Test(arguments: [
        "scheduled_at = 'infinity'", "scheduled_at = '-infinity'", "scheduled_at = '1969-12-31'",
        "started_at = 'infinity'",
        "heartbeat_at = '-infinity'", "finished_at = 'infinity'", "cutoff = 'infinity'", "next_attempt_at = 'infinity'",
        "rows_deleted = -1", "rows_skipped = -1", "rows_refused = -1", "batches = -1", "attempts = 0",
        "session_schema = 'other'",
    ])
    func valuesThatNoRunHasAreRefused(change: String) async throws {
        let database = try await Self.database()
        try await Self.insertRun(database)
        await #expect(throws: PostgresError.self) { try await database.run("UPDATE mcp_cleanup.runs SET \(change)") }
    }

    /// The table as the first release made it, with a row that today's constraints refuse.
    @Test func anEarlierTableIsBroughtUpToDate() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "succeeded")
        try await database.run(
            """
            \(Self.constraints)
            ALTER TABLE mcp_cleanup.runs DROP COLUMN session_schema, DROP COLUMN next_attempt_at;
            UPDATE mcp_cleanup.runs SET cutoff = 'infinity', finished_at = '-infinity', rows_skipped = -5;
            """)
        let check = try await database.daemon(["check"])
        #expect(check.status == 78 && check.error.contains("migrate") || check.output.contains("migrate"), "\(check)")
        for _ in 0..<2 {
            let result = try await database.daemon(["migrate"])
            #expect(result.status == 0, "\(result)")
        }
        try await database.run(SessionsDatabase.migration(Self.migration))
        #expect(
            try await database.value(
                "SELECT concat_ws(' ', isfinite(cutoff), finished_at, rows_skipped) FROM mcp_cleanup.runs") == "t 0")
        #expect(await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once)).outcome == .succeeded)
    }

    @Test(arguments: ["running", "succeeded", "failed"])
    func infiniteTimesStopNothing(status: String) async throws {
        let database = try await Self.database()
        try await Self.insertRun(
            database, status: status, owner: "forger", scheduledAt: Self.fireTime - .seconds(300))
        try await Self.insertRun(database, status: status, owner: "forger", job: .dormantSessions())
        for sign in ["", "-"] {
            try await database.run(
                """
                \(sign.isEmpty ? Self.constraints : "");
                UPDATE mcp_cleanup.runs
                   SET started_at = '\(sign)infinity', heartbeat_at = '\(sign)infinity', cutoff = '\(sign)infinity',
                       finished_at = '\(sign)infinity', next_attempt_at = '\(sign)infinity' WHERE claimed_by = 'forger';
                UPDATE mcp_cleanup.runs SET scheduled_at = '\(sign)infinity'
                 WHERE claimed_by = 'forger' AND job = '\(Job.transientSessions.name)';
                """)
            for command in ["history", "status", "check"] {
                let result = try await database.daemon([command])
                #expect(result.status == 0, "\(command): \(result)")
            }
            _ = try await database.access().lookBack(
                at: [Job.transientSessions.name, Job.dormantSessions().name], beside: .sessions)
            let fireTime = sign.isEmpty ? Self.fireTime : Self.fireTime + .seconds(1)
            let run = await Self.run(database, RunRequest(scheduledAt: fireTime, origin: .schedule))
            #expect(run.outcome == .succeeded, "\(run)")
        }
    }

    /// A role that may write the history may count more rows than any table has.
    @Test func countsThatNoTableHasStopNothing() async throws {
        let database = try await Self.database()
        for hour in 1...3 {
            try await Self.insertRun(
                database, status: "succeeded", owner: "forger", scheduledAt: Self.fireTime - .seconds(3600 * hour))
        }
        try await database.run(
            """
            UPDATE mcp_cleanup.runs
               SET rows_deleted = 9223372036854775807, rows_skipped = 9223372036854775807, rows_refused = 9223372036854775807,
                   heartbeat_at = now(), finished_at = now();
            ALTER TABLE mcp_cleanup.runs ALTER run_id RESTART WITH 9000000000000000000;
            """)
        for command in ["history", "status", "check"] {
            let result = try await database.daemon([command])
            #expect(result.status == 0, "\(command): \(result)")
        }
        #expect(try await database.daemon(["history"]).output.contains("1,000,000,000,000,000"))
        let (job, most) = (Job.transientSessions.name, QueryResult.Row.mostOfInteger)
        let recent = try await database.access().lookBack(at: [job], beside: .sessions)[job]?.recentRuns
        #expect(recent?.runs.map(\.rowsDeleted) == [most, most, most] && recent?.deletions == [0: most])
        let run = await Self.run(database)
        #expect(run.outcome == .succeeded, "\(run)")
    }

    // MARK: Encodings

    @Test(arguments: ["LATIN1", "SQL_ASCII", "EUC_JP"])
    func aRunIsClosedInADatabaseOfAnyEncoding(encoding: String) async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        try await database.server.query("DROP DATABASE \(database.name)")
        try await database.server.query(
            "CREATE DATABASE \(database.name) TEMPLATE template0 ENCODING '\(encoding)' LOCALE 'C'")
        try await database.run(
            """
            \(SessionsDatabase.migration("20260513010000_install_mcp_sessions"));
            \(SessionsDatabase.migration(Self.migration));
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
            VALUES ('due', 'u', 'x', 'sse', 'x', now() - interval '1 hour', false);
            CREATE FUNCTION no() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat('x', 6000); END $$;
            CREATE TRIGGER no BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION no();
            """)
        #expect(await Self.run(database).failure?.sqlState == "P0001")
        #expect(
            try await database.value("SELECT status || ' ' || sign(length(error_message)) FROM mcp_cleanup.runs")
                == "failed 1")
        #expect(try await database.daemon(["history"]).status == 0)
    }

    // MARK: Retention

    @Test func runsOfJobsThatAreConfiguredNoLongerGoToo() async throws {
        let database = try await Self.database()
        let day = 86_400
        for (days, status) in [(60, "succeeded"), (50, "failed"), (45, "canceled"), (40, "failed")] {
            try await Self.insertRun(
                database, status: status, scheduledAt: Self.fireTime - .seconds(days * day),
                job: .dormantSessions())
        }
        try await database.run("UPDATE mcp_cleanup.runs SET job = 'gone'")
        #expect(await Self.run(database).outcome == .succeeded)
        // The latest success and the latest run stay.
        #expect(
            try await database.value(
                "SELECT string_agg(status, ' ' ORDER BY scheduled_at) FROM mcp_cleanup.runs WHERE job = 'gone'")
                == "succeeded failed")
    }

    /// A look-back after months without a fire time still has to find the run of the last one.
    @Test func aRunOfOnceIsNotTheLatestRun() async throws {
        let database = try await Self.database()
        try await Self.insertRun(
            database, status: "failed", scheduledAt: Self.fireTime - .seconds(40 * 86_400))
        for _ in 0..<2 {
            #expect(
                await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once)).outcome == .succeeded)
        }
        let histories = try await database.access().lookBack(
            at: [Job.transientSessions.name], beside: .sessions)
        #expect(histories[Job.transientSessions.name]?.latest?.scheduledAt == Self.fireTime - .seconds(40 * 86_400))
    }

    // MARK: A run that finds nothing

    /// The trigger would raise for the row of any other run, which is inserted first and closed by an UPDATE.
    @Test func aRunThatFindsNothingIsRecordedTogetherWithItsEnd() async throws {
        let database = try await Self.database(due: 1)
        #expect(await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once)).outcome == .succeeded)
        try await database.run(
            """
            CREATE FUNCTION no() RETURNS TRIGGER LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$;
            CREATE TRIGGER no BEFORE UPDATE OR DELETE ON mcp_cleanup.runs FOR EACH ROW EXECUTE FUNCTION no();
            """)
        let report = await Self.run(database)
        #expect(report.failure == nil && report.outcome == .succeeded)
        #expect(report.runID == 2 && report.progress.isSearchComplete)
        #expect(try await Self.rows(database) == ["once succeeded 1 1 0", "schedule succeeded 1 0 0"])
        let cutoff = try await database.value(
            "SELECT to_json(cutoff AT TIME ZONE 'UTC') #>> '{}' FROM mcp_cleanup.runs WHERE run_id = 2")
        #expect(UTCInstant(rfc3339: (cutoff ?? "") + "Z") == report.cutoff)
        #expect(try await database.count("finished_at >= started_at AND run_id = 2", in: "mcp_cleanup.runs") == 1)
    }

    /// Histories that need more than a new row: the fire time has one, an owner is dead, a run is past its retention.
    @Test(arguments: [
        (0, "failed", "now()", ["schedule failed 1 3 0"]),
        (1, "running", "now() - interval '2 minutes'", ["schedule abandoned 1 3 0", "schedule succeeded 1 0 0"]),
        (60, "failed", "now()", ["schedule succeeded 1 0 0"]),
    ])
    func aRunThatFindsNothingSeesToTheHistory(
        days: Int, status: String, heartbeat: String, rows: [String]
    ) async throws {
        let database = try await Self.database(due: 0)
        #expect(await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once)).outcome == .succeeded)
        try await Self.insertRun(
            database, status: status, heartbeat: heartbeat, scheduledAt: Self.fireTime - .seconds(days * 86_400))
        let report = await Self.run(database)
        #expect(report.failure == nil && (report.skip == .answered) == (days == 0), "\(report)")
        #expect(try await Self.rows(database) == ["once succeeded 1 0 0"] + rows)
    }

    @Test func aRunThatFindsNothingLeavesALivingOwnerAlone() async throws {
        let database = try await Self.database(due: 0)
        #expect(await Self.run(database, RunRequest(scheduledAt: .hostNow, origin: .once)).outcome == .succeeded)
        try await Self.insertRun(database, scheduledAt: Self.fireTime - .seconds(300))
        guard case .held = await Self.run(database).skip else {
            Issue.record("another process is at a run of the job")
            return
        }
        #expect(try await Self.rows(database).count == 2)
    }

    // MARK: Durable when told

    /// The commit that closes a run which deleted rows waits for the disk, against the database's default.
    @Test(arguments: [(0, "off"), (5, "on")])
    func theEndOfARunThatDeletedIsDurable(due: Int, setting: String) async throws {
        let database = try await Self.database(due: due)
        try await database.run(
            """
            ALTER DATABASE \(database.name) SET synchronous_commit = off;
            CREATE TABLE ends (setting text);
            CREATE FUNCTION note() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.ends VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
            CREATE TRIGGER note AFTER UPDATE ON mcp_cleanup.runs FOR EACH ROW WHEN (NEW.status = 'succeeded')
                EXECUTE FUNCTION note();
            """)
        #expect(await Self.run(database).outcome == .succeeded)
        #expect(try await database.value("SELECT string_agg(setting, ' ') FROM ends") == setting)
    }

    /// The server commits, and warns that it has stopped waiting for the standby, whichever messages the role wants.
    @Test(arguments: [("notice", 0), ("error", 0), ("error", 1)])
    func anEndThatNoStandbyHasConfirmedIsAFailure(messages: String, due: Int) async throws {
        let shared = try await PostgresServer.packaged()
        let server = try await PostgresServer(binaries: shared.binaries)
        defer { server.stop() }
        let database = try await Self.database(due: due, on: server)
        try await database.run("ALTER DATABASE \(database.name) SET client_min_messages = \(messages)")
        try await database.run("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        try await database.run("SELECT pg_reload_conf()")
        try await eventually("the server waits for a standby") {
            try await database.value("SELECT current_setting('synchronous_standby_names')") == "absent"
        }
        let (isOver, waits) = (Locked(false), Locked(0))
        async let canceled: Void = {
            while !isOver.withLock({ $0 }) {
                let waiting = try await database.run(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                waits.withLock { $0 += waiting.rows.count }
                try await Task.sleep(for: .milliseconds(50))
            }
        }()
        // The run begins only when the server's other processes know the setting.
        try await eventually("a commit waits") {
            try await database.run("DROP TABLE IF EXISTS public.waited; CREATE TABLE public.waited ()")
            return waits.withLock { $0 } > 0
        }
        let report = await Self.run(database)
        isOver.withLock { $0 = true }
        try await canceled
        guard case .notReplicated = report.failure else {
            Issue.record("\(report)")
            return
        }
        #expect(report.outcome == .failed)
        let rows = try await Self.rows(database)
        #expect(rows == ["schedule failed 1 \(due) 0 01000"])
    }
}
