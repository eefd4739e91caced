import Foundation
import Glibc
import TestServers
import Testing

@Suite struct SleepingDatabaseTests {
    private static let pending = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        VALUES ('s', 'u', 'x', 'sse', 'x', now() + interval '20 seconds');
        """

    @Test(.slow) func leavesTheDatabaseAloneUntilSomethingIsDue() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.pending)
        let daemon = try RunningDaemon(
            url: database.url,
            environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_MAX_STALENESS": "1h"])
        try await daemon.wait("the removal", limit: .seconds(60)) { try await database.count() == 0 }
        try await daemon.wait("the rest") {
            try daemon.log.contains("nothing is due before") && daemon.runs.count >= 3
        }
        let runs = try daemon.runs
        let finding = try #require(runs.firstIndex { $0["rows_deleted"] == "1" })
        // At most: a run that finds nothing and reads when something will be due, a run for a second that had begun, and the run
        // that deletes.
        #expect(finding <= 2, "\(runs)")
        #expect(try daemon.log.contains("nothing is due before"))
        let count = try daemon.runs.count
        try await Task.sleep(for: .seconds(3))
        // Nothing is left, so the next run is an hour away.
        #expect(try daemon.runs.count <= count + 1)
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }
}
