import Foundation
import Glibc
import Postgres
import SessionCleanup
import TestServers
import Testing

/// No other role's code runs as the daemon, with any objects that the role may create and with any search path.
@Suite(.serialized) struct ShadowTests {
    /// A server that logs every statement, with the role before each line.
    private static func server() async throws -> PostgresServer {
        var settings = ["log_statement = 'all'", "log_line_prefix = '%u|'", "log_min_error_statement = panic"]
        if MigrationTests.hasCron {
            settings += ["shared_preload_libraries = 'pg_cron'", "cron.database_name = 'postgres'"]
        }
        return try await PostgresServer(binaries: PostgresServer.packaged().binaries, settings: settings)
    }

    /// The names in the statements that the roles sent, and the shadows that ran for them, from the server's log.
    private struct ServerLog {
        var names = StatementNames()
        var caught: Set<String> = []

        init(_ server: PostgresServer, of roles: [String]) throws {
            let text = try String(contentsOfFile: server.directory + "/log", encoding: .utf8)
            var isStatement = false
            for line in text.split(separator: "\n") {
                // An entry's further lines begin with a tab.
                if line.hasPrefix("\t") {
                    if isStatement { names.read(String(line)) }
                    continue
                }
                isStatement = false
                guard let role = roles.first(where: { line.hasPrefix($0 + "|") }) else { continue }
                let message = line.dropFirst(role.count + 1)
                if message.contains(Shadows.mark) { caught.insert(String(message)) }
                if let start = message.range(of: "LOG:  statement: ") {
                    isStatement = true
                    names.read(String(message[start.upperBound...]))
                }
            }
        }
    }

    private static let tables = """
        CREATE TABLE public.codes (code text PRIMARY KEY, expires_at timestamptz NOT NULL);
        CREATE TABLE public.uses (code text REFERENCES public.codes);
        CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
        $$BEGIN IF OLD.code = 'kept' THEN RETURN NULL; END IF; RETURN OLD; END$$;
        CREATE TRIGGER keep BEFORE DELETE ON public.codes FOR EACH ROW EXECUTE FUNCTION public.keep();
        CREATE TABLE public.parts (id int, expires_at timestamptz NOT NULL) PARTITION BY HASH (id);
        CREATE TABLE public.part_0 PARTITION OF public.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE public.part_1 PARTITION OF public.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        GRANT SELECT, UPDATE, DELETE ON public.codes, public.parts TO daemon;
        """

    /// Enough due sessions that pages are walked; two codes of ten are refused.
    private static let rows = """
        SET search_path = pg_catalog, pg_temp;
        TRUNCATE public.mcp_sessions, public.codes, public.uses, public.parts;
        INSERT INTO public.mcp_sessions
               (session_id, user_id, server_url, transport_type, callback_url, expires_at, active, updated_at)
        SELECT 's' || n, 'u' || n % 7, 'x', 'sse', 'x', now() + CASE WHEN n <= 22000 THEN -1 ELSE 1 END * interval '1 day',
               n > 22050, now() - CASE WHEN n > 22075 THEN interval '31 days' ELSE interval '1 day' END
          FROM generate_series(1, 22100) AS n;
        INSERT INTO public.codes SELECT CASE n WHEN 1 THEN 'kept' WHEN 2 THEN 'used' ELSE 'c' || n END, now()
          FROM generate_series(1, 10) AS n;
        INSERT INTO public.uses VALUES ('used');
        INSERT INTO public.parts SELECT n, now() FROM generate_series(1, 20) AS n;
        """

    /// Conditions of own jobs run under the role's search path, as documented: these qualify their names.
    private static let config = """
        history: { removed: 1d }
        jobs:
          codes:
            table: public.codes
            where: expires_at OPERATOR(pg_catalog.<) $1
            schedule: "@daily"
            max-fraction: 1
          parts:
            table: public.parts
            where: expires_at OPERATOR(pg_catalog.<) $1
            schedule: "@daily"
        """

    /// Runs every command that connects, and returns their exit codes.
    private static func runEveryCommand(in database: SessionsDatabase, config: String) async throws -> [String] {
        let server = database.server
        try await database.run(rows)
        let url = server.url(database.name, user: "daemon")
        var codes: [String] = []
        for command in [
            ["check"], ["--once", "--dry-run"], ["sessions", "--user", "u1"], ["--once"], ["status"], ["history"],
            ["removed", "--user", "u1"],
        ] {
            var result = try await database.daemon(command + ["--config", config], url: url)
            // On a machine under load a transaction may meet its limit, which may pass.
            var attempts = 1
            while command == ["--once"], attempts < 3, try await database.count() > 75 {
                result = try await database.daemon(command + ["--config", config], url: url)
                attempts += 1
            }
            codes.append("\(command.joined(separator: " ")): \(result.status)")
            if ![0, 77].contains(result.status) { codes.append(result.error) }
        }
        #expect(try await database.count("session_id IN ('s22001', 's22075')") == 2)
        #expect(try await database.count() == 75)
        #expect(try await database.count(in: "public.codes") == 2)
        #expect(try await database.count(in: "public.parts") == 0)

        try await database.run("UPDATE public.mcp_sessions SET expires_at = now() WHERE session_id = 's22001'")
        let service = try RunningDaemon(
            url: url,
            environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_MAX_STALENESS": "1m"])
        try await service.wait("a run") { try await database.count("session_id = 's22001'") == 0 }
        try await service.wait("its end") { try !service.runs.isEmpty }
        service.signal(SIGTERM)
        codes.append("run: \(try await service.exitStatus())")

        // An index of a build that was interrupted is built again.
        try await database.run(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_mcp_sessions_cleanup_dormant'::regclass")
        let owner = server.url(database.name, user: "boss")
        let migrated = try await database.daemon(
            ["migrate", "--sessions", "--indexes", "--role", "daemon"], url: owner)
        codes.append("migrate: \(migrated.status)")
        guard MigrationTests.hasCron else { return codes }
        for action in ["status", "takeover", "rollback"] {
            let result = try await database.daemon(["pg-cron", action], url: server.url("postgres", user: "boss"))
            codes.append("pg-cron \(action): \(result.status)")
        }
        return codes
    }

    @Test(.slow) func noCodeOfAnotherRoleRuns() async throws {
        let server = try await Self.server()
        let database = try await SessionsDatabase(on: server)
        try await database.run(
            """
            CREATE ROLE daemon LOGIN; CREATE ROLE boss LOGIN SUPERUSER; CREATE ROLE evil LOGIN;
            CREATE SCHEMA evil; GRANT CREATE ON SCHEMA public, evil TO evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
            """)
        try await database.run(Self.tables)
        #expect(try await database.daemon(["migrate", "--indexes", "--role", "daemon"]).status == 0)
        if MigrationTests.hasCron {
            try await server.query(SessionsDatabase.migration("20260513020000_add_session_cleanup_cron"))
            try await server.query(
                "CREATE SCHEMA evil; GRANT CREATE ON SCHEMA public, evil TO evil; GRANT USAGE ON SCHEMA evil TO PUBLIC")
        }
        let config = try TemporaryDirectory.make() + "/config.yaml"
        try Self.config.write(toFile: config, atomically: true, encoding: .utf8)
        let expected = try await Self.runEveryCommand(in: database, config: config)
        let roles = ["daemon", "boss"]
        let used = try ServerLog(server, of: roles)
        #expect(used.names.identifiers.isSuperset(of: ["now", "ctid", "pg_class"]) && used.caught.isEmpty)

        let places = [database.name] + (MigrationTests.hasCron ? ["postgres"] : [])
        for place in places {
            for schema in ["evil", "public"] {
                let made = try await Shadows(names: used.names).make(in: schema, of: place, on: server, as: "evil")
                for (kind, least) in ["function": 200, "operator": 200, "relation": 5, "type": 5] {
                    #expect(made[kind] ?? 0 >= least, "\(schema): \(made)")
                }
            }
        }
        // The trap works: a statement that qualifies nothing is caught.
        try await database.run("SET search_path = evil, pg_catalog; SELECT now() < now()", as: "daemon")
        try await database.run("SET search_path = public; SELECT relname || oid FROM pg_class LIMIT 1", as: "boss")
        let control = try ServerLog(server, of: roles).caught
        #expect(control.contains { $0.hasSuffix("now()") }, "\(control)")
        #expect(control.contains { $0.hasSuffix("timestamptz < timestamptz") }, "\(control)")
        #expect(control.contains { $0.hasSuffix("name || oid") }, "\(control)")

        var names = used.names
        for path in ["evil, pg_catalog", "public"] {
            for role in roles { try await database.run("ALTER ROLE \(role) SET search_path = \(path)") }
            // Under load a run may take another path and send other statements: these get shadows too.
            for _ in 0..<3 {
                #expect(try await Self.runEveryCommand(in: database, config: config) == expected)
                let log = try ServerLog(server, of: roles)
                let caught = log.caught.subtracting(control)
                #expect(caught.isEmpty, "\(path): \(caught.sorted())")
                if log.names == names { break }
                names = log.names
                for place in places {
                    for schema in ["evil", "public"] {
                        _ = try await Shadows(names: names).make(in: schema, of: place, on: server, as: "evil")
                    }
                }
            }
        }
    }

    /// A role that may create in the database may have made the history before us.
    @Test func aHistoryOfAnotherRoleIsRefused() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let role = try await database.makeServiceRole()
        let evil = role.replacingOccurrences(of: "role_", with: "evil_")
        try await database.run("CREATE ROLE \(evil) LOGIN; GRANT CREATE ON DATABASE \(database.name) TO \(evil)")
        try await database.run(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"), as: evil)
        try await database.run(
            """
            CREATE TABLE mcp_cleanup.caught (role text);
            CREATE FUNCTION mcp_cleanup.catch() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO mcp_cleanup.caught VALUES (current_user); RETURN NEW; END$$;
            CREATE TRIGGER catch BEFORE INSERT OR UPDATE ON mcp_cleanup.runs
                FOR EACH ROW EXECUTE FUNCTION mcp_cleanup.catch();
            GRANT USAGE ON SCHEMA mcp_cleanup TO \(role); GRANT ALL ON ALL TABLES IN SCHEMA mcp_cleanup TO \(role);
            """, as: evil)
        let url = database.server.url(database.name, user: role)
        for command in [["--once"], ["check", "--json"], ["--once", "--dry-run"]] {
            let result = try await database.daemon(command, url: url)
            #expect(result.status == 77, "\(command): \(result)")
            #expect(
                (result.output + result.error).contains("mcp_cleanup.runs belongs to the role \(evil)"), "\(result)")
        }
        #expect(try await database.count(in: "mcp_cleanup.caught") == 0)
        #expect(try await database.sessions().count == 6)
        // Once the sessions' owner owns the history, its triggers count as the application's.
        try await database.run("ALTER TABLE mcp_cleanup.runs OWNER TO postgres")
        #expect(try await database.daemon(["--once"], url: url).status == 0)
        #expect(try await database.count("role = '\(role)'", in: "mcp_cleanup.caught") > 0)
    }

    /// A role that may create on the database may have made `mcp_cleanup.runs` before the migration did.
    @Test func theServiceReadsNoViewOfAnotherRole() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        let evil = role.replacingOccurrences(of: "role_", with: "evil_")
        try await database.run("CREATE ROLE \(evil) LOGIN; GRANT CREATE ON DATABASE \(database.name) TO \(evil)")
        try await database.run(
            """
            CREATE SCHEMA mcp_cleanup;
            CREATE FUNCTION mcp_cleanup.catch() RETURNS text LANGUAGE plpgsql AS
            $$BEGIN RAISE EXCEPTION 'ran as %', current_user; END$$;
            CREATE VIEW mcp_cleanup.runs AS
                SELECT mcp_cleanup.catch() AS job, now() AS scheduled_at, now() AS started_at, now() AS heartbeat_at
                     , now() AS finished_at, now() AS next_attempt_at, ''::text AS status, ''::text AS origin;
            GRANT USAGE ON SCHEMA mcp_cleanup TO \(role); GRANT SELECT ON mcp_cleanup.runs TO \(role);
            """, as: evil)
        // The view is refused also where the sessions table is missing, and so has no owner to compare with.
        for table in ["public.mcp_sessions", "public.elsewhere"] {
            let sessions = try TableName(parsing: table)
            let error = await #expect(throws: RunFailure.self) {
                _ = try await database.access(as: role).lookBack(
                    at: [Job.transientSessions.name], beside: sessions)
            }
            #expect("\(String(describing: error))".contains("mcp_cleanup.runs belongs to the role \(evil)"))
            let command = try await database.daemon(
                ["history"], url: database.server.url(database.name, user: role),
                environment: ["MCP_CLEANUP_DATABASE_TABLE": table])
            #expect(command.status == 77 && !command.error.contains("ran as"), "\(command.error)")
        }
    }
}
