import Foundation
import Postgres
import SessionCleanup
import TestServers
import Testing

/// The command `pg-cron` on a server with the real pg_cron.
@Suite(
    .serialized,
    .enabled(if: MigrationTests.hasCron, "pg_cron is not installed; scripts/install-tools test installs it"))
struct PgCronTests {
    private static func server() async throws -> PostgresServer {
        let packaged = try await PostgresServer.packaged()
        let server = try await PostgresServer(
            binaries: packaged.binaries,
            settings: ["shared_preload_libraries = 'pg_cron'", "cron.database_name = 'postgres'"])
        try await server.query("CREATE DATABASE another")
        try await server.query(
            """
            CREATE EXTENSION pg_cron;
            SELECT cron.schedule('mcp-cleanup-transient-sessions', '*/5 * * * *', 'SELECT 1');
            SELECT cron.schedule('cleanup-dormant-sessions', '0 0 * * *', 'SELECT ''é'' -- two');
            SELECT cron.schedule('mcp-cleanup-dormant-sessions', '0 0 * * *', 'SELECT 3');
            SELECT cron.schedule('vacuum', '0 1 * * *', 'SELECT 4');
            SELECT cron.alter_job(3, active := false);
            SELECT cron.schedule_in_database('cleanup-transient-sessions', '* * * * *', 'SELECT 5', 'another');
            """)
        return server
    }

    private static func daemon(
        _ action: String, _ url: String, json: Bool = true
    ) async throws -> CommandResult {
        // The jobs of most tests have commands of their own.
        let accepts = action == "takeover"
        return try await Command.run(
            Command.daemon, ["pg-cron", action] + (json ? ["--json"] : []) + (accepts ? ["--accept-differences"] : []),
            environment: ["NEON_DATABASE_URL": url])
    }

    /// All of pg_cron's jobs, as they are.
    private static func jobs(_ server: PostgresServer) async throws -> [String] {
        try await server.query(
            "SELECT concat_ws(' ', jobid, jobname, active, command, database) AS job FROM cron.job ORDER BY jobid"
        ).rows.map { try $0.text("job") }
    }

    private static func line(
        _ id: Int, _ name: String, _ schedule: String, active: Bool, takenOver: Bool = false, changed: Bool = false
    ) -> String {
        #"{"job":"\#(name)","job_id":\#(id),"schedule":"\#(schedule)","role":"postgres","active":\#(active),"#
            + #""taken_over":\#(takenOver),"changed":\#(changed)}"#
    }

    private static func lines(active: Bool, takenOver: Bool = false, changed: Bool = false) -> [String] {
        [
            line(
                1, "mcp-cleanup-transient-sessions", "*/5 * * * *", active: active, takenOver: takenOver,
                changed: changed),
            line(2, "cleanup-dormant-sessions", "0 0 * * *", active: active, takenOver: takenOver, changed: changed),
            line(3, "mcp-cleanup-dormant-sessions", "0 0 * * *", active: false),
        ]
    }

    @Test func aTakeoverDeactivatesAndARollbackGivesBackExactlyThose() async throws {
        let server = try await Self.server()
        let before = try await Self.jobs(server)
        #expect(before.count == 5)
        // Directly, and through a pooler.
        let pooler = try await PgBouncer(for: server)
        defer { withExtendedLifetime(pooler) {} }
        for url in [server.url("postgres"), pooler.url("postgres")] {
            #expect(try await Self.daemon("status", url).lines == Self.lines(active: true))
            let nothing = try await Self.daemon("rollback", url)
            #expect(nothing.lines == Self.lines(active: true))
            #expect(try await Self.jobs(server) == before)
            let taken = try await Self.daemon("takeover", url)
            #expect(taken.status == 0, "\(taken)")
            #expect(taken.lines == Self.lines(active: false, takenOver: true, changed: true))
            let after = try await Self.jobs(server)
            #expect(after[0].hasPrefix("1 mcp-cleanup-transient-sessions f SELECT 1\n-- "))
            #expect(after[2...] == before[2...])
            #expect(try await Self.daemon("takeover", url).lines == Self.lines(active: false, takenOver: true))
            #expect(try await Self.jobs(server) == after)
            let back = try await Self.daemon("rollback", url)
            #expect(back.lines == Self.lines(active: true, changed: true))
            #expect(try await Self.jobs(server) == before)
        }
    }

    @Test func whatSomebodyActivatedInBetweenIsTakenOnceMore() async throws {
        let server = try await Self.server()
        let before = try await Self.jobs(server)
        let url = server.url("postgres")
        _ = try await Self.daemon("takeover", url)
        try await server.query("SELECT cron.alter_job(1, active := true)")
        let taken = try await Self.daemon("takeover", url)
        #expect(taken.output.matches(of: /"changed":true/).count == 1, "\(taken)")
        _ = try await Self.daemon("rollback", url)
        #expect(try await Self.jobs(server) == before)
    }

    @Test func whoMayNotGetsTheSQLForWhoeverMay() async throws {
        let server = try await Self.server()
        let before = try await Self.jobs(server)
        try await server.query(
            "CREATE ROLE stranger LOGIN; CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA cron TO guest")
        // Without the schema; with it, but row security shows nothing; and with a job of its own, but without the function.
        for (role, words) in [("stranger", "may not read cron.job"), ("guest", "row security")] {
            for action in ["status", "takeover", "rollback"] {
                let result = try await Self.daemon(action, server.url("postgres", user: role), json: false)
                #expect(result.status == 77, "\(role): \(result)")
                #expect(result.error.contains(words), "\(result.error)")
                #expect(result.output.contains("FROM cron.job") && result.output.hasSuffix(";\n"), "\(result.output)")
            }
        }
        _ = try await server.query(
            "SELECT cron.schedule('mcp-cleanup-dormant-sessions', '0 0 * * *', 'SELECT 6')", as: "guest")
        let refused = try await Self.daemon("takeover", server.url("postgres", user: "guest"))
        #expect(refused.status == 77, "\(refused)")
        #expect(
            refused.output.hasPrefix(#"{"pg_cron":"forbidden","reason":"the role guest may not change"#), "\(refused)")
        #expect(refused.error.contains("42501"), "\(refused.error)")
        try await server.query("SELECT cron.unschedule(jobid) FROM cron.job WHERE username = 'guest'")
        #expect(try await Self.jobs(server) == before)

        // The printed SQL does what the command would have done.
        func printed(_ action: String) async throws {
            let sql = try await Self.daemon(action, server.url("postgres", user: "stranger"), json: false).output
            try await Command.check(
                server.binaries + "/psql", ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", server.url("postgres")],
                input: sql)
        }
        try await printed("takeover")
        #expect(
            try await Self.daemon("status", server.url("postgres")).lines == Self.lines(active: false, takenOver: true))
        try await printed("rollback")
        #expect(try await Self.jobs(server) == before)
    }

    @Test func aRoleThatOwnsTheJobAndMayAlterItNeedsNoSuperuser() async throws {
        let server = try await Self.server()
        try await server.query(
            """
            CREATE ROLE owner LOGIN; GRANT USAGE ON SCHEMA cron TO owner; SELECT cron.unschedule(1);
            GRANT EXECUTE ON FUNCTION cron.alter_job TO owner;
            """)
        try await server.query(
            "SELECT cron.schedule('mcp-cleanup-transient-sessions', '* * * * *', 'SELECT 7')", as: "owner")
        let url = server.url("postgres", user: "owner")
        let result = try await Self.daemon("takeover", url)
        #expect(result.status == 0, "\(result)")
        #expect(result.lines.count == 1 && result.output.contains(#""active":false,"taken_over":true,"changed":true"#))
        #expect(
            try await Self.daemon("rollback", url).output.contains(#""active":true,"taken_over":false,"changed":true"#))
    }

    @Test func theJobsOfAnotherDatabaseAreLookedForThere() async throws {
        let server = try await Self.server()
        let result = try await Self.daemon("takeover", server.url("another"), json: false)
        #expect(result.status == 77, "\(result)")
        #expect(result.error.contains("in the database postgres"), "\(result.error)")
        #expect(result.output.hasPrefix("-- In the database postgres:\n"), "\(result.output)")
        try await Command.check(
            server.binaries + "/psql", ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", server.url("postgres")],
            input: result.output)
        #expect(try await Self.jobs(server)[4].hasPrefix("5 cleanup-transient-sessions f "))
        #expect(try await Self.jobs(server)[0].hasPrefix("1 mcp-cleanup-transient-sessions t "))
    }

    @Test func withoutPgCronThereIsNothingToDo() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        for action in ["status", "takeover", "rollback"] {
            let result = try await Self.daemon(action, database.url)
            #expect(result.status == 0, "\(result)")
            #expect(result.lines == [#"{"pg_cron":"absent"}"#])
        }
        let text = try await Self.daemon("status", database.url, json: false)
        #expect(text.output == "pg_cron is not in this database.\n")
    }

    @Test func checkWarnsOfTwinsThatAreActive() async throws {
        let server = try await Self.server()
        try await server.query(SessionsDatabase.migration("20260513010000_install_mcp_sessions"))
        func cron() async throws -> String {
            let result = try await Command.run(
                Command.daemon, ["check", "--json"], environment: ["NEON_DATABASE_URL": server.url("postgres")])
            #expect(result.status == 0, "\(result)")
            return result.lines.last ?? ""
        }
        let before = try await cron()
        #expect(
            before.hasPrefix(#"{"check":"pg-cron","status":"warn","#) && before.contains("pg-cron takeover"),
            "\(before)")
        _ = try await Self.daemon("takeover", server.url("postgres"))
        let after = try await cron()
        #expect(after.hasPrefix(#"{"check":"pg-cron","status":"ok","#), "\(after)")
    }

    /// A takeover compares each job's schedule and command with the daemon's.
    @Test func aTakeoverStopsWhereAJobDiffersFromTheDaemons() async throws {
        let server = try await Self.server()
        let url = server.url("postgres")
        try await server.query("SELECT cron.unschedule(jobid) FROM cron.job")
        try await server.query(SessionsDatabase.migration("20260513020000_add_session_cleanup_cron"))
        func takeover(_ arguments: [String] = []) async throws -> CommandResult {
            try await Command.run(
                Command.daemon, ["pg-cron", "takeover"] + arguments, environment: ["NEON_DATABASE_URL": url])
        }
        let isolated = "DELETE FROM public.mcp_sessions WHERE active = true AND updated_at < now() - interval"
        for (schedule, command, isSame) in [
            ("0 0 * * *", "\(isolated) '30 days'", true),
            (
                "0  0 * * *",
                "delete from mcp_sessions where updated_at < NOW() - INTERVAL '720 hours'\n  and active = TRUE;", true
            ),
            // Times the seconds of a week, it is 30 days in 64 bits.
            ("0 0 * * *", "\(isolated) '102939420054182770 weeks'", false),
            ("0 0 * * *", "\(isolated) '90 days'", false), ("*/15 * * * *", "\(isolated) '30 days'", false),
            ("0 0 * * *", "\(isolated) '30 days' AND user_id <> 'x'", false),
            ("0 0 * * *", "\(isolated) '30 days' OR true", false),
            (
                "0 0 * * *",
                "DELETE FROM app.mcp_sessions WHERE active = true AND updated_at < now() - interval '30 days'", false
            ),
            ("0 0 * * *", "\(isolated) '30 days'; VACUUM", false),
        ] {
            try await server.query(
                "SELECT cron.schedule('mcp-cleanup-dormant-sessions', '\(schedule)', $sql$\(command)$sql$)")
            let before = try await Self.jobs(server)
            let result = try await takeover()
            #expect(result.status == (isSame ? 0 : 78), "\(command): \(result)")
            if !isSame {
                #expect(try await Self.jobs(server) == before, "\(command)")
                #expect(result.output.contains(schedule) && result.output.contains(command), "\(result.output)")
                #expect(result.output.contains("updated_at < now() - interval '720 hours'"), "\(result.output)")
                #expect(result.error.contains("--accept-differences"), "\(result.error)")
                #expect(try await takeover(["--accept-differences"]).status == 0)
            }
            #expect(try await server.value("SELECT count(*) FROM cron.job WHERE active", in: "postgres") == "0")
            _ = try await Self.daemon("rollback", url)
        }
        let status = try await Command.run(
            Command.daemon, ["pg-cron", "status", "--accept-differences"], environment: ["NEON_DATABASE_URL": url])
        #expect(status.status == 64, "\(status)")
    }
}
