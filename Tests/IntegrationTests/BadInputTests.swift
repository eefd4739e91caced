import Foundation
import SessionCleanup
import TestServers
import Testing

/// Each bad input ends with its exit code and says what is wrong, where, and what to do. Nothing is deleted.
@Suite(.inTurn) struct BadInputTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var generation: SchemaGeneration? = .active
        var setUp = ""
        var arguments = ["--once"]
        var environment: [String: String] = [:]
        let status: Int32
        /// Texts that standard error has to contain.
        let words: [String]

        init(
            _ description: String, _ generation: SchemaGeneration? = .active, _ setUp: String = "",
            arguments: [String] = ["--once"], environment: [String: String] = [:], status: Int32, _ words: String...
        ) {
            testDescription = description
            self.generation = generation
            self.setUp = setUp
            self.arguments = arguments
            self.environment = environment
            self.status = status
            self.words = words
        }
    }

    private static func url(_ text: String) -> [String: String] { ["NEON_DATABASE_URL": text] }

    static let urls: [Case] = [
        Case(
            "no URL", environment: url(""), status: 78, "--database-url-file", "database-url", "NEON_DATABASE_URL",
            "MCP_TS_STORAGE_TYPE=neon", "None of them is set"),
        Case(
            "a generic URL alone", environment: ["NEON_DATABASE_URL": "", "DATABASE_URL": "postgresql://u@h/d"],
            status: 78,
            "DATABASE_URL is set", "another application's"),
        Case(
            "another database's URL", environment: url("mysql://u:canary@h/d"), status: 78, "NEON_DATABASE_URL",
            "postgresql://"),
        Case(
            "a malformed URL", environment: url("postgresql://u:canary@[::1/d"), status: 78, "NEON_DATABASE_URL",
            "malformed"),
        Case("a bad port", environment: url("postgresql://u:canary@h:70000/d"), status: 78, "port", "65535"),
        Case(
            "an unknown parameter", environment: url("postgresql://u:canary@h/d?sslmod=require"), status: 78,
            "malformed"),
        Case("a line break", environment: url("postgresql://u:canary@h\n/d"), status: 78, "line break"),
        Case("an @ in the password", environment: url("postgresql://u:can@ary@h/d"), status: 78, "%40"),
        Case(
            "an unknown host", environment: url("postgresql://u:canary@no-such-host.invalid/d"), status: 69,
            "no-such-host.invalid", "Check the host"),
        Case(
            "no server listens", environment: url("postgresql://u:canary@127.0.0.1:1/d"), status: 69, "127.0.0.1",
            "port 1",
            "Check that the server runs"),
        Case(
            "no socket", environment: url("postgresql://u:canary@/d?host=/nowhere"), status: 69, "/nowhere"),
        Case(
            "a URL file that is missing", arguments: ["--once", "--database-url-file", "/nowhere/url"], status: 78,
            "/nowhere/url", "No such file"),
    ]

    private static let insert = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        VALUES ('due', 'u', 'x', 'sse', 'x', now() - interval '1 hour');
        """

    static let tables: [Case] = [
        Case("no table", nil, status: 78, "public.mcp_sessions does not exist", "migrate --sessions", "database.table"),
        Case(
            "no such table", environment: ["MCP_CLEANUP_DATABASE_TABLE": "app.Sessions"], status: 78,
            "app.sessions does not exist", "database.table"),
        Case(
            "neither active nor status", .active, insert + "ALTER TABLE mcp_sessions RENAME active TO enabled;",
            status: 78,
            "neither of the columns active and status", "database.session-schema"),
        Case(
            "both active and status", .active, insert + "ALTER TABLE mcp_sessions ADD status TEXT;", status: 78,
            "both of the columns active and status", "database.session-schema"),
        Case(
            "the other generation asked for", .active, insert,
            environment: ["MCP_CLEANUP_DATABASE_SESSION_SCHEMA": "status"],
            status: 78, "has no column status"),
        Case(
            "no such generation", environment: ["MCP_CLEANUP_DATABASE_SESSION_SCHEMA": "both"], status: 78,
            "MCP_CLEANUP_DATABASE_SESSION_SCHEMA", "database.session-schema", "auto, active, status"),
        Case(
            "times without a zone", .active, insert + "ALTER TABLE mcp_sessions ALTER expires_at TYPE timestamp;",
            status: 78,
            "expires_at", "timestamp without time zone", "AT TIME ZONE"),
        Case(
            "a day instead of a time", .active, insert + "ALTER TABLE mcp_sessions ALTER updated_at TYPE date;",
            status: 78,
            "updated_at", "date"),
        Case(
            "active is text", .active,
            insert + "ALTER TABLE mcp_sessions ALTER active DROP DEFAULT, ALTER active TYPE text;",
            status: 78, "active", "boolean"),
        Case(
            "no expires_at", .active, insert + "ALTER TABLE mcp_sessions RENAME expires_at TO until;", status: 78,
            "has no column expires_at"),
        Case(
            "a view", .active, insert + "CREATE VIEW v AS TABLE mcp_sessions;",
            environment: ["MCP_CLEANUP_DATABASE_TABLE": "public.v"], status: 78, "public.v is not a table"),
        Case(
            "a materialized view", .active, insert + "CREATE MATERIALIZED VIEW v AS TABLE mcp_sessions;",
            environment: ["MCP_CLEANUP_DATABASE_TABLE": "public.v"], status: 78, "public.v is not a table"),
        Case(
            "a foreign table", .active,
            insert + """
                CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
                CREATE FOREIGN TABLE f (active boolean, expires_at timestamptz, updated_at timestamptz) SERVER nowhere;
                """, environment: ["MCP_CLEANUP_DATABASE_TABLE": "public.f"], status: 78, "public.f is not a table"),
        Case(
            "a rule instead of the deletion", .active,
            insert + "CREATE RULE keep AS ON DELETE TO mcp_sessions DO INSTEAD NOTHING;", status: 78, "mcp_sessions",
            "rule"),
        Case(
            "a name without schema", environment: ["MCP_CLEANUP_DATABASE_TABLE": "mcp_sessions"], status: 78,
            "database.table", "schema"),
        Case(
            "a name that is more", .active, insert,
            environment: ["MCP_CLEANUP_DATABASE_TABLE": "public.mcp_sessions; DROP TABLE mcp_sessions"], status: 78,
            "database.table", "double quotes"),
    ]

    static let settings: [Case] = [
        Case(
            "no batch", environment: ["MCP_CLEANUP_BATCH_MAX_ROWS": "0"], status: 78, "MCP_CLEANUP_BATCH_MAX_ROWS",
            "“0”", "1"),
        Case(
            "a bare number", environment: ["MCP_CLEANUP_DATABASE_CONNECT_TIMEOUT": "15"], status: 78,
            "database.connect-timeout", "15s"),
        Case(
            "a deadline that cannot be kept",
            environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_DEADLINE": "500ms"], status: 78, "from 1s"),
    ]

    static let usage: [Case] = [
        ["--once", "--job", "nonsense"], ["--once", "check"], ["--once", "sessions", "--user", "u"],
        ["--once", "migrate", "--sessions"],
        ["--dry-run"], ["--job", "dormant"], ["--json"], ["--once", "--frobnicate"], ["frobnicate"],
        ["--once", "--log-level", "loud"], ["--once", "--log-format", "xml"], ["sessions"],
        ["sessions", "--user", "u", "--job", "dormant"], ["sessions", "--user", "u", "--dry-run"],
        ["migrate", "--sessions", "--json"], ["--once", "--database-url", "postgresql://u:canary@h/d"],
        ["--once", "--job"],
    ].map { Case($0.joined(separator: " "), .active, insert, arguments: $0, status: 64, "error:") }

    @Test(arguments: urls + tables + settings + usage)
    func endsWithItsCodeAndSaysWhatToDo(test: Case) async throws {
        let database = try await SessionsDatabase(on: .packaged(), test.generation)
        if !test.setUp.isEmpty { try await database.run(test.setUp) }
        let result = try await database.daemon(test.arguments, environment: test.environment)
        #expect(result.status == test.status, "\(result)")
        for word in test.words { #expect(result.error.contains(word), "\(result.error)") }
        #expect(!(result.output + result.error).contains("canary"), "\(result)")
        if test.setUp.hasPrefix(Self.insert) { #expect(try await database.count() == 1) }
    }

    @Test func aWrongPasswordIsRefusedAndNotRepeated() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        let url = database.server.secureURL(database.name, user: role, password: "canary")
        let result = try await database.daemon(
            ["--once", "--json", "--log-level", "trace"], url: url,
            environment: ["SSL_CERT_FILE": database.server.authority])
        #expect(result.status == 77, "\(result)")
        #expect(result.error.contains("password authentication failed"))
        #expect(result.error.contains("Check the role and the password"))
        #expect(result.output.contains(#""sqlstate":"28P01""#))
        #expect(!(result.output + result.error).contains("canary"))
    }

    @Test(arguments: [
        ("no_such_database", "postgres", Int32(78), "database's name"), (nil, "no_such_role", 77, "role"),
    ])
    func aNameThatTheServerDoesNotKnowIsRefused(name: String?, role: String, status: Int32, word: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let result = try await database.daemon(["--once"], url: database.server.url(name ?? database.name, user: role))
        #expect(result.status == status, "\(result)")
        #expect(result.error.contains(word), "\(result.error)")
    }

    @Test func bothColumnsWorkOnceTheGenerationIsSaid() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.insert + "ALTER TABLE mcp_sessions ADD status TEXT DEFAULT 'active';")
        let kept = try await database.daemon(["--once"], environment: ["MCP_CLEANUP_DATABASE_SESSION_SCHEMA": "status"])
        #expect(kept.status == 0)
        #expect(try await database.count() == 1)
        let deleted = try await database.daemon(
            ["--once"], environment: ["MCP_CLEANUP_DATABASE_SESSION_SCHEMA": "active"])
        #expect(deleted.status == 0)
        #expect(try await database.count() == 0)
    }

    /// No setting of a database or a role changes what is deleted.
    @Test(
        .slow,
        arguments: [
            "default_transaction_read_only = on", "default_transaction_isolation = 'repeatable read'",
            "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
            "DateStyle = 'SQL, DMY'",
            "DateStyle = 'German'", "TimeZone = 'America/New_York'", "IntervalStyle = 'sql_standard'",
            "standard_conforming_strings = off", "search_path = ''", "enable_tidscan = off", "statement_timeout = '1h'",
            "plan_cache_mode = force_generic_plan", "bytea_output = escape", "client_encoding = LATIN1",
            "lock_timeout = 1",
            "extra_float_digits = -15", "backslash_quote = off", "idle_in_transaction_session_timeout = '1h'",
            "transform_null_equals = on", "enable_seqscan = off",
        ])
    func aSettingOfTheRoleChangesNothing(setting: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let role = try await database.makeServiceRole()
        try await database.run("ALTER ROLE \(role) SET \(setting)")
        let url = database.server.url(database.name, user: role)
        let preview = try await database.daemon(["--once", "--dry-run", "--json"], url: url)
        #expect(preview.status == 0, "\(preview.error)")
        #expect(
            preview.output.matches(of: /"due_rows":2,"oldest_due_at":"\d{4}-\d\d-\d\dT[0-9:.]+Z"/).count == 2,
            "\(preview.output)")
        let result = try await database.daemon(["--once"], url: url)
        #expect(result.status == 0, "\(result.error)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
        let listing = try await database.daemon(["sessions", "--user", "x", "--json"], url: url)
        #expect(listing.output.matches(of: /"kept_until":"\d{4}-\d\d-\d\dT[0-9:.]+Z"/).count == 1, "\(listing)")
    }

    @Test(arguments: [
        #"app."select""#, #""My; Schema"."x""y'; DROP TABLE public.mcp_sessions; --""#, #""App"."Sessions""#,
        #""\a"."%s $1""#,
        "app.SESSIONS", #"app."Sitzungen µ""#,
    ])
    func aTableOfAnyNameIsItself(text: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let name = try TableName(parsing: text)
        try await database.run(PrivilegeTests.population)
        let schema = name.quoted.components(separatedBy: "\".\"")[0] + "\""
        try await database.run(
            "CREATE SCHEMA \(schema); CREATE TABLE \(name.quoted) (LIKE mcp_sessions INCLUDING ALL); INSERT INTO \(name.quoted) TABLE mcp_sessions;"
        )
        let environment = ["MCP_CLEANUP_DATABASE_TABLE": text]
        let preview = try await database.daemon(["--once", "--dry-run"], environment: environment)
        #expect(preview.status == 0, "\(preview.error)")
        let listing = try await database.daemon(["sessions", "--user", "x"], environment: environment)
        #expect(listing.lines.count == 4, "\(listing.error)")
        let result = try await database.daemon(["--once"], environment: environment)
        #expect(result.status == 0, "\(result.error)")
        #expect(try await database.sessions(in: name.quoted) == ["live-1", "live-2"])
        #expect(try await database.count() == 6)
    }
}
