@testable import SessionCleanup
import TestServers
import Testing

/// The last search after a walk over pages is left out only where no other transaction has written. These tests have
/// servers of their own, since a transaction in any database counts.
@Suite(.inTurn) struct SoleWriterTests {
    /// More than 20,000: above that number, pages are walked.
    private static let rows = 25_000

    /// Limits that end no batch when the disk stalls: a failed batch takes a transaction number, and a search follows.
    private static let patient = RunLimits(
        maxClockSkew: .seconds(300), batchTarget: .seconds(5), lockTimeout: .seconds(30), batchRows: 1000)

    /// Inserts rows that are due at once.
    private static let late = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        SELECT 'late-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 200) AS n
        """

    private static func database() async throws -> SessionsDatabase {
        let server = try await PostgresServer(
            binaries: PostgresServer.packaged().binaries, settings: ["autovacuum = off", "deadlock_timeout = 60s"])
        let database = try await SessionsDatabase(on: server)
        try await database.run(
            """
            CREATE TABLE other (n int);
            CREATE INDEX ON mcp_sessions (expires_at);
            \(Gate.sql(at: "due-\(rows / 2)"))
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, \(rows)) AS n;
            """)
        return database
    }

    /// The number of index scans of the sessions table, once the processes that made them have reported them.
    private static func indexScans(_ database: SessionsDatabase) async throws -> Int {
        try await eventually("the other connections have ended") {
            try await database.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") == "1"
        }
        let sum = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'mcp_sessions'"
        return try #require(Int(try await database.value(sum) ?? ""))
    }

    /// Rows that a cascade deletes with the sessions change nothing.
    @Test(arguments: [false, true])
    func withoutAnotherWriterNothingIsLookedForAgain(withChildren: Bool) async throws {
        let database = try await Self.database()
        if withChildren {
            try await database.run(
                """
                CREATE TABLE child (session_id TEXT PRIMARY KEY REFERENCES mcp_sessions (session_id) ON DELETE CASCADE);
                INSERT INTO child SELECT session_id FROM mcp_sessions LIMIT 100;
                """)
        }
        let before = try await Self.indexScans(database)
        let progress = try await database.delete(.transientSessions, at: .hostNow, limits: Self.patient)
        #expect(progress.rowsDeleted == Self.rows)
        // The two scans are the first search, and the search for the oldest row.
        #expect(try await Self.indexScans(database) - before == 2)
        #expect(try await database.count() == 0)
    }

    /// A trigger of the application inserts due rows within a batch, behind the walk: on the sessions, on a table whose
    /// rows a deletion cascades to or sets to NULL, or on a table to which that one cascades. So does a rule.
    @Test(
        .slow,
        arguments: [
            "CREATE TRIGGER bring AFTER DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION bring()",
            "CREATE TRIGGER bring AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION bring()",
            "CREATE TRIGGER bring AFTER DELETE ON grandchild FOR EACH ROW EXECUTE FUNCTION bring()",
            "CREATE TRIGGER bring AFTER UPDATE ON forgetful FOR EACH ROW EXECUTE FUNCTION bring()",
            "CREATE RULE bring AS ON DELETE TO child DO ALSO \(late)",
        ])
    func whereATriggerMayBringRowsEverythingIsLookedForAgain(sql: String) async throws {
        let database = try await Self.database()
        try await database.run(
            """
            CREATE TABLE child (session_id TEXT PRIMARY KEY REFERENCES mcp_sessions (session_id) ON DELETE CASCADE);
            \(sql.contains("grandchild")
                ? "CREATE TABLE grandchild (session_id TEXT PRIMARY KEY REFERENCES child ON DELETE CASCADE)" : "");
            \(sql.contains("forgetful")
                ? "CREATE TABLE forgetful (session_id TEXT REFERENCES mcp_sessions (session_id) ON DELETE SET NULL)" : "");
            INSERT INTO child VALUES ('due-\(Self.rows / 2)');
            \(sql.contains("grandchild") ? "INSERT INTO grandchild SELECT * FROM child" : "");
            \(sql.contains("forgetful") ? "INSERT INTO forgetful SELECT * FROM child" : "");
            CREATE FUNCTION bring() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                IF OLD.session_id = 'due-\(Self.rows / 2)' THEN \(Self.late); END IF;
                RETURN NULL;
            END $$;
            \(sql);
            """)
        let progress = try await database.delete(.transientSessions, at: .hostNow)
        #expect(progress.rowsDeleted >= Self.rows + 200)
        #expect(try await database.count() == 0)
    }

    /// Writes to a table of another access method may take no transaction number.
    @Test(.slow) func aTableOfAnotherAccessMethodIsLookedThroughAgain() async throws {
        let database = try await Self.database()
        try await database.run(
            """
            CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
            ALTER TABLE mcp_sessions SET ACCESS METHOD heap_too;
            """)
        let before = try await Self.indexScans(database)
        #expect(try await database.delete(.transientSessions, at: .hostNow).rowsDeleted == Self.rows)
        #expect(try await Self.indexScans(database) - before == 3)
    }

    /// Another transaction took its number before the walk, and may still write. Its number is the last one, or is not.
    @Test(arguments: [true, false])
    func whereAnotherTransactionIsUnderWayEverythingIsLookedForAgain(isLast: Bool) async throws {
        let database = try await Self.database()
        let other = try await OtherTransaction(in: database, "INSERT INTO other VALUES (1)")
        if !isLast { try await database.run("INSERT INTO other VALUES (2)") }
        #expect(try await database.delete(.transientSessions, at: .hostNow).rowsDeleted == Self.rows)
        try await other.commit()
        #expect(try await Self.indexScans(database) == 3)
    }

    @Test func rowsThatComeBehindTheWalkAreDeletedToo() async throws {
        let database = try await Self.database()
        async let deleted = database.delete(Gate.job, at: .hostNow, limits: Self.patient)
        try await Gate.wait(in: database)
        try await database.run(Self.late)
        try await Gate.open(in: database)
        #expect(try await deleted.rowsDeleted == Self.rows + 200)
        #expect(try await database.count() == 0)
    }
}
