import Foundation
import Postgres
import SessionCleanup
import TestServers
import Testing

/// `check`: what a run relies on, on real servers, as the least-privilege role.
@Suite(.inTurn) struct CheckTests {
    /// A line of `check --json`.
    private struct Line: Decodable, Equatable {
        let check: String
        let status: String
        let message: String
        let hint: String?
    }

    private static func lines(_ result: CommandResult) throws -> [Line] {
        try result.lines.map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
    }

    private static let all = [
        "connection", "transport", "server", "pooler", "clock", "lock-timeout", "search-path", "table",
        "privilege-schema", "privilege-select", "privilege-update", "privilege-delete", "row-security", "delete-rule",
        "replica-identity", "foreign-keys", "triggers", "role", "search", "search", "indexes", "history", "stale-run",
        "pg-cron",
    ]

    /// A database in which every check passes, and the role that runs the daemon.
    private static func database(
        _ generation: SchemaGeneration = .active, on server: PostgresServer? = nil
    ) async throws -> (SessionsDatabase, String) {
        let server = if let server { server } else { try await PostgresServer.packaged() }
        let database = try await SessionsDatabase(on: server, generation)
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await database.run("CREATE ROLE \(role) LOGIN PASSWORD 'correct-horse-battery'")
        let result = try await database.daemon(["migrate", "--indexes", "--role", role])
        guard result.status == 0 else { throw TestServerError(result.error) }
        return (database, role)
    }

    @Test(arguments: SchemaGeneration.allCases)
    func allIsWellForARoleThatHasWhatItNeeds(generation: SchemaGeneration) async throws {
        try await Self.expectAllIsWell(in: try await Self.database(generation), generation)
    }

    @Test(.enabled(if: hasNewest, "the newest PostgreSQL is not installed; scripts/install-tools check fetches it"))
    func allIsWellOnTheNewestServer() async throws {
        let server = try #require(try await PostgresServer.newest())
        try await Self.expectAllIsWell(in: try await Self.database(on: server), .active)
    }

    private static var hasNewest: Bool {
        let path = ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_NEWEST_POSTGRES"]
        return path.map { FileManager.default.isExecutableFile(atPath: $0 + "/postgres") } ?? false
    }

    private static func expectAllIsWell(
        in place: (SessionsDatabase, String), _ generation: SchemaGeneration
    ) async throws {
        let (database, role) = place
        let url = database.server.url(database.name, user: role)
        let result = try await database.daemon(["check", "--json"], url: url)
        #expect(result.status == 0, "\(result)")
        #expect(result.error.isEmpty, "\(result.error)")
        let lines = try Self.lines(result)
        #expect(lines.map(\.check) == Self.all)
        for line in lines { #expect(line.status == "ok" && line.hint == nil, "\(line)") }
        #expect(lines[1].message == "a Unix socket")
        #expect(lines[2].message.hasPrefix("PostgreSQL \(database.server.majorVersion)."))
        #expect(lines[3].message.hasPrefix("none"))
        #expect(lines[7].message.contains("generation \(generation.rawValue)"))
        #expect(result.lines[0].hasPrefix(#"{"check":"connection","status":"ok","message":"#))
        let text = try await database.daemon(["--log-level", "trace", "check"], url: url)
        // A message that does not fit into its line continues on indented lines.
        let results = text.lines.filter { !$0.hasPrefix(" ") }.dropFirst()
        #expect(text.lines.first?.hasPrefix("STATUS  CHECK ") ?? false && results.count == Self.all.count)
        #expect(results.allSatisfy { $0.hasPrefix("ok  ") }, "\(text.output)")
        #expect(text.lines.allSatisfy { $0.count <= 80 }, "\(text.output)")
        // Nothing was changed, and nothing was left behind.
        #expect(try await database.value("SELECT count(*) FROM mcp_cleanup.runs") == "0")
    }

    @Test func theTransportIsAsNegotiatedAndNoSecretIsTold() async throws {
        let (database, role) = try await Self.database()
        let url = database.server.secureURL(database.name, user: role, password: "correct-horse-battery")
        let result = try await database.daemon(
            ["check", "--json", "--log-level", "trace"], url: url,
            environment: ["SSL_CERT_FILE": database.server.authority])
        #expect(result.status == 0, "\(result)")
        let transport = try #require(Self.lines(result).first { $0.check == "transport" })
        #expect(transport.message.contains(/^TLSv1\.[23], [A-Z0-9_-]+$/), "\(transport)")
        #expect(!(result.output + result.error).contains("correct-horse-battery"))
    }

    @Test func aPoolerIsSeenAndAllIsWellThroughIt() async throws {
        let (database, _) = try await Self.database()
        let pooler = try await PgBouncer(for: database.server)
        defer { withExtendedLifetime(pooler) {} }
        let url = pooler.url(database.name)
        let result = try await database.daemon(["check", "--json"], url: url)
        #expect(result.status == 0, "\(result)")
        let lines = try Self.lines(result)
        #expect(lines.map(\.check) == Self.all)
        #expect(lines[3].message.hasPrefix("a pooler"), "\(lines[3])")
    }

    /// Faults: SQL with `@role`, the check that reports it, its status, words of its hint, and the exit code.
    @Test(arguments: [
        ("REVOKE USAGE ON SCHEMA public FROM PUBLIC, @role", "privilege-schema", "fail", "GRANT USAGE ON SCHEMA", 77),
        ("REVOKE SELECT ON mcp_sessions FROM @role", "privilege-select", "fail", "GRANT SELECT ON", 77),
        ("REVOKE UPDATE ON mcp_sessions FROM @role", "privilege-update", "fail", "GRANT UPDATE ON", 77),
        ("REVOKE DELETE ON mcp_sessions FROM @role", "privilege-delete", "fail", "GRANT DELETE ON", 77),
        ("ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY", "row-security", "fail", "CREATE POLICY", 77),
        ("ALTER TABLE mcp_sessions RENAME TO gone", "table", "fail", "database.table", 78),
        ("ALTER TABLE mcp_sessions ALTER expires_at TYPE timestamp", "table", "fail", "ALTER COLUMN expires_at", 78),
        ("ALTER TABLE mcp_sessions ADD status text", "table", "fail", "database.session-schema", 78),
        ("DROP TABLE mcp_cleanup.runs", "history", "warn", "migrate", 0),
        ("REVOKE INSERT ON mcp_cleanup.runs FROM @role", "history", "fail", "GRANT INSERT ON", 77),
        ("ALTER TABLE mcp_cleanup.runs DROP cutoff", "history", "fail", "migrate", 78),
        ("ALTER TABLE mcp_cleanup.runs ENABLE ROW LEVEL SECURITY", "history", "fail", "DISABLE ROW", 77),
        (
            """
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
            VALUES ('j', now(), 'once', 'host:1:x', 1, 'running', now(), now() - interval '61 seconds', now())
            """, "stale-run", "warn", "next run", 0
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_mcp_sessions_cleanup_dormant'::regclass",
            "indexes", "warn", "migrate --indexes", 0
        ),
        ("DROP INDEX idx_mcp_sessions_cleanup_dormant", "indexes", "ok", "", 0),
    ])
    func whatIsWrongIsSaidWithWhatToDo(
        sql: String, check: String, status: String, hint: String, code: Int32
    ) async throws {
        let (database, role) = try await Self.database()
        try await database.run(sql.replacingOccurrences(of: "@role", with: role))
        let url = database.server.url(database.name, user: role)
        let result = try await database.daemon(["check", "--json"], url: url)
        #expect(result.status == code, "\(result)")
        let lines = try Self.lines(result)
        let line = try #require(lines.first { $0.check == check })
        #expect(line.status == status, "\(line)")
        #expect(hint.isEmpty || line.hint?.contains(hint) == true, "\(line)")
        // The fault changes no other check's result.
        for other in lines where other.check != check { #expect(other.status == "ok", "\(other)") }
        let text = try await database.daemon(["check"], url: url)
        #expect(text.status == code)
        #expect(hint.isEmpty || text.output.contains("hint: "), "\(text.output)")
        // And a run agrees.
        #expect(try await database.daemon(["--once"], url: url).status == code)
    }

    @Test func allThatIsWrongIsSaidAtOnceAndTheGravestIsTheExitCode() async throws {
        let (database, role) = try await Self.database()
        try await database.run(
            """
            REVOKE UPDATE, DELETE ON mcp_sessions FROM \(role); ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY;
            ALTER TABLE mcp_cleanup.runs DROP COLUMN cutoff;
            """)
        let result = try await database.daemon(
            ["check", "--json"], url: database.server.url(database.name, user: role))
        #expect(result.status == 78, "\(result)")
        let failed = try Self.lines(result).filter { $0.status == "fail" }.map(\.check)
        #expect(failed == ["privilege-update", "privilege-delete", "row-security", "history"])
    }

    @Test func requiredHistoryThatIsMissingFailsAndHistoryThatIsOffDoesNotMatter() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        for (mode, status, code) in [("required", "fail", 78), ("off", "ok", 0), ("auto", "warn", 0)]
            as [(String, String, Int32)]
        {
            let result = try await database.daemon(
                ["check", "--json"], environment: ["MCP_CLEANUP_HISTORY_MODE": mode])
            #expect(result.status == code, "\(mode): \(result)")
            #expect(try Self.lines(result).first { $0.check == "history" }?.status == status)
        }
    }

    @Test func aLargeTableWithoutIndexesIsWorthAWarning() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            DROP INDEX idx_mcp_sessions_expires_at;
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
            SELECT n, 'u', 'x', 'sse', repeat('x', 1000), now(), true FROM generate_series(1, 9000) AS n;
            ANALYZE mcp_sessions;
            """)
        let before = try Self.lines(try await database.daemon(["check", "--json"]))
        for line in before where ["search", "indexes"].contains(line.check) {
            #expect(line.status == "warn" && line.hint?.contains("migrate --indexes") == true, "\(line)")
        }
        #expect(before.contains { $0.message.contains("Seq Scan, which reads 10 MB") }, "\(before)")
        #expect(try await database.daemon(["migrate", "--indexes"]).status == 0)
        let after = try await database.daemon(["check", "--json"])
        #expect(after.output.contains("using idx_mcp_sessions_cleanup_transient"), "\(after)")
        #expect(try Self.lines(after).allSatisfy { $0.status == "ok" || $0.check == "role" }, "\(after)")
    }

    @Test func withoutAConnectionThatIsAllThereIsToSay() async throws {
        let nowhere = try Loopback.freePort()
        for (variables, code, words) in [
            (
                [
                    "NEON_DATABASE_URL":
                        "postgresql://u:secret-word@127.0.0.1:\(nowhere)/d?sslmode=verify-full&channel_binding=require"
                ], 69, "cannot connect"
            ),
            ([:], 78, "NEON_DATABASE_URL"), (["NEON_DATABASE_URL": "mysql://secret-word"], 78, "postgresql://"),
        ] as [([String: String], Int32, String)] {
            let result = try await Command.run(Command.daemon, ["check", "--json"], environment: variables)
            #expect(result.status == code, "\(result)")
            let lines = try Self.lines(result)
            #expect(lines.map(\.check) == ["connection"] && lines[0].status == "fail")
            #expect(lines[0].message.contains(words), "\(lines[0])")
            #expect(!(result.output + result.error).contains("secret-word"))
        }
    }

    @Test(.slow) func aStandbyFails() async throws {
        let primary = try await PostgresServer(
            binaries: PostgresServer.packaged().binaries, settings: ["max_wal_senders = 4"])
        let standby = try await PostgresServer(standbyOf: primary)
        let result = try await Command.run(
            Command.daemon, ["check", "--json"], environment: ["NEON_DATABASE_URL": standby.url("postgres")])
        #expect(result.status == 78, "\(result)")
        let lines = try Self.lines(result)
        #expect(lines.first { $0.check == "server" }?.message.contains("standby") == true)
        #expect(lines.first { $0.check == "table" }?.status == "fail")
    }

    /// Faults that a run would fail with or meet: SQL with `@role`, the check that reports it, its status, words of its
    /// message and of its hint, and the exit codes of `check` and of a run.
    @Test(
        .slow,
        arguments: [
            (
                "CREATE RULE r AS ON DELETE TO mcp_sessions DO ALSO NOTHING", "delete-rule", "fail", "a rule on",
                "pg_rules", 78, 78
            ),
            (
                "CREATE PUBLICATION p FOR TABLE mcp_sessions; ALTER TABLE mcp_sessions REPLICA IDENTITY NOTHING",
                "replica-identity", "fail", "publishes deletes", "REPLICA IDENTITY FULL", 78, 78
            ),
            (
                "CREATE PUBLICATION p FOR ALL TABLES; ALTER TABLE mcp_sessions DROP CONSTRAINT mcp_sessions_pkey",
                "replica-identity", "fail", "publishes deletes", "REPLICA IDENTITY FULL", 78, 78
            ),
            (
                "CREATE PUBLICATION p FOR TABLES IN SCHEMA public; ALTER TABLE mcp_sessions REPLICA IDENTITY NOTHING",
                "replica-identity", "fail", "publishes deletes", "REPLICA IDENTITY FULL", 78, 78
            ),
            (
                """
                CREATE PUBLICATION p FOR TABLE mcp_sessions WITH (publish = 'insert');
                ALTER TABLE mcp_sessions REPLICA IDENTITY NOTHING
                """, "replica-identity", "ok", "", "", 0, 0
            ),
            (
                "CREATE TABLE calls (id int PRIMARY KEY, session uuid UNIQUE REFERENCES mcp_sessions)", "foreign-keys",
                "warn",
                "calls_session_fkey of public.calls (session) keeps", "ON DELETE CASCADE", 0, 0
            ),
            (
                "CREATE TABLE calls (a int, session uuid REFERENCES mcp_sessions ON DELETE CASCADE); CREATE INDEX ON calls (a, session)",
                "foreign-keys", "warn", "calls_session_fkey of public.calls (session) has no index",
                #"CREATE INDEX CONCURRENTLY ON "public"."calls" ("session");"#, 0, 0
            ),
            (
                """
                CREATE TABLE calls (a int, session uuid REFERENCES mcp_sessions ON DELETE CASCADE);
                CREATE INDEX ON calls (session, a)
                """, "foreign-keys", "ok", "1 to public.mcp_sessions", "", 0, 0
            ),
            (
                trigger("BEFORE DELETE ON mcp_sessions FOR EACH ROW"), "triggers", "warn", "the trigger t on", "'t'", 0,
                0
            ),
            (
                trigger("AFTER DELETE ON mcp_sessions FOR EACH ROW"), "triggers", "warn", "after each deleted row",
                "'t'",
                0, 0
            ),
            (trigger("BEFORE DELETE ON mcp_sessions"), "triggers", "warn", "before each DELETE statement", "'t'", 0, 0),
            (trigger("AFTER UPDATE ON mcp_sessions"), "triggers", "ok", "none", "", 0, 0),
            ("ALTER ROLE @role SUPERUSER", "role", "warn", "is a superuser", "migrate --role", 0, 0),
            ("ALTER ROLE @role BYPASSRLS", "role", "warn", "has BYPASSRLS", "migrate --role", 0, 0),
            (
                "ALTER TABLE mcp_sessions OWNER TO @role", "role", "warn", "owns public.mcp_sessions", "migrate --role",
                0, 0
            ),
            (
                "GRANT CREATE ON SCHEMA public TO PUBLIC", "search-path", "warn", "in public, a schema of",
                #"REVOKE CREATE ON SCHEMA "public" FROM PUBLIC;"#, 0, 0
            ),
            (
                "CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO pg_monitor; GRANT USAGE ON SCHEMA app TO @role; ALTER ROLE @role SET search_path = app",
                "search-path", "warn", "in app, a schema of", #"REVOKE CREATE ON SCHEMA "app" FROM pg_monitor;"#, 0, 0
            ),
            ("CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO PUBLIC", "search-path", "ok", "public", "", 0, 0),
            ("ALTER ROLE @role SET row_security = off", "row-security", "ok", "not active", "", 0, 0),
            (
                """
                ALTER ROLE @role SET row_security = off; ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY;
                CREATE POLICY p ON mcp_sessions USING (true)
                """, "row-security", "fail", "row_security is off", "RESET row_security", 77, 77
            ),
        ])
    func whatARunWouldMeetIsSaidBeforeIt(
        sql: String, check: String, status: String, message: String, hint: String, code: Int32, runCode: Int32
    ) async throws {
        let (database, role) = try await Self.database()
        if sql.contains("TABLES IN SCHEMA"), database.server.majorVersion < 15 { return }
        // Some faults make the server refuse the batches of a run, which has none without a due row.
        try await database.run(PrivilegeTests.population)
        try await database.run(sql.replacingOccurrences(of: "@role", with: role))
        let url = database.server.url(database.name, user: role)
        let result = try await database.daemon(["check", "--json"], url: url)
        #expect(result.status == code, "\(result)")
        let found = try Self.lines(result).filter { $0.check == check }
        #expect(found.map(\.status) == [status], "\(found)")
        for line in found {
            #expect(message.isEmpty || line.message.contains(message), "\(line)")
            #expect((line.hint == nil) == (status == "ok"), "\(line)")
            #expect(hint.isEmpty || line.hint?.contains(hint) == true, "\(line)")
        }
        // A dry run is stopped by everything that stops a run, in the same way.
        for arguments in [["--once", "--dry-run"], ["--once"]] {
            let run = try await database.daemon(arguments, url: url)
            #expect(run.status == runCode, "\(arguments): \(run)")
            if runCode != 0 { #expect(run.error.contains(hint), "\(run.error)") }
        }
    }

    private static func trigger(_ clause: String) -> String {
        """
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
        CREATE TRIGGER t \(clause) EXECUTE FUNCTION f()
        """
    }

    @Test func theReplicaIdentityOfAPartitionCounts() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            ALTER TABLE mcp_sessions RENAME TO seed;
            CREATE TABLE mcp_sessions (LIKE seed INCLUDING DEFAULTS) PARTITION BY HASH (id);
            CREATE TABLE leaf PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 1, REMAINDER 0);
            CREATE PUBLICATION p FOR TABLE mcp_sessions;
            """)
        let check = try await database.daemon(["check", "--json"])
        let found = try Self.lines(check).first { $0.check == "replica-identity" }
        #expect(check.status == 78 && found?.status == "fail" && found?.message.contains("leaf") == true, "\(check)")
        #expect(try await database.daemon(["--once", "--dry-run"]).status == 78)
        try await database.run("ALTER TABLE leaf REPLICA IDENTITY FULL")
        #expect(try await database.daemon(["check"]).status == 0)
    }

    @Test func aLockLimitAboveHalfOfTheDeadlocksDetectionIsAWarning() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        // The default of batch.lock-timeout is 100 ms.
        for (detection, status) in [("200ms", "ok"), ("150ms", "warn")] {
            try await database.run("ALTER DATABASE \(database.name) SET deadlock_timeout = '\(detection)'")
            let result = try await database.daemon(["check", "--json"])
            let line = try Self.lines(result).first { $0.check == "lock-timeout" }
            #expect(result.status == 0 && line?.status == status, "\(result)")
            #expect(status == "ok" || line?.hint == "Set batch.lock-timeout to at most 0.075 s.", "\(result)")
        }
    }

    /// Limits of the role are for the application. Planning this condition takes longer than they allow.
    @Test func theRolesOwnLimitsDoNotMatter() async throws {
        let (database, role) = try await Self.database()
        try await database.run(
            """
            ALTER ROLE \(role) SET statement_timeout = '100ms'; ALTER ROLE \(role) SET quote_all_identifiers = on;
            ALTER ROLE \(role) SET default_transaction_read_only = on;
            CREATE TABLE slow (expires_at timestamptz); GRANT SELECT, UPDATE, DELETE ON slow TO \(role);
            CREATE FUNCTION slow() RETURNS timestamptz IMMUTABLE LANGUAGE plpgsql AS
            $$BEGIN PERFORM pg_sleep(0.3); RETURN 'infinity'; END$$;
            """)
        try await database.run(PrivilegeTests.population)
        let config = try TemporaryDirectory.make() + "/config.yaml"
        try "jobs: { slow: { table: public.slow, where: expires_at < $1 AND $1 < slow(), schedule: \"@daily\" } }"
            .write(
                toFile: config, atomically: true, encoding: .utf8)
        let url = database.server.url(database.name, user: role)
        let check = try await database.daemon(["check", "--json", "--config", config], url: url)
        #expect(check.status == 0, "\(check)")
        #expect(try Self.lines(check).allSatisfy { $0.status == "ok" }, "\(check)")
        let run = try await database.daemon(["--once", "--config", config], url: url)
        #expect(run.status == 0, "\(run)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
    }
}
