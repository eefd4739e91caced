@testable import SessionCleanup
import TestServers
import Testing

/// Changes around the walk over pages that no batch shows.
@Suite(.inTurn) struct WalkEdgeTests {
    private static let rows = 25_000
    private static let limits = RunLimits(
        maxClockSkew: .seconds(300), batchTarget: .seconds(5), lockTimeout: .milliseconds(100), batchRows: 1000)

    private static func database(gate: String, in query: String = "deleted AS") async throws -> SessionsDatabase {
        let server = try await PostgresServer(
            binaries: PostgresServer.packaged().binaries,
            settings: ["autovacuum = off", "deadlock_timeout = 60s"])
        let database = try await SessionsDatabase(on: server)
        try await database.run(
            """
            \(Gate.sql(at: gate, in: query))
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, \(rows)) AS n;
            """)
        return database
    }

    /// A due row moves while a search behind the last batch is at work.
    @Test(.slow) func aRowThatMovesBehindTheLastBatchIsDeletedToo() async throws {
        let database = try await Self.database(gate: Gate.session, in: "ctid OPERATOR")
        try await database.run(
            """
            ALTER TABLE mcp_sessions ALTER server_url SET STORAGE PLAIN;
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT CASE n WHEN 5000 THEN '\(Gate.session)' ELSE 'kept-' || n END, 'u', repeat('x', 3500), 'sse', 'x'
                 , CASE n WHEN 5000 THEN now() - interval '30 minutes' ELSE now() + interval '1 day' END
              FROM generate_series(1, 24000) AS n;
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('victim', 'u', repeat('x', 3500), 'sse', 'x', now() - interval '30 minutes');
            """)
        async let progress = database.delete(Gate.job, at: .hostNow, limits: Self.limits)
        try await Gate.wait(in: database)
        try await database.run(
            "UPDATE mcp_sessions SET updated_at = now(), callback_url = repeat('y', 1500) WHERE session_id = 'victim'")
        try await Gate.open(in: database)
        let end = try await progress
        #expect(
            end.rowsDeleted + end.rowsSkipped == Self.rows + 1, "deleted \(end.rowsDeleted) skipped \(end.rowsSkipped)")
        #expect(try await database.value("SELECT count(*) FROM mcp_sessions WHERE session_id = 'victim'") == "0")
    }

    /// A partition is attached between the survey and the walk.
    @Test func aPartThatComesBeforeTheWalkIsClearedToo() async throws {
        let database = try await Self.database(gate: "due-500")
        try await database.run(
            """
            CREATE TABLE parted (LIKE mcp_sessions INCLUDING DEFAULTS) PARTITION BY LIST (user_id);
            CREATE TABLE part_u PARTITION OF parted FOR VALUES IN ('u');
            INSERT INTO parted SELECT * FROM mcp_sessions;
            CREATE TABLE part_v (LIKE mcp_sessions INCLUDING DEFAULTS);
            INSERT INTO part_v SELECT * FROM mcp_sessions LIMIT 200;
            UPDATE part_v SET user_id = 'v', session_id = 'v' || session_id;
            """)
        async let progress = database.delete(
            Gate.job, from: TableName(schema: "public", table: "parted"), at: .hostNow, limits: Self.limits)
        try await Gate.wait(in: database)
        try await database.run("ALTER TABLE parted ATTACH PARTITION part_v FOR VALUES IN ('v')")
        try await Gate.open(in: database)
        let end = try await progress
        #expect(
            end.rowsDeleted + end.rowsSkipped == Self.rows + 200,
            "deleted \(end.rowsDeleted) skipped \(end.rowsSkipped)")
    }

    /// A row that was skipped before the walk is deleted by the walk.
    @Test func aRowThatTheWalkDeletesIsNotCountedAsSkipped() async throws {
        let database = try await Self.database(gate: "due-900")
        try await database.run(
            """
            CREATE TABLE child (session_id TEXT PRIMARY KEY REFERENCES mcp_sessions (session_id) ON DELETE CASCADE);
            INSERT INTO child VALUES ('due-100');
            """)
        let other = try await OtherTransaction(in: database, "SELECT FROM child FOR UPDATE")
        async let progress = database.delete(Gate.job, at: .hostNow, limits: Self.limits)
        try await Gate.wait(in: database)
        try await other.rollBack()
        try await Gate.open(in: database)
        let end = try await progress
        #expect(end.rowsDeleted == Self.rows)
        #expect(end.rowsSkipped == 0)
    }

    /// A trigger on the history's table inserts due rows.
    @Test func whereTheHistoryHasATriggerEverythingIsLookedForAgain() async throws {
        let server = try await PostgresServer(
            binaries: PostgresServer.packaged().binaries, settings: ["autovacuum = off"])
        let database = try await SessionsDatabase(on: server)
        try await database.run(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"))
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 25000) AS n;
            CREATE FUNCTION bring() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO public.mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
                SELECT 'late-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 200) AS n;
                RETURN NULL;
            END $$;
            CREATE TRIGGER bring AFTER UPDATE ON mcp_cleanup.runs FOR EACH ROW
              WHEN (OLD.rows_deleted < 5000 AND NEW.rows_deleted >= 5000) EXECUTE FUNCTION bring();
            """)
        let result = try await database.daemon(["--once", "--json"])
        #expect(result.status == 0, "\(result.error)")
        #expect(try await database.value("SELECT count(*) FROM mcp_sessions") == "0", "\(result.output)")
    }
}
