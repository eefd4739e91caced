import CleanupSchedule
import Foundation
import Postgres
@testable import SessionCleanup
import SeededRandom
import TestServers
import Testing
import Time

/// Other clients work on the same rows: no session that became live is deleted; locked ones are left and counted.
@Suite(.inTurn) struct ConcurrencyTests {
    private static let due = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
        SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour', false FROM generate_series(1, %) AS n;
        """

    private static func database(due count: Int) async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(due.replacingOccurrences(of: "%", with: "\(count)"))
        return database
    }

    /// A gate at a row of the third batch.
    private static let gate = Gate.sql(at: "due-4")

    /// A row trigger that makes a batch lock its rows before it deletes them.
    private static let guardian = """
        CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
        CREATE TRIGGER pass BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION pass();
        """

    /// Limits that end neither a batch that waits at a gate nor its wait for a lock.
    private static let patient = RunLimits(
        maxClockSkew: .seconds(300), batchTarget: .seconds(5), lockTimeout: .seconds(30), batchRows: 1000)

    @Test(
        arguments: [
            ("expires_at = now() + interval '1 hour'", false), ("active = true", false), ("client_id = 'seen'", true),
            ("user_id = repeat('u', 3000)", true),
        ], [true, false])
    func aRowChangedBetweenTheLookAndTheLockIsJudgedAsItIsNow(
        change: (sql: String, isStillDue: Bool), locksFirst: Bool
    ) async throws {
        // Batches of one row, of two, and of four.
        let database = try await Self.database(due: 7)
        try await database.run(Self.gate + (locksFirst ? Self.guardian : ""))
        try await database.run("ALTER DATABASE \(database.name) SET deadlock_timeout = '1min'")
        async let deleted = database.delete(Gate.job, at: .hostNow, limits: Self.patient)
        try await Gate.wait(in: database)
        try await database.run("UPDATE mcp_sessions SET \(change.sql) WHERE session_id = 'due-5'")
        try await Gate.open(in: database)
        let progress = try await deleted
        #expect(try await database.sessions() == (change.isStillDue ? [] : ["due-5"]))
        #expect(progress.rowsDeleted == (change.isStillDue ? 7 : 6))
        #expect(progress.rowsSkipped == 0)
    }

    /// Two rows move between the statement's snapshot and its locks: one is updated there, one update commits there.
    @Test(arguments: [true, false]) func rowsThatMoveAreNoVeto(locksFirst: Bool) async throws {
        // Batches of one row, of two, and of four.
        let database = try await Self.database(due: 7)
        try await database.run(Self.gate + (locksFirst ? Self.guardian : ""))
        try await database.run("ALTER DATABASE \(database.name) SET deadlock_timeout = '1min'")
        let third = try await OtherTransaction(
            in: database, "UPDATE mcp_sessions SET client_id = 'a' WHERE session_id = 'due-6'")
        async let deleted = database.delete(Gate.job, at: .hostNow, limits: Self.patient)
        try await Gate.wait(in: database)
        try await database.run("UPDATE mcp_sessions SET client_id = 'a' WHERE session_id = 'due-5'")
        try await third.commit()
        try await Gate.open(in: database)
        let progress = try await deleted
        #expect(progress.rowsDeleted == 7)
        #expect(progress.rowsSkipped == 0)
        #expect(try await database.sessions() == [])
    }

    @Test func aRowHeldToTheEndIsSkippedAndCountedOnce() async throws {
        let database = try await Self.database(due: 5)
        let holder = try await OtherTransaction(
            in: database, "SELECT FROM mcp_sessions WHERE session_id IN ('due-2', 'due-4') FOR SHARE")
        let result = try await database.daemon(["--once", "--job", "transient", "--json"])
        #expect(result.status == 0, "\(result.error)")
        #expect(result.output.contains(#""rows_deleted":3,"rows_skipped":2,"#), "\(result.output)")
        #expect(try await database.sessions() == ["due-2", "due-4"])
        try await holder.rollBack()
        let next = try await database.daemon(["--once", "--job", "transient", "--json"])
        #expect(next.output.contains(#""rows_deleted":2,"rows_skipped":0,"#), "\(next.output)")
    }

    /// A trigger makes the server itself the witness: it raises for any row that is not due when it is deleted.
    @Test(arguments: SeededRandom.seeds(2))
    func randomUpdatersNeverLoseALiveSession(seed: UInt64) async throws {
        let database = try await Self.database(due: 400)
        try await database.run(
            """
            CREATE FUNCTION witness() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                IF NOT (OLD.expires_at < clock_timestamp() AND OLD.active IS NOT TRUE) THEN
                    RAISE EXCEPTION 'session % is live', OLD.session_id;
                END IF;
                RETURN OLD;
            END $$;
            CREATE TRIGGER witness BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION witness();
            """)
        let inserted = Locked(400)
        let deleted = try await withThrowingTaskGroup(of: Int.self) { group in
            for updater in 0..<4 {
                group.addTask {
                    var generator = SeededRandom(seed: seed &+ UInt64(updater))
                    let connection = try await database.server.connect(database.name)
                    for round in 0..<150 {
                        let row = Int.random(in: 1...400, using: &generator)
                        let sql = [
                            "UPDATE mcp_sessions SET expires_at = now() + interval '1 hour' WHERE session_id = 'due-\(row)'",
                            "UPDATE mcp_sessions SET expires_at = now() - interval '1 hour' WHERE session_id = 'due-\(row)'",
                            "UPDATE mcp_sessions SET active = NOT active WHERE session_id = 'due-\(row)'",
                            "UPDATE mcp_sessions SET client_id = repeat('x', \(row)) WHERE session_id = 'due-\(row)'",
                            "BEGIN; SELECT FROM mcp_sessions WHERE session_id = 'due-\(row)' FOR UPDATE; COMMIT",
                            """
                            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
                            VALUES ('new-\(updater)-\(round)', 'u', 'x', 'sse', 'x', now() - interval '1 second')
                            """,
                        ].randomElement(using: &generator)!  // Not empty.
                        if sql.hasPrefix("INSERT") { inserted.withLock { $0 += 1 } }
                        _ = try await connection.script(sql, deadline: .now + .seconds(30))
                    }
                    await connection.close()
                    return 0
                }
            }
            for _ in 0..<2 {
                group.addTask {
                    var deleted = 0
                    for _ in 0..<12 {
                        let limits = RunLimits(maxClockSkew: .seconds(300), batchRows: 7, searchRows: 50)
                        deleted += try await database.delete(.transientSessions, at: .hostNow, limits: limits)
                            .rowsDeleted
                    }
                    return deleted
                }
            }
            return try await group.reduce(0, +)
        }
        // Two runs side by side and four updaters: each row that is gone was counted once.
        #expect(try await database.count() == inserted.withLock { $0 } - deleted, "seed \(seed)")
        #expect(deleted > 0)
    }

    @Test func twoProcessesShareTheWork() async throws {
        let database = try await Self.database(due: 6000)
        let environment = ["MCP_CLEANUP_BATCH_MAX_ROWS": "100"]
        async let first = database.daemon(["--once", "--job", "transient", "--json"], environment: environment)
        async let second = database.daemon(["--once", "--job", "transient", "--json"], environment: environment)
        let results = try await [first, second]
        var deleted = 0
        for result in results {
            #expect(result.status == 0, "\(result.error)")
            let match = try #require(result.output.firstMatch(of: /"rows_deleted":(\d+)/))
            deleted += Int(match.1) ?? 0
        }
        #expect(deleted == 6000)
        #expect(try await database.count() == 0)
    }

    private static func trigger(_ timing: String, _ body: String) -> String {
        """
        CREATE FUNCTION act() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \(body) END $$;
        CREATE TRIGGER act \(timing) DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION act();
        """
    }

    @Test(arguments: [
        ("RETURN NULL;", "5 due rows of public.mcp_sessions", 0),
        ("IF OLD.session_id = 'due-3' THEN RETURN NULL; END IF; RETURN OLD;", "1 due row of public.mcp_sessions", 4),
        (
            "IF OLD.session_id = 'due-3' THEN RAISE EXCEPTION 'keep it'; END IF; RETURN OLD;",
            "SQLSTATE P0001", 4
        ),
        (
            "IF OLD.session_id = 'due-3' THEN RAISE unique_violation USING MESSAGE = 'keep it'; END IF; RETURN OLD;",
            "SQLSTATE 23505", 4
        ),
    ])
    func aTriggerThatKeepsARowFailsTheRun(body: String, message: String, deleted: Int) async throws {
        let database = try await Self.database(due: 5)
        try await database.run(Self.trigger("BEFORE", body))
        let result = try await database.daemon(["--once", "--job", "transient", "--json"])
        #expect(result.status == 77)
        #expect(result.output.contains(#""outcome":"failed""#))
        #expect(result.output.contains(message), "\(result.output)")
        #expect(result.output.contains("\"rows_deleted\":\(deleted),"), "\(result.output)")
        #expect(try await database.count() == 5 - deleted)
    }

    @Test func batchesBeforeTheOneThatFailsStayDeleted() async throws {
        let database = try await Self.database(due: 5)
        try await database.run(
            Self.trigger("BEFORE", "IF OLD.session_id = 'due-5' THEN RETURN NULL; END IF; RETURN OLD;"))
        let result = try await database.daemon(
            ["--once", "--job", "transient", "--json"], environment: ["MCP_CLEANUP_BATCH_MAX_ROWS": "2"])
        #expect(result.status == 77)
        #expect(result.output.contains(#""rows_deleted":4,"rows_skipped":0,"#), "\(result.output)")
        #expect(try await database.sessions() == ["due-5"])
    }

    @Test func anAfterTriggerSeesEveryRow() async throws {
        let database = try await Self.database(due: 5)
        try await database.run(
            "CREATE TABLE audit (session_id TEXT);"
                + Self.trigger("AFTER", "INSERT INTO audit VALUES (OLD.session_id); RETURN NULL;"))
        let result = try await database.daemon(["--once"], environment: ["MCP_CLEANUP_BATCH_MAX_ROWS": "2"])
        #expect(result.status == 0, "\(result.error)")
        #expect(try await database.sessions(in: "audit").count == 5)
        #expect(try await database.count() == 0)
    }

    @Test(arguments: [
        ("", 77, 1), ("ON DELETE CASCADE", 0, 0), ("ON DELETE SET NULL", 0, 0),
        ("DEFERRABLE INITIALLY DEFERRED", 77, 1),
    ])
    func aForeignKeyDecidesAsDeclared(action: String, status: Int32, left: Int) async throws {
        let database = try await Self.database(due: 5)
        try await database.run(
            """
            CREATE TABLE message (session_id TEXT REFERENCES mcp_sessions (session_id) \(action));
            INSERT INTO message VALUES ('due-3');
            """)
        let result = try await database.daemon(["--once", "--job", "transient", "--json"])
        #expect(result.status == status, "\(result.error)")
        #expect(try await database.count() == left)
        if status != 0 {
            #expect(result.output.contains(#""sqlstate":"23503""#), "\(result.output)")
            #expect(result.error.contains("ON DELETE CASCADE or SET NULL"), "\(result.error)")
            #expect(result.output.contains(#""rows_deleted":4,"#), "\(result.output)")
        }
    }

    @Test(arguments: ["ACCESS EXCLUSIVE", "SHARE"])
    func aLockedTableFailsTheRunAndNamesTheLock(mode: String) async throws {
        let database = try await Self.database(due: 5)
        let holder = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN \(mode) MODE")
        let result = try await database.daemon(
            ["--once", "--job", "transient", "--json"],
            environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_DEADLINE": "6s"])
        #expect(result.status == 75)
        #expect(result.output.contains(#""outcome":"failed""#), "\(result.output)")
        #expect(result.output.contains(#""sqlstate":"55P03""#), "\(result.output)")
        #expect(result.error.contains("holds a lock on the whole table"), "\(result.error)")
        try await holder.rollBack()
        #expect(try await database.count() == 5)
    }
}
