import Foundation
import Glibc
import SeededRandom
import SessionCleanup
import TestServers
import Testing

/// Jobs that a file names, on tables that are not the sessions'.
@Suite(.inTurn) struct OwnJobTests {
    private func file(_ text: String) throws -> String {
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private static let codes = """
        CREATE TABLE public.oauth_authorization_codes (
            code_hash BYTEA PRIMARY KEY, client_id TEXT NOT NULL, consumed_at TIMESTAMPTZ, expires_at TIMESTAMPTZ NOT NULL);
        CREATE INDEX ON public.oauth_authorization_codes (expires_at);
        INSERT INTO public.oauth_authorization_codes
        SELECT decode(md5(n::text), 'hex'), 'client', CASE WHEN n % 3 = 0 THEN now() END,
               now() + CASE WHEN n % 2 = 0 THEN -1 ELSE 1 END * interval '1 hour'
          FROM generate_series(1, 3000) AS n;
        """

    private static let codesJob = """
        jobs:
          oauth-codes:
            table: public.oauth_authorization_codes
            where: expires_at < $1 OR consumed_at IS NOT NULL AND $1 > consumed_at
            schedule: "*/10 * * * *"
        """

    @Test func removesUsedAndExpiredAuthorizationCodesAndRecordsIt() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"))
        try await database.run(Self.codes + PrivilegeTests.population)
        let config = try file(Self.codesJob)
        let preview = try await database.daemon([
            "--once", "--dry-run", "--json", "--job", "oauth-codes", "--config", config,
        ])
        #expect(preview.output.contains(#""job":"oauth-codes","due_rows":2000,"oldest_due_at":null"#), "\(preview)")
        let result = try await database.daemon(["--once", "--json", "--config", config])
        #expect(result.status == 0 && result.lines.count == 3, "\(result)")
        #expect(result.lines.last?.contains(#""outcome":"succeeded""#) ?? false)
        #expect(result.lines.last?.contains(#""rows_deleted":2000"#) ?? false, "\(result)")
        #expect(try await database.count(in: "public.oauth_authorization_codes") == 1000)
        #expect(try await database.sessions() == ["live-1", "live-2"])
        let recorded = try await database.value(
            "SELECT status || ' ' || rows_deleted FROM mcp_cleanup.runs WHERE job = 'oauth-codes'")
        #expect(recorded == "succeeded 2000")
    }

    /// `migrate --indexes` makes no index for such a table, so `check` must not recommend it.
    @Test func checkSaysWhoseIndexALargeTableOfOnesOwnIsWorth() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE public.tokens (token TEXT, expires_at TIMESTAMPTZ);
            INSERT INTO public.tokens SELECT repeat('x', 1000), now() FROM generate_series(1, 9000);
            ANALYZE public.tokens;
            """)
        let config = try file(
            "jobs: { tokens: { table: public.tokens, where: expires_at < $1, schedule: \"@hourly\" } }")
        let check = try await database.daemon(["check", "--json", "--config", config])
        let search = try #require(check.lines.first { $0.contains("tokens: Seq Scan, which reads ") }, "\(check)")
        #expect(search.contains(#""status":"warn""#) && search.contains("jobs.tokens.where"), "\(search)")
        #expect(!check.output.contains("migrate --indexes"), "\(check)")
    }

    @Test func checkNamesTheJobWhoseSearchFails() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        try await database.run(
            """
            CREATE TABLE public.tokens (expires_at TIMESTAMPTZ);
            GRANT SELECT, UPDATE, DELETE ON public.tokens TO \(role);
            CREATE FUNCTION public.is_old(timestamptz, timestamptz) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
                AS 'BEGIN RETURN $1 < $2; END';
            REVOKE EXECUTE ON FUNCTION public.is_old FROM PUBLIC;
            """)
        let config = try file(
            "jobs: { tokens: { table: public.tokens, where: \"public.is_old(expires_at, $1)\", schedule: \"@hourly\" } }"
        )
        let check = try await database.daemon(
            ["check", "--json", "--config", config], url: database.server.url(database.name, user: role))
        #expect(check.status == 77, "\(check)")
        let search = try #require(check.lines.first { $0.contains(#""status":"fail""#) }, "\(check)")
        #expect(search.contains(#""check":"search""#) && search.contains(#""message":"tokens: "#), "\(search)")
    }

    @Test func runsBesideTheBuiltInJobsInTheService() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.codes)
        let config = try file(Self.codesJob.replacingOccurrences(of: "*/10 * * * *", with: "1 seconds"))
        let daemon = try RunningDaemon(url: database.url, arguments: ["--config", config])
        try await daemon.wait("a removal") {
            try daemon.runs.contains { $0["job"] == "oauth-codes" && $0["outcome"] == "succeeded" }
        }
        #expect(try await database.count(in: "public.oauth_authorization_codes") == 1000)
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    private static var hasCron: Bool {
        FileManager.default.fileExists(atPath: "/usr/lib/postgresql/15/lib/pg_cron.so")
    }

    @Test(.enabled(if: hasCron, "pg_cron is not installed; scripts/install-tools test installs it"))
    func removesOldRunDetailsOfItsNeighborPgCron() async throws {
        let packaged = try await PostgresServer.packaged()
        let server = try await PostgresServer(
            binaries: packaged.binaries,
            settings: ["shared_preload_libraries = 'pg_cron'", "cron.database_name = 'postgres'"])
        try await server.query(
            """
            CREATE EXTENSION pg_cron;
            INSERT INTO cron.job_run_details (jobid, runid, username, status, start_time, end_time)
            SELECT 1, n, 'postgres', 'succeeded', now() - n * interval '1 day', now() - n * interval '1 day'
              FROM generate_series(0, 29) AS n;
            CREATE ROLE cleaner LOGIN;
            GRANT USAGE ON SCHEMA cron TO cleaner;
            GRANT SELECT, UPDATE, DELETE ON cron.job_run_details TO cleaner;
            """)
        let config = try file(
            """
            jobs:
              cron-details:
                table: cron.job_run_details
                where: end_time < $1 - interval '7 days'
                schedule: "0 4 * * *"
                max-rows: 1000
            """)
        let arguments = ["--once", "--json", "--job", "cron-details", "--config", config]
        // The table's row security shows each role its own rows only: a run must not silently leave the others.
        let hidden = try await Command.run(
            Command.daemon, arguments, environment: ["NEON_DATABASE_URL": server.url("postgres", user: "cleaner")])
        #expect(hidden.status == 77 && hidden.error.contains("row security on cron.job_run_details"), "\(hidden)")
        let result = try await Command.run(
            Command.daemon, arguments, environment: ["NEON_DATABASE_URL": server.url("postgres")])
        #expect(result.status == 0 && result.output.contains(#""rows_deleted":23"#), "\(result)")
        #expect(try await server.value("SELECT count(*) FROM cron.job_run_details", in: "postgres") == "7")
    }

    /// The first search does not reach the row for which the condition fails: a batch over pages does.
    @Test func aConditionThatDividesByZeroFailsTheRunAtOnce() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE public.quotas (quota INT, expires_at TIMESTAMPTZ);
            INSERT INTO public.quotas SELECT CASE WHEN n = 60000 THEN 0 ELSE 10 END, now() - interval '1 hour'
              FROM generate_series(1, 70000) AS n;
            """)
        let config = try file(
            """
            jobs:
              quotas:
                table: public.quotas
                where: expires_at < $1 AND 100 / quota > 5
                schedule: "0 4 * * *"
                deadline: 20s
            """)
        let result = try await database.daemon(["--once", "--json", "--job", "quotas", "--config", config])
        #expect(result.output.contains(#""outcome":"failed""#) && result.output.contains("22012"), "\(result)")
        let failures = try await database.value(
            "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        #expect(try #require(failures.flatMap(Int.init)) < 10)
    }

    @Test(arguments: [
        ("expires_at < $1 AND random() < 0.5", 78, "calls random, which may answer otherwise"),
        ("expires_at < clock_timestamp() AND $1 > expires_at", 78, "calls clock_timestamp"),
        ("expires_at < $1 AND app.roll(client_id)", 78, "calls app.roll"),
        ("expires_at < $1 AND roll(client_id)", 78, "42883"), ("no_such_column < $1", 78, "42703"),
        ("expires_at < $1 AND oauth_authorization_codes.draw", 78, "a volatile operator, cast or function"),
        ("expires_at < $1 AND client_id OPERATOR(app.~~~) 'x'", 78, "a volatile operator, cast or function"),
        ("expires_at < $1 AND (client_id::app.coin) IS NOT NULL", 78, "a volatile operator, cast or function"),
        ("expires_at < $1 AND $1 > '2100-01-01' AND random() < 0.5", 78, "calls random"),
        ("expires_at < $1 AND app.steady(client_id)", 0, ""),
        ("expires_at < $1 AND client_id", 78, "42804"), ("expires_at < $1 AND AND true", 78, "42601"),
        ("expires_at < $1 AND client_id = lower('CLIENT') AND now() >= expires_at", 0, ""),
    ])
    func refusesAConditionThatTheServerRefusesOrThatAnswersAtRandom(
        sql: String, status: Int32, words: String
    ) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.codes + """
                CREATE SCHEMA app;
                CREATE FUNCTION app.roll(text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
                CREATE FUNCTION app.steady(text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
                CREATE FUNCTION app.steady(int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
                CREATE FUNCTION draw(oauth_authorization_codes) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
                CREATE FUNCTION app.differ(text, text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
                CREATE OPERATOR app.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = app.differ);
                CREATE TYPE app.coin AS (side int);
                CREATE FUNCTION app.flip(text) RETURNS app.coin LANGUAGE sql VOLATILE AS 'SELECT ROW(1)::app.coin';
                CREATE CAST (text AS app.coin) WITH FUNCTION app.flip(text);
                """)
        let config = try file(
            """
            jobs:
              codes:
                table: public.oauth_authorization_codes
                where: "\(sql)"
                schedule: "@daily"
            """)
        for arguments in [["--once", "--dry-run"], ["--once"]] {
            let result = try await database.daemon(arguments + ["--job", "codes", "--config", config])
            #expect(result.status == status && (words.isEmpty || result.error.contains(words)), "\(result)")
            if words.hasPrefix("42") { #expect(result.error.contains("Correct jobs.codes.where"), "\(result)") }
        }
        // Before any run, check says the same.
        let check = try await database.daemon(["check", "--json", "--config", config])
        let isRefused = check.lines.contains {
            $0.hasPrefix(#"{"check":"search","status":"fail","#) && $0.contains(words)
        }
        #expect(check.status == status && isRefused == (status != 0), "\(check)")
        #expect(try await database.count(in: "public.oauth_authorization_codes") == (status == 0 ? 1500 : 3000))
    }

    /// Text that the lexer accepts stays inside its parentheses: no row is found where the rest says that none is.
    @Test(.slow) func theServerReadsNoAcceptedConditionBeyondItsParentheses() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run("CREATE TABLE t (a int, b text, c timestamptz); INSERT INTO t VALUES (1, 'x', now())")
        var generator = SeededRandom(seed: SeededRandom.seed())
        let operands = [
            "true", "a = 1", "b = 'x'", "(c < now())", "NOT (true)", "\"b\" IS NULL", "b IN ('(', ')')",
            "(ARRAY[a])[1] = 1",
        ]
        // Texts that could close our parenthesis, and texts that could hide its counterpart from a less careful reader.
        let breakers = [") OR (", ") OR true OR (", ") OR true --", ") --", ";", "'", "\"", "::text", "]", "(", ")"]
        let hidden = [
            "", "/*(*/", "/*)*/", "--(\n", "--)\n", "'('", "')'", "\"(\"", "\")\"", "E'\\'('", "E'\\')'", "$$($$",
            "$q$)$q$", "U&'('",
            "/*/*(*/*/", "'", "(", ")", "\u{A0}", "é", "\n",
        ]
        var accepted = 0
        var understood = 0
        for _ in 0..<40_000 {
            func any(_ pieces: [String]) -> String { pieces.randomElement(using: &generator)! }
            let joint = Bool.random(using: &generator) ? any([" OR ", " AND "]) : any(breakers)
            let text = any(hidden) + any(operands) + joint + any(operands) + any(hidden)
            guard let condition = try? RowCondition(parsing: "\(text) OR c < $1") else { continue }
            accepted += 1
            guard accepted <= 1000 else { break }
            let statement = "SELECT count(*) FROM t WHERE (\(condition.sql)) AND false".replacingOccurrences(
                of: "$1", with: "now()")
            // A condition that the server refuses does no harm.
            guard let found = try? await database.value(statement) else { continue }
            understood += 1
            #expect(found == "0", "\(text)")
        }
        #expect(accepted > 500 && understood > 30, "\(accepted) accepted, \(understood) understood")
    }
}
