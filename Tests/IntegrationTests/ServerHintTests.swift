import Foundation
import Glibc
import TestServers
import Testing

/// The likeliest mistakes that a server, a pooler or a network answers: what was done, what is printed, the exit code.
/// Mistakes that need none of the three are in `HintTests`.
@Suite(.inTurn) struct ServerHintTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let status: Int32
        /// Without the job's name; “…” stands for any text.
        let message: String
        let hint: String
        let url: @Sendable (Place) throws -> String
        var setUp = ""
        var environment: [String: String] = [:]
        /// Commands for the pooler's console, before and after the run.
        var console: (before: String, after: String)?

        init(
            _ description: String, status: Int32, _ message: String, hint: String, setUp: String = "",
            environment: [String: String] = [:], console: (before: String, after: String)? = nil,
            url: @escaping @Sendable (Place) throws -> String
        ) {
            testDescription = description
            self.status = status
            self.message = message
            self.hint = hint
            self.setUp = setUp
            self.environment = environment
            self.console = console
            self.url = url
        }
    }

    /// Things to make a mistake with: a database, a role that may do all but what the mistake takes away, and a pooler.
    struct Place: Sendable {
        let database: SessionsDatabase
        let role: String
        let pooler: PgBouncer
        let silence: Listener
        let sleeper: Listener

        /// A URL of the server over TCP.
        func server(_ user: String? = nil, _ database: String? = nil, _ query: String = "sslmode=require") -> String {
            "postgresql://\(user ?? role + ":correct-horse-battery")@127.0.0.1:\(self.database.server.port)/"
                + "\(database ?? self.database.name)?passfile=/nowhere&\(query)"
        }

        func pooled(_ user: String = "app:canary-right", _ database: String = "all", _ query: String = "") -> String {
            "postgresql://\(user)@127.0.0.1:\(pooler.port)/\(database)?passfile=/nowhere\(query)"
        }
    }

    private static let login = "Check the role and the password in the database URL, and the server's pg_hba.conf."
    private static let poolerLogin =
        "Check the role and the password in the database URL, and the pooler's auth_file or auth_query."
    private static let busy =
        "The pooler has no connection to give: it is paused, its pools are full, or it cannot reach its server. SHOW POOLS in "
        + "its console, and its log, tell which."
    private static let noTable =
        "Check that the database URL names the application's database. In another schema, or under another name: set "
        + "database.table. mcp-cleanupd migrate --sessions, with an owner's URL, creates the table."
    private static let tls =
        "Check sslmode, sslrootcert and channel_binding in the database URL against the server's certificate."

    static let logins: [Mistake] = [
        Mistake(
            "a wrong password", status: 77,
            "the server refused the connection: password authentication failed for user \"ROLE\" (SQLSTATE 28P01)",
            hint: login
        ) { $0.server("\($0.role):canary") },
        Mistake(
            "no password", status: 77,
            "the server refused the connection: the server asks for a password, and the database URL has none (SQLSTATE 28P01)",
            hint: login
        ) { $0.server($0.role) },
        Mistake(
            "an unknown role", status: 77,
            "the server refused the connection: password authentication failed for user \"absent\" (SQLSTATE 28P01)",
            hint: login
        ) { $0.server("absent:canary") },
        Mistake(
            "no TLS where the server wants it", status: 77,
            "the server refused the connection: no pg_hba.conf entry for host \"127.0.0.1\", user \"ROLE\", database \"DATABASE\", "
                + "no encryption (SQLSTATE 28000)", hint: login
        ) { $0.server(nil, nil, "sslmode=disable") },
        Mistake(
            "a certificate of another authority", status: 69,
            "cannot connect: 127.0.0.1, port PORT: SSL error: certificate verify failed", hint: tls
        ) { $0.server(nil, nil, "sslmode=verify-full") },
        Mistake(
            "a wrong database", status: 78,
            "the server refused the connection: database \"absent\" does not exist (SQLSTATE 3D000)",
            hint: "Check the database's name in the database URL."
        ) { $0.server(nil, "absent") },
    ]

    static let objects: [Mistake] = [
        Mistake(
            "another application's database", status: 78, "the table public.mcp_sessions does not exist", hint: noTable,
            setUp: "DROP TABLE mcp_sessions"
        ) { $0.server() },
        Mistake(
            "another schema", status: 78, "the table public.mcp_sessions does not exist", hint: noTable,
            setUp: "CREATE SCHEMA app; ALTER TABLE mcp_sessions SET SCHEMA app"
        ) { $0.server() },
        Mistake(
            "a mistyped table", status: 78, "the table app.mcp_session does not exist",
            hint:
                "Check that the database URL names the right database, and database.table, or the job's own table, the table "
                + "with its schema.", environment: ["MCP_CLEANUP_DATABASE_TABLE": "app.mcp_session"]
        ) { $0.server() },
        Mistake(
            "a missing privilege", status: 77, "the role ROLE has no DELETE privilege on public.mcp_sessions",
            hint: "GRANT DELETE ON \"public\".\"mcp_sessions\" TO \"ROLE\";",
            setUp: "REVOKE DELETE ON mcp_sessions FROM ROLE"
        ) { $0.server() },
        Mistake(
            "no privilege on the schema", status: 77,
            "the role ROLE has no USAGE privilege on the schema of public.mcp_sessions",
            hint: "GRANT USAGE ON SCHEMA \"public\" TO \"ROLE\";",
            setUp: "REVOKE USAGE ON SCHEMA public FROM PUBLIC, ROLE"
        ) { $0.server() },
        Mistake(
            "row security", status: 77,
            "row security on public.mcp_sessions would hide sessions from the role ROLE: …",
            hint:
                "CREATE POLICY mcp_cleanupd ON \"public\".\"mcp_sessions\" FOR ALL TO \"ROLE\" USING (true); and let no "
                + "restrictive policy apply to the role.", setUp: "ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY"
        ) { $0.server() },
        Mistake(
            "a history without privileges", status: 77,
            "the role ROLE has no USAGE privilege on the schema mcp_cleanup, so its runs cannot be recorded",
            hint: "GRANT USAGE ON SCHEMA mcp_cleanup TO \"ROLE\";", setUp: "HISTORY"
        ) { $0.server() },
    ]

    static let pooled: [Mistake] = [
        Mistake(
            "the pooler's unknown database", status: 78,
            "the pooler refused the connection: no such database: absent (SQLSTATE 08P01)",
            hint:
                "Check the database's name in the database URL, and the section [databases] of the pooler's configuration."
        ) { $0.pooled("app:canary-right", "absent") },
        Mistake(
            "the server's unknown database behind the pooler", status: 78,
            "the pooler refused the connection: database \"nowhere\" does not exist (SQLSTATE 08P01)",
            hint:
                "Check the database's name in the database URL, and the section [databases] of the pooler's configuration."
        ) { $0.pooled("app:canary-right", "broken") },
        Mistake(
            "the pooler's unknown role", status: 77,
            "the pooler refused the connection: SASL authentication failed (SQLSTATE 08P01)", hint: poolerLogin
        ) { $0.pooled("absent:canary") },
        Mistake(
            "a wrong password at the pooler", status: 77,
            "the pooler refused the connection: SASL authentication failed (SQLSTATE 08P01)", hint: poolerLogin
        ) { $0.pooled("app:canary") },
        Mistake(
            "no password at the pooler", status: 77,
            "the server refused the connection: the server asks for a password, and the database URL has none (SQLSTATE 28P01)",
            hint: login
        ) { $0.pooled("app") },
        Mistake(
            "options at the pooler", status: 78,
            "the pooler refused the connection: unsupported startup parameter: options (SQLSTATE 08P01)",
            hint:
                "Leave this parameter out of the database URL and of the environment (PGOPTIONS), or name it in the pooler's "
                + "ignore_startup_parameters."
        ) { $0.pooled("app:canary-right", "all", "&options=-c%20geqo%3Doff") },
        Mistake(
            "statement pooling", status: 78,
            "the pooler ended the connection: transaction blocks not allowed in statement pooling mode (SQLSTATE 08P01)",
            hint: "Set the pooler's pool_mode to transaction or session for this database, or use the server's own URL."
        ) { $0.pooled("app:canary-right", "statements") },
        Mistake(
            "TLS that the pooler does not have", status: 69,
            "cannot connect: 127.0.0.1, port POOLER: server does not support SSL, but SSL was required", hint: tls
        ) { $0.pooled("app:canary-right", "all", "&sslmode=require") },
        Mistake(
            "a pooler whose server is away", status: 69,
            "the pooler refused the connection: query_wait_timeout (SQLSTATE 08P01)", hint: busy
        ) { $0.pooled("app:canary-right", "away") },
        Mistake(
            "a paused database", status: 69, "the pooler … the connection: query_wait_timeout (SQLSTATE 08P01)",
            hint: busy, console: ("PAUSE paused", "RESUME paused")
        ) { $0.pooled("app:canary-right", "paused") },
        Mistake(
            "a disabled database", status: 69,
            "the pooler refused the connection: database \"disabled\" is disabled (SQLSTATE 08P01)",
            hint: "An administrator has disabled it in the pooler; ENABLE in its console takes that back.",
            console: ("DISABLE disabled", "ENABLE disabled")
        ) { $0.pooled("app:canary-right", "disabled") },
    ]

    static let networks: [Mistake] = [
        Mistake(
            "a mistyped host", status: 69, "cannot connect: the host name db.exmaple.invalid has no address: …",
            hint:
                "Check the host in the database URL, and this host's name service. A paused project of a provider may have no "
                + "address."
        ) { _ in "postgresql://u:canary@db.exmaple.invalid/d" },
        Mistake(
            "a wrong port", status: 69, "cannot connect: 127.0.0.1, port 1: Connection refused",
            hint: "Check that the server runs and listens at that address and port."
        ) { _ in "postgresql://u:canary@127.0.0.1:1/d" },
        Mistake(
            "a database that sleeps", status: 69, "cannot connect: 127.0.0.1, port … did not answer within …",
            hint: "Check the network and firewalls in between. A database that sleeps may take longer to wake: "
                + "database.connect-timeout is the limit.",
            environment: ["MCP_CLEANUP_DATABASE_CONNECT_TIMEOUT": "500ms"]
        ) { "postgresql://u:canary@127.0.0.1:\($0.silence.port)/d?sslmode=disable" },
        Mistake(
            "a paused project", status: 69,
            "the server refused the connection: SQLSTATE XX000 (internal_error); the server's log has the message",
            hint:
                "A proxy of a serverless database may answer so while it cannot wake it. Look at the provider's console: the "
                + "project may be paused, or over its limits."
        ) { "postgresql://u:canary@127.0.0.1:\($0.sleeper.port)/d?sslmode=disable" },
        Mistake(
            "another program's port", status: 69,
            "cannot connect: 127.0.0.1, port …: …", hint: "Check that a PostgreSQL server is what listens there."
        ) { _ in "postgresql://u:canary@127.0.0.1:\(try httpPort.get())/d?sslmode=disable" },
    ]

    private static let http = Result { try Listener.saying(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)) }
    private static let httpPort = http.map(\.port)

    /// An error as a proxy sends it: an `ErrorResponse` of PostgreSQL's protocol.
    private static func refusal(_ state: String, _ text: String) -> [UInt8] {
        let fields = "SFATAL\0VFATAL\0C\(state)\0M\(text)\0\0"
        let length = UInt32(fields.utf8.count + 4)
        return [UInt8(ascii: "E")] + withUnsafeBytes(of: length.bigEndian, Array.init) + Array(fields.utf8)
    }

    private static let pooler = StartedOnce {
        let server = try await PostgresServer.packaged()
        try await server.query(
            """
            DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'canary-right'; EXCEPTION WHEN duplicate_object THEN NULL; END $$
            """)
        let place = "host=\(server.directory) port=\(server.port)"
        return try await PgBouncer(
            for: server,
            databases: [
                "all = \(place) dbname=postgres", "broken = \(place) dbname=nowhere",
                "away = host=127.0.0.1 port=1 dbname=postgres",
                "statements = \(place) dbname=postgres pool_mode=statement", "paused = \(place) dbname=postgres",
                "disabled = \(place) dbname=postgres",
            ], passwords: ["app": "canary-right", "postgres": "canary-admin"],
            settings: ["query_wait_timeout = 2", "server_login_retry = 1"])
    }

    @Test(.slow, arguments: logins + objects + pooled + networks)
    func isToldWithItsCodeAndWhatToDo(mistake: Mistake) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        let place = Place(
            database: database, role: role, pooler: try await Self.pooler.value, silence: try Listener.silent(),
            sleeper: try Listener.saying(Self.refusal("XX000", "canary: endpoint is disabled")))
        let setUp =
            mistake.setUp == "HISTORY"
            ? try SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs") : mistake.setUp
        if !setUp.isEmpty { try await database.run(setUp.replacing("ROLE", with: role)) }
        if let console = mistake.console { try await place.pooler.console(console.before, password: "canary-admin") }
        let result = try await database.daemon(
            ["--once", "--job", "transient"], url: mistake.url(place), environment: mistake.environment)
        if let console = mistake.console { try await place.pooler.console(console.after, password: "canary-admin") }
        let expected = "error: transient: \(mistake.message)\nhint: \(mistake.hint)\n"
            .replacing("ROLE", with: role).replacing("DATABASE", with: database.name)
            .replacing("PORT", with: "\(database.server.port)").replacing("POOLER", with: "\(place.pooler.port)")
        #expect(result.status == mistake.status, "\(result)")
        #expect(Self.matches(result.error, expected), "\(result.error) instead of \(expected)")
        #expect(!(result.output + result.error).contains("canary"), "\(result)")
    }

    /// In a network namespace of its own, since this machine may have IPv6.
    @Test(.enabled(if: geteuid() == 0, "needs root to make a network")) func anIPv6AddressWithoutARouteIsTold()
        async throws
    {
        let result = try await Command.run(
            "/usr/bin/unshare", ["--net", try Command.daemon, "--once", "--job", "transient"],
            environment: ["NEON_DATABASE_URL": "postgresql://u:canary@[2001:db8::1]/d"])
        #expect(result.status == 69, "\(result)")
        // The kernel has two error messages for it.
        let expected = """
            error: transient: cannot connect: 2001:db8::1: …
            hint: This host has no route to that address. If it is an IPv6 address, use a host with an IPv4 address, such as the \
            provider's pooler, or give this host (or its container) IPv6.

            """
        #expect(Self.matches(result.error, expected), "\(result.error)")
    }

    private static func matches(_ text: String, _ pattern: String) -> Bool {
        var rest = text[...]
        let parts = pattern.components(separatedBy: "…")
        for (index, part) in parts.enumerated() {
            if index == 0 {
                guard rest.hasPrefix(part) else { return false }
                rest = rest.dropFirst(part.count)
            } else if index == parts.count - 1 {
                return rest.hasSuffix(part)
            } else {
                guard let range = rest.range(of: part) else { return false }
                rest = rest[range.upperBound...]
            }
        }
        return rest.isEmpty
    }
}
