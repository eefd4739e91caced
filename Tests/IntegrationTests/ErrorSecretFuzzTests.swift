import Foundation
import Glibc
import SeededRandom
import TestServers
import Testing

@testable import Postgres

/// Every SQLSTATE of the manual, raised by code of the application with a token in every field that it can set; and
/// errors of the server's own functions, which quote a value of a row without any context.
@Suite struct ErrorSecretFuzzTests {
    private static let token = "eyJTOKENq7"
    /// Looks for a part of the token, since a text may be cut within it.
    private static func isToken(in text: String) -> Bool { text.uppercased().contains("TOKENQ") }

    /// Own jobs, so that many runs fail at a time; each has a row of its own.
    private static let jobs = (1...12).map { "job-\($0)" }
    private static let runs = Soak.factor > 1 ? 240 : 40

    /// The SQLSTATEs of PostgreSQL's manual, appendix A, but success: those that the program names, and the others,
    /// which it hides by default.
    private static let states =
        Condition.all.keys.map(\.rawValue).filter { $0 != "00000" }.sorted()
        + rest.split(separator: " ").map(String.init)
    private static let rest = """
        01003 01004 01006 01007 01008 0100C 01P01 02000 02001 03000 08007 09000 0B000 0F000 0F001 0L000 0LP01 0P000 \
        0Z000 0Z002 10608 20000 22002 22005 22009 2200B 2200C 2200D 2200F 2200G 2200H 2200L 2200M 2200N 2200S 2200T \
        22010 22011 22013 22014 22016 22019 2201B 2201E 2201F 2201G 2201W 2201X 22022 22024 22025 22026 22027 2202G \
        2202H 22030 22031 22032 22033 22034 22035 22036 22037 22038 22039 2203A 2203B 2203C 2203D 2203E 2203F 2203G \
        22P01 22P03 22P04 22P06 24000 25000 25002 25003 25004 25005 25007 25008 2B000 2D000 2F002 2F003 2F004 2F005 \
        34000 38001 38002 38003 38004 39001 39004 39P02 39P03 3B000 42611 42622 42701 42712 42723 42830 428C9 42939 \
        42P03 42P05 42P08 42P09 42P11 42P12 42P13 42P14 42P15 42P16 55P04 58P02 58P03 F0001 HV001 HV002 HV004 HV005 \
        HV006 HV007 HV008 HV009 HV00A HV00B HV00C HV00D HV00J HV00K HV00L HV00M HV00P HV00Q HV00R HV010 HV014 HV021 \
        HV024 HV090 HV091
        """

    /// A database in which each deletion raises the next of the SQLSTATEs: before the row is deleted, or at the end of
    /// the transaction.
    private static func database() async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged())
        let codes = Self.states.enumerated().map { "(\($0.offset), '\($0.element)')" }.joined(separator: ", ")
        let parts = ["DETAIL", "HINT", "CONSTRAINT", "TABLE", "COLUMN", "DATATYPE", "SCHEMA"]
            .map { "\($0) = '\(token)'" }.joined(separator: ", ")
        try await database.run(
            """
            CREATE SEQUENCE turn MINVALUE 0;
            CREATE TABLE codes (n BIGINT PRIMARY KEY, state TEXT NOT NULL);
            INSERT INTO codes VALUES \(codes);
            CREATE FUNCTION "\(token)"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            DECLARE turn BIGINT := nextval('public.turn'); state TEXT;
            BEGIN
                SELECT c.state INTO STRICT state FROM public.codes AS c WHERE c.n = turn % \(Self.states.count);
                RAISE NOTICE USING MESSAGE = '\(token)', \(parts);
                RAISE WARNING USING MESSAGE = '\(token)', ERRCODE = '01000', \(parts);
                IF TG_ARGV[0] = 'early' AND turn % 3 = 0 THEN RETURN OLD; END IF;
                RAISE EXCEPTION USING MESSAGE = '\(token)', ERRCODE = state, \(parts);
            END $$;
            CREATE TRIGGER early BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION "\(token)"('early');
            CREATE CONSTRAINT TRIGGER late AFTER DELETE ON mcp_sessions DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION "\(token)"('late');
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, tokens)
            SELECT '\(token)' || n, 'job-' || n, '\(token)', 'sse', '\(token)', now() - interval '1 hour', '"\(token)"'
              FROM generate_series(1, 12) AS n;
            """)
        let migrated = try await database.daemon(["migrate"])
        #expect(migrated.status == 0, "\(migrated)")
        return database
    }

    private static func configuration() throws -> String {
        let path = try TemporaryDirectory.make() + "/config.yaml"
        let lines = jobs.map { job in
            """
              \(job): { table: public.mcp_sessions, schedule: "1 seconds", deadline: 10s, where: "expires_at < $1 AND user_id = '\(job)'" }
            """
        }
        try "jobs:\n\(lines.joined(separator: "\n"))\n".write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// The service: its journal, its status for systemd, its page and all else that it serves, and its history.
    @Test(.slow, .enabled(if: geteuid() == 0, "mounting needs root")) func theServiceRepeatsNoErrorOfTheApplication()
        async throws
    {
        let database = try await Self.database()
        let (manager, journald) = (try ManagerSocket(), try ManagerSocket())
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"),
            environment: ["NOTIFY_SOCKET": manager.address, "MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"],
            wrapper: journald.asJournal,
            arguments: ["--log-format", "journal", "--config", try Self.configuration()])
        var (seen, entries, statuses) = ([String: String](), "", "")
        try await daemon.wait("\(Self.runs) runs", limit: .seconds(600)) {
            while let entry = await journald.receive(limit: .milliseconds(1)) { entries += entry + "\n" }
            while let status = await manager.receive(limit: .milliseconds(1)) { statuses += status + "\n" }
            for path in ["/", "/status.json", "/readyz", "/metrics"] {
                let body = (try? await LoopbackHTTP.get(path, port: port))?.body ?? ""
                #expect(!Self.isToken(in: body), "\(path): \(body)")
                if body.contains("SQLSTATE") || path == "/metrics" { seen[path] = body }
            }
            return Int(try await database.value("SELECT sum(attempts) FROM mcp_cleanup.runs") ?? "0") ?? 0 >= Self.runs
        }
        daemon.signal(SIGTERM)
        _ = try await daemon.exitStatus()
        while let entry = await journald.receive(limit: .milliseconds(50)) { entries += entry + "\n" }
        #expect(!Self.isToken(in: entries) && !Self.isToken(in: statuses), "\(entries) \(statuses)")
        #expect(try !Self.isToken(in: daemon.log))
        // All these outputs do show the failures.
        #expect(entries.contains("SQLSTATE") && statuses.contains("SQLSTATE") && entries.contains("PRIORITY=7"))
        #expect(seen.count == 4 && seen["/metrics"]?.contains("rows_refused_total") == true, "\(seen.keys)")
        try await Self.expectNoTokenInTheHistory(of: database)
    }

    private static func expectNoTokenInTheHistory(of database: SessionsDatabase) async throws {
        let told = "FROM mcp_cleanup.runs AS r WHERE r::text ILIKE"
        #expect(try await database.value("SELECT count(*) \(told) '%TOKENq%'") == "0")
        #expect(try await database.value("SELECT count(*) > 0 \(told) '%SQLSTATE%'") == "true")
        for arguments in [["history", "--limit", "10000"], ["history", "--limit", "10000", "--json"], ["status"]] {
            let listed = try await database.daemon(arguments)
            #expect(listed.status == 0 && !isToken(in: listed.output + listed.error), "\(listed)")
        }
    }

    /// Each SQLSTATE twice in `make fuzz`; the formats of the log take turns, and each run writes a metrics file.
    @Test(.slow) func onceRepeatsNoErrorOfTheApplication() async throws {
        let database = try await Self.database()
        let count = Soak.factor > 1 ? 2 * Self.states.count : 24
        // The sequence of SQLSTATEs begins at a random one.
        var random = SeededRandom(seed: SeededRandom.seed(for: "ErrorSecretFuzzTests"))
        try await database.run("SELECT setval('turn', \(Int.random(in: 0..<Self.states.count, using: &random)))")
        let path = try TemporaryDirectory.make() + "/metrics.prom"
        let formats = [
            ["--json", "--log-format", "json"], ["--log-format", "text"], ["--log-format", "journal", "--json"],
        ]
        let rests = [
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_MAX_ROWS": "1", "MCP_CLEANUP_BATCH_MAX_ROWS": "1",
        ]
        for number in 0..<count {
            let result = try await database.daemon(
                ["--once", "--job", "transient", "--log-level", "trace", "--metrics-textfile", path]
                    + formats[number % formats.count], environment: rests)
            #expect(!Self.isToken(in: result.output + result.error), "\(result)")
            #expect([0, 69, 70, 75, 77, 78].contains(result.status), "\(result)")
        }
        #expect(!Self.isToken(in: try String(contentsOfFile: path, encoding: .utf8)))
        try await Self.expectNoTokenInTheHistory(of: database)
    }

    /// Conditions for a trigger's WHEN, which adds no context to an error. The value that they quote is a row's.
    private static let conditions = [
        "pg_database_size(OLD.user_id::name) > 0", "OLD.user_id::int > 0", "OLD.user_id::regclass IS NULL",
        "set_config(OLD.user_id, 'x', true) IS NULL", "set_config('work_mem', OLD.user_id, true) IS NULL",
        "set_config('role', OLD.user_id, true) IS NULL",
        "set_config('session_authorization', OLD.user_id, true) IS NULL",
        "pg_read_file('/' || OLD.user_id) IS NULL", "pg_read_file('/root/' || OLD.user_id) IS NULL",
        "pg_read_file('/etc/passwd/' || OLD.user_id) IS NULL", "(pg_stat_file('/root/' || OLD.user_id)).size > 0",
        "has_database_privilege(OLD.user_id, 'CONNECT')", "has_table_privilege(OLD.user_id, 'codes', 'SELECT')",
        "nextval(OLD.user_id) > 0", "currval(OLD.user_id) > 0", "pg_size_bytes(OLD.user_id) > 0",
        "to_date(OLD.user_id, 'YYYY') IS NULL", "OLD.user_id ~ ('(' || OLD.user_id)",
        "encode(OLD.user_id::bytea, OLD.user_id) IS NULL", "convert('x', OLD.user_id, 'UTF8') IS NULL",
        "jsonb_path_exists('{}', OLD.user_id::jsonpath)", "OLD.user_id::regtype IS NULL",
        "OLD.user_id::regrole IS NULL",
        "OLD.user_id::regprocedure IS NULL", "(OLD.user_id || ' &')::tsquery IS NULL", "OLD.user_id::jsonb IS NULL",
        "pg_get_serial_sequence('codes', OLD.user_id) IS NULL", "pg_tablespace_size(OLD.user_id::name) > 0",
        "lo_get(OLD.user_id::oid) IS NULL",
        "OLD.user_id::uuid IS NULL",
        "(pg_create_physical_replication_slot(OLD.user_id || '!')).lsn IS NULL", "lower(OLD.user_id::int4range) = 1",
        "txid_status(OLD.user_id::bigint) IS NULL", "OLD.user_id::inet IS NULL", "OLD.user_id::point IS NULL",
        "pg_catalog.pg_terminate_backend(OLD.user_id::int)", "query_to_xml(OLD.user_id, true, true, '') IS NULL",
        "lo_export(1, '/' || OLD.user_id) = 0", "lo_import('/root/' || OLD.user_id) = 0",
        "('<' || OLD.user_id)::xml IS NULL",
    ]

    @Test(.slow) func onceRepeatsNoValueThatTheServerQuotes() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE codes (n BIGINT);
            CREATE FUNCTION keep() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('s', '\(Self.token)', 'x', 'sse', 'x', now() - interval '1 hour');
            """)
        for condition in Self.conditions {
            try await database.run(
                """
                DROP TRIGGER IF EXISTS quoting ON mcp_sessions;
                CREATE TRIGGER quoting BEFORE DELETE ON mcp_sessions FOR EACH ROW WHEN (\(condition)) EXECUTE FUNCTION keep()
                """)
            let result = try await database.daemon(["--once", "--json", "--job", "transient", "--log-level", "trace"])
            #expect(!Self.isToken(in: result.output + result.error), "\(condition): \(result)")
            // It was evaluated, and raised: else the session would be gone.
            #expect(result.status != 0 && result.output.contains("SQLSTATE"), "\(condition): \(result)")
        }
    }

    /// The review's first finding: a token in the row of another table, which the deletion would have to change.
    @Test func aRowOfAnotherTableIsNotRepeated() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE grants (id SERIAL, session_id TEXT NOT NULL REFERENCES mcp_sessions (session_id) ON DELETE SET NULL,
                refresh_token TEXT);
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('s', 'u', 'x', 'sse', 'x', now() - interval '1 hour');
            INSERT INTO grants (session_id, refresh_token) VALUES ('s', '\(Self.token)');
            """)
        for arguments in [["--once", "--json"], ["--once", "--log-level", "trace"], ["check"]] {
            let result = try await database.daemon(arguments)
            #expect(!Self.isToken(in: result.output + result.error), "\(result)")
        }
    }
}
