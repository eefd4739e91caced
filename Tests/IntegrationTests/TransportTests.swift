import Foundation
import Postgres
import SessionCleanup
import TestServers
import Testing

/// The ways to the database: a pooler with one connection, TLS with channel binding, the newest server.
@Suite(.inTurn) struct TransportTests {
    @Test func worksThroughAPoolerWithOneConnectionAndLeavesNoSettingBehind() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let pooler = try await PgBouncer(for: database.server)
        let url = pooler.url(database.name)
        let preview = try await database.daemon(["--once", "--dry-run"], url: url)
        #expect(preview.status == 0, "\(preview.error)")
        // Two runs at once take turns on the one connection, batch by batch.
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 500) AS n;
            """)
        let environment = ["MCP_CLEANUP_BATCH_MAX_ROWS": "10"]
        async let first = database.daemon(["--once", "--json"], url: url, environment: environment)
        async let second = database.daemon(["--once", "--json"], url: url, environment: environment)
        var deleted = 0
        for result in try await [first, second] {
            #expect(result.status == 0, "\(result.error)")
            for match in result.output.matches(of: /"rows_deleted":(\d+)/) { deleted += Int(match.1) ?? 0 }
        }
        #expect(deleted == 504)
        #expect(try await database.sessions() == ["live-1", "live-2"])
        let connection = try await Connection.open(
            DatabaseURL(url), deadline: .now + .seconds(10), environment: [:], onNotice: { _ in })
        let settings = try await connection.script(
            """
            SELECT current_setting('statement_timeout') || current_setting('lock_timeout')
                || current_setting('idle_in_transaction_session_timeout') || current_setting('transaction_isolation') AS all
            """, deadline: .now + .seconds(10))
        #expect(try settings[0].onlyRow().text("all") == "000read committed")
        await connection.close()
    }

    @Test func worksOverVerifiedTLSWithChannelBinding() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let role = try await database.makeServiceRole()
        let url = database.server.secureURL(database.name, user: role, password: "correct-horse-battery")
        let stranger = try await database.daemon(["--once"], url: url)
        #expect(stranger.status == 69, "\(stranger)")
        #expect(stranger.error.contains("certificate"), "\(stranger.error)")
        #expect(stranger.error.contains("sslrootcert"), "\(stranger.error)")
        let result = try await database.daemon(
            ["--once"], url: url, environment: ["SSL_CERT_FILE": database.server.authority])
        #expect(result.status == 0, "\(result.error)")
        #expect(result.error.isEmpty, "\(result.error)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
    }

    private static var hasNewest: Bool {
        ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_NEWEST_POSTGRES"] != nil
    }

    @Test(
        .enabled(if: hasNewest, "MCP_CLEANUPD_TEST_NEWEST_POSTGRES names no directory with the newest server"),
        arguments: [false, true])
    func worksOnTheNewestServer(isPartitioned: Bool) async throws {
        let server = try #require(try await PostgresServer.newest())
        let database = try await SessionsDatabase(on: server)
        if isPartitioned {
            try await database.run(
                """
                ALTER TABLE mcp_sessions RENAME TO seed;
                CREATE TABLE mcp_sessions (LIKE seed INCLUDING DEFAULTS) PARTITION BY HASH (id);
                CREATE TABLE one PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 2, REMAINDER 0);
                CREATE TABLE two PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 2, REMAINDER 1);
                """)
        }
        try await database.run(PrivilegeTests.population)
        let role = try await database.makeServiceRole()
        try await database.run("ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY")
        let url = server.url(database.name, user: role)
        #expect(try await database.daemon(["--once"], url: url).status == 77)
        try await database.run("CREATE POLICY p ON mcp_sessions USING (true)")
        let holder = try await OtherTransaction(
            in: database, "SELECT FROM mcp_sessions WHERE session_id = 'dormant-2' FOR KEY SHARE")
        let preview = try await database.daemon(["--once", "--dry-run", "--json"], url: url)
        #expect(preview.output.matches(of: /"due_rows":2,/).count == 2, "\(preview)")
        let result = try await database.daemon(["--once", "--json"], url: url)
        #expect(result.status == 0, "\(result.error)")
        #expect(result.output.contains(#""rows_deleted":1,"rows_skipped":1,"#), "\(result.output)")
        #expect(try await database.sessions() == ["dormant-2", "live-1", "live-2"])
        try await holder.rollBack()
        #expect(try await database.daemon(["sessions", "--user", "y", "--json"], url: url).lines.count == 2)
    }

    /// PostgreSQL 17 ends the connection at `transaction_timeout`, and 18 has foreign keys that are not enforced.
    @Test(
        .slow, .enabled(if: hasNewest, "MCP_CLEANUPD_TEST_NEWEST_POSTGRES names no directory with the newest server"))
    func heedsWhatOnlyTheNewestServersHave() async throws {
        let server = try #require(try await PostgresServer.newest())
        let database = try await SessionsDatabase(on: server)
        let owner = "owner_of_\(database.name)"
        try await database.run(
            """
            CREATE TABLE child (session uuid REFERENCES mcp_sessions NOT ENFORCED);
            CREATE ROLE \(owner) LOGIN SUPERUSER; ALTER ROLE \(owner) SET transaction_timeout = '200ms';
            """)
        let older = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN ROW EXCLUSIVE MODE")
        let command = try RunningCommand(["migrate", "--indexes"], url: server.url(database.name, user: owner))
        let building =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX%'"
        try await eventually("an index is built for longer than the timeout") {
            try await database.value(building + " AND query_start < now() - interval '400 ms'") == "1"
        }
        try await older.rollBack()
        let result = await command.end()
        #expect(result.status == 0, "\(result)")
        let check = try await database.daemon(["check", "--json"])
        let keys = try #require(check.lines.first { $0.contains(#""check":"foreign-keys""#) })
        #expect(keys.contains(#""status":"ok""#), "\(keys)")
    }
}
