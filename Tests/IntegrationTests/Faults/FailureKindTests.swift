import Foundation
import Glibc
import Postgres
import TestServers
import Testing

/// Failures in the middle of a run, by kind: the run's row says how it ended and counts exactly, and the next run goes on.
@Suite(.inTurn) struct FailureKindTests {
    private static let run = ["--once", "--json"]

    private static func watched(
        due: Int, on server: PostgresServer? = nil, secondsPerRow: Double = 0, holdingAfter rows: Int = .max
    ) async throws -> WatchedDatabase {
        let server = if let server { server } else { try await PostgresServer.packaged() }
        let watched = try await WatchedDatabase(on: server, secondsPerRow: secondsPerRow, holdingAfter: rows)
        try await watched.database.run(WatchedDatabase.due(due))
        return watched
    }

    private static func firstBatch(of watched: WatchedDatabase) async throws {
        try await eventually("the first batch") { try await watched.integer("SELECT count(*) FROM witness") >= 1 }
    }

    /// Expects this status and SQLSTATE in the last run's row, and exact accounts.
    private static func expect(
        _ row: String, in watched: WatchedDatabase, _ result: CommandResult,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let last = try await watched.value(
            "SELECT concat_ws(' ', status, error_sqlstate) FROM mcp_cleanup.runs ORDER BY run_id DESC LIMIT 1")
        #expect(last == row, "\(result)", sourceLocation: sourceLocation)
        try await watched.expectExactAccounts("\(result)", sourceLocation: sourceLocation)
    }

    /// Expects that the next run deletes all that a failed one has left.
    private static func expectTheRestIsDone(
        _ watched: WatchedDatabase, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let clean = try await watched.finish()
        #expect(clean.status == 0, "\(clean)", sourceLocation: sourceLocation)
        #expect(try await watched.database.count() == 0, sourceLocation: sourceLocation)
        try await watched.expectExactAccounts("\(clean)", sourceLocation: sourceLocation)
    }

    /// The application gets its locks: the batch gives way before a deadlock can be found, and its rows are skipped.
    @Test func theApplicationIsNeverTheVictimOfADeadlock() async throws {
        // In each of two passes each row waits 100 ms for a lock, so that the application has 3 s to lock the rows.
        let watched = try await Self.watched(due: 15)
        try await watched.database.run(
            """
            CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0);
            CREATE FUNCTION add_one() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN UPDATE counter SET n = n + 1; RETURN OLD; END $$;
            CREATE TRIGGER count BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION add_one();
            """)
        let other = try await OtherTransaction(in: watched.database, "UPDATE counter SET n = 0")
        async let ended = watched.database.daemon(
            Self.run, environment: WatchedDatabase.environment.merging(["MCP_CLEANUP_CLAIM_LEASE": "60s"]) { $1 })
        try await eventually("the run waits") {
            try await watched.integer(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
                == 1
        }
        try await other.run("SELECT FROM mcp_sessions FOR UPDATE")
        let result = try await ended
        try await other.rollBack()
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":0,"rows_skipped":15,"#), "\(result)")
        try await Self.expect("succeeded", in: watched, result)
        try await Self.expectTheRestIsDone(watched)
    }

    @Test(arguments: [
        "default_transaction_isolation = 'repeatable read'", "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on", "default_transaction_deferrable = on",
    ])
    func aDefaultOfTheDatabaseDoesNotMatter(setting: String) async throws {
        let watched = try await Self.watched(due: 300)
        try await watched.database.run("ALTER DATABASE \(watched.database.name) SET \(setting)")
        let isWriting = !setting.contains("read_only")
        try await withThrowingTaskGroup(of: Void.self) { group in
            if isWriting { group.addTask { try await watched.change(seed: 1) } }
            for _ in 0..<3 {
                let result = try await watched.database.daemon(Self.run, environment: WatchedDatabase.environment)
                #expect(result.status == 0, "\(result)")
            }
            group.cancelAll()
        }
        try await watched.database.server.query("ALTER DATABASE \(watched.database.name) RESET ALL")
        try await watched.expectExactAccounts("\(setting)")
    }

    @Test func aBackendThatIsTerminatedIsAFailureThatIsCounted() async throws {
        let watched = try await Self.watched(due: 40)
        async let ended = watched.database.daemon(Self.run, environment: WatchedDatabase.withPauses)
        try await Self.firstBatch(of: watched)
        try await watched.database.run(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'mcp-cleanupd' AND pid <> pg_backend_pid()
               AND backend_type = 'client backend'
            """)
        let result = try await ended
        #expect(result.status == 75)
        try await Self.expect("failed 57P01", in: watched, result)
        try await Self.expectTheRestIsDone(watched)
    }

    @Test func aServerThatRestartsLosesNothing() async throws {
        let server = try await PostgresServer(binaries: PostgresServer.packaged().binaries)
        let watched = try await Self.watched(due: 40, on: server)
        async let ended = watched.database.daemon(Self.run, environment: WatchedDatabase.withPauses)
        try await Self.firstBatch(of: watched)
        server.stop()
        let result = try await ended
        #expect(result.status == 75, "\(result)")
        #expect(result.output.contains(#""sqlstate":"57P01""#), "\(result)")
        let restarted = try await Self.start(server, of: watched)
        try await watched.expectExactAccounts("\(result)")
        try await Self.expectTheRestIsDone(watched)
        #expect(try await watched.database.count("status = 'abandoned'", in: "mcp_cleanup.runs") == 1)
        restarted.stop()
    }

    private static func start(_ server: PostgresServer, of watched: WatchedDatabase) async throws -> SupervisedProcess {
        let started = try SupervisedProcess(
            ServerUser.command + [server.binaries + "/postgres", "-D", server.directory + "/data"],
            logPath: server.directory + "/log", stopSignal: "INT")
        try await eventually("the server is back") { (try? await watched.database.count()) != nil }
        return started
    }

    /// A batch's commit waits for the disk although the server's `synchronous_commit` is off: a crash loses no deletion that
    /// was visible.
    @Test(.slow) func aServerThatCrashesTakesNoBatchBack() async throws {
        let server = try await PostgresServer(binaries: PostgresServer.packaged().binaries)
        let watched = try await Self.watched(due: 40, on: server)
        // Otherwise the WAL writer would have each commit on the disk a moment later.
        try await watched.database.run("ALTER SYSTEM SET wal_writer_delay = '10s'")
        try await watched.database.run("ALTER SYSTEM SET synchronous_commit = off")
        try await watched.database.run("SELECT pg_reload_conf()")
        let postmaster = try #require(
            try String(contentsOfFile: server.directory + "/data/postmaster.pid", encoding: .utf8)
                .split(separator: "\n").first.flatMap { Int32($0) })
        async let ended = watched.database.daemon(Self.run, environment: WatchedDatabase.withPauses)
        try await eventually("some batches") { try await watched.integer("SELECT count(*) FROM witness") >= 3 }
        let seen = try await watched.integer("SELECT count(*) FROM witness")
        kill(postmaster, SIGQUIT)
        let result = try await ended
        #expect([69, 75].contains(result.status), "\(result)")
        server.stop()
        let restarted = try await Self.start(server, of: watched)
        let kept = try await watched.integer("SELECT count(*) FROM witness")
        #expect(kept >= seen, "the crash took \(seen - kept) rows back")
        try await watched.expectExactAccounts("\(seen) seen, \(kept) kept: \(result)")
        try await Self.expectTheRestIsDone(watched)
        restarted.stop()
    }

    /// Behind a pooler the client's connection survives, and suddenly leads to a standby.
    @Test(.slow) func aFailoverToAStandbyInTheMiddleMayPass() async throws {
        let server = try await PostgresServer(binaries: PostgresServer.packaged().binaries)
        let watched = try await Self.watched(due: 40, on: server)
        let standby = try await PostgresServer(standbyOf: server)
        let pooler = try await PgBouncer(for: server)
        async let ended = watched.database.daemon(
            Self.run, url: pooler.url(watched.database.name), environment: WatchedDatabase.withPauses)
        try await Self.firstBatch(of: watched)
        try await pooler.lead(to: standby)
        let result = try await ended
        #expect(result.status == 75, "\(result)")
        #expect(result.error.contains("read-only standby"), "\(result)")
        try await watched.expectExactAccounts("\(result)")
        #expect(try await watched.database.count() > 0)
        try await Self.expectTheRestIsDone(watched)
    }

    @Test(
        .slow,
        arguments: [
            (
                "REVOKE DELETE ON mcp_sessions FROM ROLE", "GRANT DELETE ON mcp_sessions TO ROLE", Int32(77),
                "failed 42501"
            ),
            ("REVOKE SELECT ON mcp_sessions FROM ROLE", "GRANT SELECT ON mcp_sessions TO ROLE", 77, "failed 42501"),
            (
                "ALTER TABLE mcp_sessions RENAME active TO enabled",
                "ALTER TABLE mcp_sessions RENAME enabled TO active",
                78, "failed 42703"
            ),
            ("ALTER TABLE mcp_sessions RENAME TO gone", "ALTER TABLE gone RENAME TO mcp_sessions", 78, "failed 42P01"),
            (
                "ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY",
                "ALTER TABLE mcp_sessions DISABLE ROW LEVEL SECURITY",
                77, "failed 42501"
            ),
            (
                "CREATE FUNCTION no() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER no BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION no()",
                "DROP TRIGGER no ON mcp_sessions", 77, "failed"
            ),
            ("REVOKE UPDATE ON mcp_cleanup.runs FROM ROLE", "GRANT UPDATE ON mcp_cleanup.runs TO ROLE", 77, "running"),
            (
                "ALTER TABLE mcp_cleanup.runs RENAME TO gone", "ALTER TABLE mcp_cleanup.gone RENAME TO runs", 78,
                "running"
            ),
        ])
    func aChangeBetweenTwoBatchesFailsTheRun(
        change: String, undoing: String, status: Int32, row: String
    ) async throws {
        let watched = try await Self.watched(due: 40)
        let role = try await watched.database.makeServiceRole()
        try await watched.database.run(
            """
            GRANT USAGE ON SCHEMA mcp_cleanup TO \(role);
            GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO \(role);
            GRANT SELECT, INSERT, DELETE ON mcp_cleanup.removed TO \(role);
            """)
        async let ended = watched.database.daemon(
            Self.run, url: watched.database.server.url(watched.database.name, user: role),
            environment: WatchedDatabase.withPauses)
        try await Self.firstBatch(of: watched)
        try await watched.database.run(change.replacingOccurrences(of: "ROLE", with: role))
        let result = try await ended
        try await watched.database.run(undoing.replacingOccurrences(of: "ROLE", with: role))
        #expect(result.status == status, "\(result)")
        #expect(result.output.contains(#""outcome":"failed""#), "\(result)")
        #expect(result.error.contains("hint=") || result.error.contains("hint:"), "\(result)")
        try await Self.expect(row, in: watched, result)
        try await Self.expectTheRestIsDone(watched)
    }

    /// Once the policy is narrowed, the server shows the run fewer rows without an error.
    @Test func aPolicyThatIsNarrowedInTheMiddleFailsTheRun() async throws {
        let watched = try await Self.watched(due: 40)
        let role = try await watched.database.makeServiceRole()
        try await watched.database.run(
            """
            GRANT USAGE ON SCHEMA mcp_cleanup TO \(role);
            GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO \(role);
            GRANT SELECT, INSERT, DELETE ON mcp_cleanup.removed TO \(role);
            ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY;
            CREATE POLICY everything ON mcp_sessions USING (true);
            """)
        async let ended = watched.database.daemon(
            Self.run, url: watched.database.server.url(watched.database.name, user: role),
            environment: WatchedDatabase.withPauses)
        try await Self.firstBatch(of: watched)
        try await watched.database.run("ALTER POLICY everything ON mcp_sessions USING (user_id = 'x')")
        let result = try await ended
        #expect(try await watched.database.count() > 0)
        try await watched.database.run("ALTER POLICY everything ON mcp_sessions USING (true)")
        #expect(result.status == 77, "\(result)")
        #expect(result.error.contains("no policy for SELECT"), "\(result)")
        try await Self.expect("failed", in: watched, result)
        try await Self.expectTheRestIsDone(watched)
    }

    @Test(.enabled(if: geteuid() == 0, "needs root to mount a small disk"))
    func aFullDiskMayPass() async throws {
        let watched = try await Self.watched(due: 3000)
        let disk = try SmallDisk()
        try await ServerUser.giveFile(disk.path)
        try await watched.database.run("CREATE TABLESPACE \(disk.name) LOCATION '\(disk.path)'")
        try await watched.database.run("ALTER TABLE witness SET TABLESPACE \(disk.name)")
        let result = try await watched.database.daemon(
            Self.run, environment: WatchedDatabase.environment.merging(["MCP_CLEANUP_BATCH_MAX_ROWS": "200"]) { $1 })
        #expect(result.status == 75, "\(result)")
        try await Self.expect("failed 53100", in: watched, result)
        #expect(result.error.contains("disk space"), "\(result)")
        #expect(try await watched.integer("SELECT count(*) FROM witness") > 0)
        try await watched.database.run("ALTER TABLE witness SET TABLESPACE pg_default")
        try await watched.database.run("DROP TABLESPACE \(disk.name)")
        try await Self.expectTheRestIsDone(watched)
    }

    @Test func aStatementThatSomebodyElseCanceledIsAFailure() async throws {
        let watched = try await Self.watched(due: 3, holdingAfter: 0)
        async let ended = watched.database.daemon(
            Self.run, environment: WatchedDatabase.environment.merging(["MCP_CLEANUP_CLAIM_LEASE": "60s"]) { $1 })
        try await eventually("a batch is under way") {
            try await watched.integer(
                """
                SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'mcp-cleanupd' AND wait_event = 'PgSleep'
                """) == 1
        }
        let result = try await ended
        #expect(result.status == 75, "\(result)")
        try await Self.expect("failed 57014", in: watched, result)
        try await Gate.open(in: watched.database)
        try await Self.expectTheRestIsDone(watched)
    }

    /// A first batch of a hundred rows would take 5 s, and a transaction may take 1 s (a third of the lease).
    @Test func batchesThatTakeTooLongShrinkAndTheRunGoesOn() async throws {
        let watched = try await Self.watched(due: 40, secondsPerRow: 0.05)
        let result = try await watched.database.daemon(
            Self.run, environment: WatchedDatabase.environment.merging(["MCP_CLEANUP_BATCH_MAX_ROWS": "1000"]) { $1 })
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":40,"#), "\(result)")
        try await Self.expect("succeeded", in: watched, result)
    }

    @Test(arguments: ["", "DEFERRABLE INITIALLY DEFERRED"])
    func aForeignKeyIsNamedAndTheSessionItHoldsIsNot(timing: String) async throws {
        let watched = try await Self.watched(due: 5)
        try await watched.database.run(
            """
            UPDATE mcp_sessions SET session_id = 'the-held-one' WHERE ctid = (SELECT max(ctid) FROM mcp_sessions);
            CREATE TABLE message (session_id TEXT CONSTRAINT message_session REFERENCES mcp_sessions (session_id) \(timing));
            INSERT INTO message VALUES ('the-held-one');
            """)
        let result = try await watched.database.daemon(
            Self.run, environment: WatchedDatabase.environment.merging(["MCP_CLEANUP_BATCH_MAX_ROWS": "2"]) { $1 })
        #expect(result.status == 77)
        for word in ["message_session", "ON DELETE CASCADE", "1 due row"] {
            #expect(result.error.contains(word), "\(result)")
        }
        try await Self.expect("failed 23503", in: watched, result)
        let recorded = try await watched.value("SELECT error_message FROM mcp_cleanup.runs") ?? ""
        #expect(recorded.contains("message_session") && !recorded.contains("the-held-one"))
        #expect(!"\(result)".contains("the-held-one"))
        #expect(try await watched.database.sessions() == ["the-held-one"])
        try await watched.database.run("DROP TABLE message")
        try await Self.expectTheRestIsDone(watched)
    }
}

/// A file system of 300 KiB in memory, mounted until the object is deinitialized.
private final class SmallDisk: Sendable {
    let path: String
    let name: String

    init() throws {
        path = try TemporaryDirectory.make()
        name = "disk_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        guard mount("tmpfs", path, "tmpfs", 0, "size=300k") == 0 else {
            throw TestServerError("no small disk: \(String(cString: strerror(errno)))")
        }
    }

    deinit { umount2(path, Int32(MNT_DETACH)) }
}
