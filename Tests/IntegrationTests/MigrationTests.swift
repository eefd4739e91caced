import Foundation
import Postgres
import SessionCleanup
import TestServers
import Testing

/// The migrations of the seed, by our own command and by psql.
@Suite(.inTurn) struct MigrationTests {
    @Test func migratingTwiceChangesNothingTheSecondTime() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        for _ in 0..<2 {
            let result = try await database.daemon(["migrate", "--sessions"])
            #expect(result.status == 0, "\(result.error)")
        }
        try await database.run(PrivilegeTests.population)
        #expect(
            try await database.daemon(["--once"], environment: ["MCP_CLEANUP_HISTORY_MODE": "required"]).status == 0)
        #expect(try await database.sessions() == ["live-1", "live-2"])
    }

    /// A lock request that waits makes all later ones wait too.
    @Test func aMigrationGivesUpSoonOnATableInUse() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let holder = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN ROW EXCLUSIVE MODE")
        let result = try await database.daemon(["migrate", "--sessions"])
        #expect(result.status == 75, "\(result)")
        #expect(result.error.contains("55P03"), "\(result.error)")
        try await holder.rollBack()
    }

    @Test func aRoleThatOwnsNothingIsRefused() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await database.run("CREATE ROLE \(role) LOGIN")
        let result = try await database.daemon(
            ["migrate", "--sessions"], url: database.server.url(database.name, user: role))
        #expect(result.status == 77, "\(result)")
        #expect(result.error.contains("permission denied for schema public"), "\(result.error)")
    }

    static var hasCron: Bool {
        let root = "/usr/lib/postgresql"
        // Without the directory, the extension is not installed.
        return ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
            .contains { FileManager.default.fileExists(atPath: "\(root)/\($0)/lib/pg_cron.so") }
    }

    @Test(.enabled(if: hasCron, "pg_cron is not installed; scripts/install-tools test installs it"))
    func bothFilesRunTwiceUnderPsqlAndTheirJobsDeleteTheSame() async throws {
        let packaged = try await PostgresServer.packaged()
        let server = try await PostgresServer(
            binaries: packaged.binaries,
            settings: ["shared_preload_libraries = 'pg_cron'", "cron.database_name = 'postgres'"])
        for _ in 0..<2 {
            for name in ["20260513010000_install_mcp_sessions", "20260513020000_add_session_cleanup_cron"] {
                let file = try TemporaryDirectory.make() + "/migration.sql"
                try SessionsDatabase.migration(name).write(toFile: file, atomically: false, encoding: .utf8)
                try await Command.check(
                    server.binaries + "/psql",
                    ["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=\(file)", server.url("postgres")])
            }
        }
        let jobs = try await server.query("SELECT jobname, schedule, command, active FROM cron.job ORDER BY jobid").rows
        #expect(
            try jobs.map { try $0.text("jobname") } == [
                "mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions",
            ])
        #expect(try jobs.map { try $0.text("schedule") } == ["*/5 * * * *", "0 0 * * *"])
        #expect(try jobs.allSatisfy { try $0.bool("active") })
        try await server.query(PrivilegeTests.population)
        for job in jobs { try await server.query(job.text("command")) }
        let left = try await server.query("SELECT session_id FROM mcp_sessions ORDER BY 1").rows.map {
            try $0.text("session_id")
        }
        #expect(left == ["live-1", "live-2"])
    }
}
