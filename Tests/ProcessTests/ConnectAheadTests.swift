import Foundation
import Glibc
import TestServers
import Testing

/// The connection for a fire time is opened a second before it.
@Suite struct ConnectAheadTests {
    /// Without history: nobody looks back after the start, and nothing is said of what is missing.
    private static func daemon(url: String) throws -> RunningDaemon {
        try RunningDaemon(
            url: url, schedules: ("5 seconds", "0 0 1 1 *"), environment: ["MCP_CLEANUP_HISTORY_MODE": "off"])
    }

    /// Connections of the service to the database that have not been used yet.
    private static func unused(in database: SessionsDatabase) -> String {
        """
        FROM pg_stat_activity WHERE datname = '\(database.name)' AND application_name = 'mcp-cleanupd' AND query = ''
          AND clock_timestamp() - backend_start < interval '0.5 seconds'
        """
    }

    @Test func aRunUsesAConnectionThatIsOlderThanItsFireTime() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE connected (at timestamptz);
            CREATE FUNCTION note() RETURNS TRIGGER AS $$ BEGIN
                INSERT INTO connected SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid();
                RETURN NULL;
            END $$ LANGUAGE plpgsql;
            CREATE TRIGGER note AFTER DELETE ON mcp_sessions EXECUTE FUNCTION note();
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n::text, 'u', 'x', 'sse', 'x', now() + n * interval '1 second' FROM generate_series(1, 60) AS n;
            """)
        let daemon = try Self.daemon(url: database.url)
        // Where the machine is so busy that connecting takes more than a second, a run connects by itself.
        try await daemon.wait("a connection before a fire time", limit: .seconds(50)) {
            let seconds = "extract(epoch FROM at)::numeric"
            return try await database.server.value(
                "SELECT count(*) FROM connected WHERE \(seconds) % 5 > 3.9", in: database.name) != "0"
        }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        #expect(try daemon.runs.dropLast().allSatisfy { $0["outcome"] == "succeeded" })
    }

    @Test func aConnectionThatWasLostBeforeItsFireTimeIsReplacedWithoutAWord() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try Self.daemon(url: database.url)
        try await daemon.wait("a connection to be ended") {
            try await database.server.value(
                "SELECT count(pg_terminate_backend(pid)) \(Self.unused(in: database))", in: "postgres") == "1"
        }
        let count = try daemon.runs.count
        try await daemon.wait("the run") { try daemon.runs.count > count }
        #expect(try daemon.runs.allSatisfy { $0["outcome"] == "succeeded" && $0["attempts"] == "1" })
        let log = try daemon.log
        #expect(try daemon.events.allSatisfy { !["warning", "error"].contains($0["level"]) }, "\(log)")
    }

    @Test func endsWhileItIsConnectedAndWaitsForTheFireTime() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try Self.daemon(url: database.url)
        try await daemon.wait("a connection") {
            try await database.server.value("SELECT count(*) \(Self.unused(in: database))", in: "postgres") == "1"
        }
        let asked = ContinuousClock.now
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        #expect(asked.duration(to: .now) < .seconds(5))
    }

    @Test func aServerThatDoesNotAnswerHoldsNoFireTimeUp() async throws {
        let visits = Visits()
        let listener = try Listener { _ in visits.note() }
        let daemon = try Self.daemon(url: "postgresql://u@127.0.0.1:\(listener.port)/d?sslmode=disable")
        // Before the fire time, and at it.
        try await daemon.wait("two attempts to connect") { visits.instants.count >= 2 }
        let wait = visits.instants[0].duration(to: visits.instants[1])
        #expect(wait > .milliseconds(700) && wait < .seconds(3), "\(wait)")
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        // Only the run tells of its failure.
        let log = try daemon.log
        #expect(try daemon.events.count { ["warning", "error"].contains($0["level"]) } <= 1, "\(log)")
    }

    private final class Visits: Sendable {
        private let times = Locked<[ContinuousClock.Instant]>([])
        var instants: [ContinuousClock.Instant] { times.withLock { $0 } }
        func note() { times.withLock { $0.append(.now) } }
    }
}
