import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// `mcp_cleanup.removed`: which sessions the built-in jobs removed.
@Suite(.inTurn) struct RemovedTests {
    static let migrations =
        ["20260513030000_install_mcp_cleanup_runs", "20260513050000_install_mcp_cleanup_removed"]

    /// A database with the history and the record of removed sessions.
    static func database(_ generation: SchemaGeneration = .active) async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged(), generation)
        for migration in migrations { try await database.run(SessionsDatabase.migration(migration)) }
        return database
    }

    private static let on = ["MCP_CLEANUP_HISTORY_REMOVED": "30d"]

    /// Due sessions: every other one is active and dormant.
    private static func due(_ count: Int, _ generation: SchemaGeneration = .active) -> String {
        let (columns, state) =
            switch generation {
            case .active: (", transport_type, active", "'sse', n % 2 = 0")
            case .status: (", status", "CASE WHEN n % 2 = 0 THEN 'active' ELSE 'pending' END")
            }
        return """
            INSERT INTO mcp_sessions (session_id, user_id, server_id, server_name, server_url, callback_url, created_at,
                   updated_at, expires_at, headers, client_information, tokens, code_verifier, client_id\(columns))
            SELECT 'due-' || n, 'user-' || n % 3, 'srv', 'Server', 'https://u:canary@example.com/mcp?token=canary', 'canary',
                   '2026-01-01 00:00Z', '2026-01-02 00:00Z', '2026-01-03 00:00Z', '"canary"', '"canary"', '"canary"', 'canary',
                   'canary', \(state) FROM generate_series(1, \(count)) AS n;
            """
    }

    @Test(arguments: SchemaGeneration.allCases)
    func recordsEachSessionThatABuiltInJobRemovesAndNoCredential(generation: SchemaGeneration) async throws {
        let database = try await Self.database(generation)
        try await database.run(Self.due(30, generation))
        let pooler = try await PgBouncer(for: database.server)
        let run = try await database.daemon(
            ["--once", "--json"], url: pooler.url(database.name), environment: Self.on)
        #expect(run.status == 0 && run.output.matches(of: /"rows_deleted":15,/).count == 2, "\(run)")
        let rows = try await database.value(
            """
            SELECT string_agg(DISTINCT concat_ws(' ', r.job, m.user_id, m.server_id, m.server_name, m.server_url,
                              m.created_at = '2026-01-01Z', m.updated_at = '2026-01-02Z', m.expires_at = '2026-01-03Z',
                              m.removed_at BETWEEN r.started_at - interval '1 minute' AND r.finished_at), E'\\n')
              FROM mcp_cleanup.removed AS m JOIN mcp_cleanup.runs AS r USING (run_id)
            """)
        let expected = ["dormant", "transient"].flatMap { job in
            (0...2).map { "mcp-cleanup-\(job)-sessions user-\($0) srv Server https://example.com/mcp t t t t" }
        }
        #expect(rows?.components(separatedBy: "\n").sorted() == expected, "\(rows ?? "")")
        #expect(
            try await database.value("SELECT count(DISTINCT session_id) || ' ' || count(*) FROM mcp_cleanup.removed")
                == "30 30")
        // As with `history` and `sessions`, there are two forms of output; neither shows a credential.
        let json = try await database.daemon(["removed", "--user", "user-1", "--limit", "4", "--json"])
        #expect(json.status == 0 && json.lines.count == 4, "\(json)")
        #expect(
            json.lines.allSatisfy {
                $0.contains(
                    #""user_id":"user-1","server_id":"srv","server_name":"Server","server_url":"https://example.com/mcp","#
                        + #""created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T00:00:00Z","#
                        + #""expires_at":"2026-01-03T00:00:00Z","removed_at":"#)
                    && $0.contains(/"run_id":\d+,"job":"mcp-cleanup-(dormant|transient)-sessions"}/)
            }, "\(json)")
        let text = try await database.daemon(["removed"])
        #expect(text.lines.count == 21 && text.lines[0].hasPrefix("REMOVED (UTC)     SESSION  USER"), "\(text)")
        #expect(text.lines[1].contains(/due-\d+ +user-\d +dormant 2$/), "\(text)")
        let status = try await database.daemon(["status"], environment: Self.on)
        #expect(status.lines.last?.hasPrefix("Removed sessions on record: 30, since 20") ?? false, "\(status)")
        #expect(try await !database.daemon(["status"]).output.contains("on record"))
        for output in [json, text, status] { #expect(!(output.output + output.error).contains("canary")) }
    }

    @Test func recordsNothingWhereItIsOffOrOfAJobOfOnesOwn() async throws {
        let database = try await Self.database()
        try await database.run(Self.due(4))
        #expect(try await database.daemon(["--once"]).status == 0)
        try await database.run(Self.due(4) + "CREATE TABLE codes AS SELECT now() AS t")
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try """
        history: { removed: 1d }
        jobs:
          codes: { table: public.codes, where: t < $1, schedule: "@daily" }
          own: { table: public.mcp_sessions, where: expires_at < $1, schedule: "@daily" }
        """.write(toFile: path, atomically: true, encoding: .utf8)
        let own = try await database.daemon(["--once", "--job", "codes", "--job", "own", "--config", path])
        #expect(own.status == 0 && own.output.contains("4 deleted"), "\(own)")
        #expect(try await database.count(in: "mcp_cleanup.removed") == 0)
        let empty = try await database.daemon(["removed"])
        #expect(empty.status == 0 && empty.error.contains("history.removed is off"), "\(empty)")
    }

    @Test(
        .slow,
        arguments: [
            ("https://u:secret@h.example/a/b?secret#secret", "https://h.example/a/b"),
            ("https://h/a#secret", "https://h/a"),
            ("http://h:8080", "http://h:8080"), ("HTTPS://secret@H:1/@scope/p", "HTTPS://H:1/@scope/p"),
            ("https://u:se@cret@h/x", "https://h/x"), ("http://[::1]:80/x?secret", "http://[::1]:80/x"),
            ("http://u:secret@[fe80::1%25eth0]/x", "http://[fe80::1%25eth0]/x"), ("h.example/x?secret", "h.example/x"),
            ("u:secret@h.example:80/x", "h.example:80/x"), ("localhost:3000/mcp", "localhost:3000/mcp"),
            ("//u:secret@h/x", "h/x"), ("wss://u:secret@bücher.example/ü?secret", "wss://bücher.example/ü"),
            ("https:u:secret@h/x", "h/x"), ("https:/u:secret@h/x", "https:/h/x"),
            ("https:///u:secret@h/x", "https:///h/x"),
            (#"https:\\u:secret@h\x?secret"#, #"https:\\h\x"#), ("https://h/a\n?secret", "https://h/a\n"),
            // Not URLs, so any part of them may be a secret.
            ("https://u:secret@", nil), ("https://u:se/cret@h", nil), ("https://u:se?cret@h", nil),
            ("https://u:se#cret@h", nil), (" https://u:secret@h/x", nil), ("https:///u:secret@h%40x/", nil),
            ("ht\ttps://u:secret@h/x", nil), ("https:/\t/u:secret@h/x", nil), ("https://h:secret/x", nil),
            ("secret stuff", nil),
            ("javascript:secret(1)", nil), ("{\"url\": \"https://u:secret@h\"}", nil), ("", nil), ("?secret", nil),
            ("#", nil),
        ])
    func keepsOfAURLWhatIsNoSecret(url: String, expected: String?) async throws {
        let database = try await Self.database()
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('a', 'u', \(SQL.literal(url)), 'sse', 'x', '2026-01-01Z'),
                   ('b', 'u', repeat('https://u:canary@', 10000), 'sse', 'x', '2026-01-01Z')
            """)
        #expect(await Self.run(database).outcome == .succeeded)
        let found = try await database.value("SELECT server_url FROM mcp_cleanup.removed WHERE session_id = 'a'")
        #expect(found == expected && !(found ?? "").contains("secret"))
        #expect(try await database.count("server_url LIKE '%canary%'", in: "mcp_cleanup.removed") == 0)
    }

    private static func run(
        _ database: SessionsDatabase, job: Job = .transientSessions, removed: Duration = .seconds(86_400)
    ) async -> RunReport {
        await HistoryTests.run(
            database, RunRequest(scheduledAt: .hostNow, origin: .once), job: job,
            history: History(mode: .required, removed: removed))
    }

    /// Columns that the table lacks are NULL; those of another type are text, without any cast of another role's.
    @Test func takesATableWithOtherColumns() async throws {
        let database = try await Self.database()
        try await database.run(
            """
            CREATE TYPE kind AS ENUM ('a', 'b');
            CREATE FUNCTION evil(kind) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'a cast ran'; END$$;
            CREATE CAST (kind AS text) WITH FUNCTION evil(kind) AS IMPLICIT;
            CREATE COLLATION vague (PROVIDER = icu, LOCALE = 'und', DETERMINISTIC = false);
            ALTER TABLE mcp_sessions DROP COLUMN server_name, ALTER user_id TYPE uuid USING gen_random_uuid(),
                ALTER server_id TYPE kind USING 'a', ALTER created_at TYPE timestamp,
                ALTER server_url TYPE varchar(99) COLLATE vague;
            INSERT INTO mcp_sessions (session_id, user_id, server_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('a', '00000000-0000-0000-0000-000000000001', 'b', 'http://x/?secret', 'sse', 'x', '2026-01-01Z'),
                   ('b', '00000000-0000-0000-0000-000000000002', NULL, 'http://x', 'sse', 'x', '-infinity');
            """)
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded, "\(String(describing: report.failure))")
        let rows = try await database.value(
            """
            SELECT string_agg(concat_ws('|', session_id, user_id, server_id, server_url, server_name, created_at,
                   updated_at > now() - interval '1 hour'), ' ' ORDER BY session_id) FROM mcp_cleanup.removed
            """)
        #expect(
            rows
                == "a|00000000-0000-0000-0000-000000000001|b|http://x/|t b|00000000-0000-0000-0000-000000000002|http://x|t"
        )
        // The first years that have a name, and the last, in JSON too.
        let json = try await database.daemon(["removed", "--json"])
        #expect(json.status == 0 && json.lines.count == 2 && json.output.contains(#""expires_at":null"#), "\(json)")
    }

    @Test func removesOldRecordsABoundedNumberAtATime() async throws {
        let database = try await Self.database()
        try await database.run(
            """
            INSERT INTO mcp_cleanup.removed (run_id, session_id, removed_at)
            SELECT n, 's' || n, now() - CASE WHEN n <= 25000 THEN interval '25 hours' ELSE interval '23 hours' END
              FROM generate_series(1, 25010) AS n;
            """)
        #expect(await Self.run(database).outcome == .succeeded)
        #expect(
            try await database.value("SELECT min(run_id) || ' ' || count(*) FROM mcp_cleanup.removed") == "25001 10")
        // Each in a transaction of its own.
        try await database.run("UPDATE mcp_cleanup.removed SET removed_at = now() - interval '2 days'")
        #expect(RemovedSQL.prune(before: .hostNow).contains("LIMIT 10000"))
        // Also where the table is published.
        try await database.run("CREATE PUBLICATION everything FOR ALL TABLES")
        #expect(await Self.run(database).outcome == .succeeded)
        #expect(try await database.count(in: "mcp_cleanup.removed") == 0)
    }

    /// Objects that are missing or not trusted: SQL with `@role`, the exit code, and words of the message and the hint.
    @Test(arguments: [
        ("DROP TABLE mcp_cleanup.removed", 78, "mcp_cleanup.removed does not exist", "mcp-cleanupd migrate"),
        ("DROP TABLE mcp_cleanup.runs", 78, "runs are not recorded", "mcp-cleanupd migrate"),
        ("ALTER TABLE mcp_cleanup.removed DROP COLUMN server_url", 78, "no column server_url", "migrate"),
        (
            "REVOKE INSERT ON mcp_cleanup.removed FROM @role", 77, "no INSERT privilege on mcp_cleanup.removed",
            "GRANT INSERT"
        ),
        (
            "REVOKE DELETE ON mcp_cleanup.removed FROM @role", 77, "no DELETE privilege",
            "GRANT DELETE ON mcp_cleanup.removed"
        ),
        (
            "ALTER TABLE mcp_cleanup.removed ENABLE ROW LEVEL SECURITY", 77, "row security on mcp_cleanup.removed",
            "DISABLE"
        ),
        (
            "CREATE ROLE @role_evil; ALTER TABLE mcp_cleanup.removed OWNER TO @role_evil", 77,
            "mcp_cleanup.removed belongs to the role", "OWNER TO"
        ),
        (
            """
            CREATE ROLE @role_evil; DROP TABLE mcp_cleanup.removed;
            CREATE VIEW mcp_cleanup.removed AS SELECT 1::bigint AS run_id, 'x'::text AS session_id;
            GRANT ALL ON mcp_cleanup.removed TO @role; ALTER VIEW mcp_cleanup.removed OWNER TO @role_evil
            """, 77, "mcp_cleanup.removed belongs to the role", "OWNER TO"
        ),
    ])
    func whatKeepsTheRecordFromBeingWrittenStopsTheRun(
        sql: String, status: Int, message: String, hint: String
    ) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole(grants: [])
        #expect(try await database.daemon(["migrate", "--role", role]).status == 0)
        try await database.run(Self.due(4) + sql.replacing("@role", with: role))
        let url = database.server.url(database.name, user: role)
        for command in [["--once"], ["--once", "--dry-run"], ["check"]] {
            let result = try await database.daemon(command + ["--log-format", "text"], url: url, environment: Self.on)
            let text = (result.output + result.error).split(separator: /\s+/).joined(separator: " ")
            #expect(result.status == status && text.contains(message) && text.contains(hint), "\(command): \(result)")
        }
        #expect(try await database.count() == 4)
        let off = try await database.daemon(["--once"], url: url)
        #expect(off.status == 0, "\(off)")
        let listing = try await database.daemon(["removed"], url: url)
        let canBeRead = sql.hasPrefix("REVOKE")
        #expect(listing.status == (canBeRead ? 0 : Int32(status)), "\(listing)")
    }

    @Test func aRecordThatIsThereInAnotherShapeIsNotBuiltUpon() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run("CREATE SCHEMA mcp_cleanup; CREATE VIEW mcp_cleanup.removed AS SELECT 1 AS run_id")
        let result = try await database.daemon(["migrate"])
        #expect(result.status == 78 && result.error.contains("run_id of mcp_cleanup.removed is integer"), "\(result)")
        #expect(try await database.value("SELECT to_regclass('mcp_cleanup.runs')") == nil)
    }

    @Test func aLongListFitsEightyColumnsAndSteersNoTerminal() async throws {
        let database = try await Self.database()
        try await database.run(
            """
            INSERT INTO mcp_cleanup.removed (run_id, session_id, user_id, removed_at)
            SELECT 1234567, gen_random_uuid() || repeat('x', n), E'\\e[31m' || repeat('user ', 30), now() FROM generate_series(0, 9) AS n
            """)
        let result = try await database.daemon(["removed", "--limit", "10000"])
        #expect(result.status == 0 && result.lines.count == 11, "\(result)")
        for line in result.lines { #expect(line.count <= 80 && !line.contains("\u{1B}"), "\(line)") }
        for limit in ["0", "10001", "x"] {
            #expect(try await database.daemon(["removed", "--limit", limit]).status == 64)
        }
    }
}
