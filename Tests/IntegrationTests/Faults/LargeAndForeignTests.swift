import CleanupSchedule
import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// Histories and tables of an unusual size or shape.
@Suite(.inTurn) struct LargeAndForeignTests {
    /// A million closed runs, of which all but the oldest ten failed: the worst case for a search for the last success.
    @Test(.slow, arguments: [true, false])
    func aMillionRunsAreNotWalkedThrough(isAnalyzed: Bool) async throws {
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(
            """
            ALTER TABLE mcp_cleanup.runs SET (autovacuum_enabled = false);
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at,
                finished_at, cutoff)
            SELECT 'mcp-cleanup-transient-sessions', t, 'schedule', 'x', 1,
                   CASE WHEN n > 999990 THEN 'succeeded' ELSE 'failed' END, t, t, t, t
              FROM (SELECT n, date_trunc('minute', now()) - n * interval '5 minutes' AS t
                      FROM generate_series(1, 1000000) AS n) AS q;
            \(isAnalyzed ? "ANALYZE mcp_cleanup.runs" : "")
            """)
        func blocksRead() async throws -> Int {
            let sum = try await watched.database.value(
                """
                SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read
                  FROM pg_statio_user_tables WHERE relid = 'mcp_cleanup.runs'::regclass
                """)
            return try #require(Int(sum ?? ""))
        }
        for round in 1...3 {
            try await watched.database.run(WatchedDatabase.due(3))
            let before = try await blocksRead()
            let result = try await watched.database.daemon(
                ["--once", "--json"], environment: WatchedDatabase.environment)
            #expect(result.status == 0, "\(result)")
            #expect(result.output.contains(#""rows_deleted":3,"#), "round \(round): \(result)")
            // A scan of all runs reads 30,000 blocks, and takes longer than a statement may on a loaded machine.
            let blocks = try await blocksRead() - before
            #expect(blocks < 10_000, "round \(round)")
        }
        // Each of the three runs deletes the 500 oldest; the last success stays.
        #expect(try await watched.database.count("claimed_by = 'x'", in: "mcp_cleanup.runs") == 1_000_000 - 1500)
    }

    @Test(arguments: [
        // Histories that have all columns, and refuse the run's row all the same.
        ("ALTER TABLE mcp_cleanup.runs ADD tenant TEXT NOT NULL DEFAULT NULL", Int32(77), "23502"),
        ("ALTER TABLE mcp_cleanup.runs ADD CHECK (origin <> 'once')", 77, "23514"),
        (
            "CREATE FUNCTION no() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE 'read only here'; END $$; CREATE TRIGGER no BEFORE INSERT OR UPDATE ON mcp_cleanup.runs FOR EACH ROW EXECUTE FUNCTION no()",
            77, "P0001"
        ),
        (
            "CREATE FUNCTION no() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; CREATE TRIGGER no BEFORE INSERT ON mcp_cleanup.runs FOR EACH ROW EXECUTE FUNCTION no()",
            77, "mcp_cleanup.runs"
        ),
        (
            "ALTER TABLE mcp_cleanup.runs RENAME TO r; CREATE VIEW mcp_cleanup.runs AS SELECT * FROM mcp_cleanup.r", 78,
            "mcp_cleanup.runs"
        ),
    ])
    func aForeignHistoryDeletesNothingAndSaysWhy(change: String, status: Int32, word: String) async throws {
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(WatchedDatabase.due(3))
        try await watched.database.run(change)
        let result = try await watched.database.daemon(["--once", "--json"], environment: WatchedDatabase.environment)
        #expect(result.status == status, "\(result)")
        #expect(result.error.contains(word), "\(result)")
        #expect(try await watched.database.count() == 3)
    }

    /// One transaction locks all due rows: the run ends soon and counts them, and its memory does not grow with them.
    @Test(.slow) func aTableOfHeldRowsIsSkippedAndCounted() async throws {
        let rows = Soak.factor > 1 ? 1_000_000 : 100_000
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(WatchedDatabase.due(rows))
        let holder = try await OtherTransaction(in: watched.database, "SELECT FROM mcp_sessions FOR UPDATE")
        let command = try RunningCommand(
            ["--once", "--json"], url: watched.database.url,
            environment: WatchedDatabase.environment.merging(["MCP_CLEANUP_BATCH_MAX_ROWS": "10000"]) { $1 })
        let result = await command.end()
        try await holder.rollBack()
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":0,"rows_skipped":\#(rows),"#), "\(result)")
        Self.expectLittleMemory(of: command)
        try await watched.expectExactAccounts("\(result)")
    }

    /// Each page number stands for a page of every partition, so that the first search meets all of them.
    @Test func manyDueRowsInManyPartitionsAreNotFetchedAtOnce() async throws {
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(
            """
            DROP TABLE mcp_sessions CASCADE;
            CREATE TABLE mcp_sessions (
                session_id TEXT, user_id TEXT, updated_at TIMESTAMPTZ, expires_at TIMESTAMPTZ, active BOOLEAN
            ) PARTITION BY HASH (session_id);
            DO $$ BEGIN FOR part IN 0..63 LOOP
                EXECUTE format('CREATE UNLOGGED TABLE part_%s PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 64, REMAINDER %s)',
                               part, part);
            END LOOP; END $$;
            INSERT INTO mcp_sessions
            SELECT n, 'u', now(), now() - interval '1 hour', false FROM generate_series(1, 500000) AS n;
            """)
        let command = try RunningCommand(
            ["--once", "--json"], url: watched.database.url,
            environment: WatchedDatabase.environment.merging([
                "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_MAX_ROWS": "1000",
                "MCP_CLEANUP_BATCH_MAX_ROWS": "1000", "MCP_CLEANUP_CLAIM_LEASE": "60s",
            ]) { $1 })
        let result = await command.end()
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""outcome":"capped""#), "\(result)")
        #expect(try await watched.database.count() == 499_000)
        Self.expectLittleMemory(of: command)
    }

    /// Expects nothing under the sanitizer, which keeps memory of its own.
    private static func expectLittleMemory(of command: RunningCommand) {
        guard Command.sanitizerOptions.isEmpty else { return }
        #expect(command.mostMemory > 0 && command.mostMemory <= 8 * 1024, "\(command.mostMemory) KiB of private memory")
    }

    @Test func sixteenPartitionsAreClearedAndCounted() async throws {
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(
            """
            ALTER TABLE mcp_sessions RENAME TO template;
            CREATE TABLE mcp_sessions (LIKE template INCLUDING DEFAULTS) PARTITION BY HASH (session_id);
            DO $$ BEGIN FOR part IN 0..15 LOOP
                EXECUTE format('CREATE TABLE part_%s PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
                               part, part);
            END LOOP; END $$;
            CREATE TRIGGER witness AFTER DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION witness();
            \(WatchedDatabase.due(2000));
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT 'live-' || n, 'u', 'x', 'sse', 'x', now() + interval '1 hour' FROM generate_series(1, 500) AS n;
            """)
        let result = try await watched.database.daemon(["--once", "--json"], environment: WatchedDatabase.environment)
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":2000,"rows_skipped":0,"#), "\(result)")
        #expect(try await watched.database.count() == 500)
        try await watched.expectExactAccounts("\(result)")
    }

    /// To a database whose clock is behind, every fire time is in the future: each is answered once all the same.
    @Test func aFireTimeIsAnsweredOnceByAClockThatIsBehind() async throws {
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(WatchedDatabase.due(3))
        var fireTime = UTCInstant.hostNow + .seconds(3600)
        for outcome in [Outcome.succeeded, .skipped, .skipped] {
            var series = RunSeries(watched.database.access())
            let report = await series.execute(
                CleanupRun(
                    job: .transientSessions, table: SessionTable(name: .sessions, schema: .auto), limits: .test,
                    history: History(mode: .required), hostClock: { .hostNow + .seconds(3600) }),
                RunRequest(scheduledAt: fireTime, origin: .schedule))
            await series.end()
            #expect(report.outcome == outcome, "\(report)")
            guard report.skip != nil else { continue }
            // As if the hour had passed: a service that starts now asks once more.
            fireTime = fireTime - .seconds(3600)
            try await watched.database.run(
                """
                UPDATE mcp_cleanup.runs
                   SET scheduled_at = scheduled_at - interval '1 hour', started_at = started_at - interval '1 hour'
                """)
        }
        #expect(try await watched.integer("SELECT attempts FROM mcp_cleanup.runs") == 1)
    }
}
