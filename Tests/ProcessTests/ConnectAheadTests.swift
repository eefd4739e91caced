import Foundation
import Glibc
import TestServers
import Testing

/// The connection for a fire time is opened a second before it.
@Suite struct ConnectAheadTests {
    /// Fires at 0, 5, 10, … seconds, and starts long enough before the next of them. Without history nobody looks back after
    /// the start, and nothing is said of what is missing.
    private static func daemon(url: String, environment: [String: String] = [:]) async throws -> RunningDaemon {
        // Until the next fire time, two seconds at most.
        if phase > 3 { try await Task.sleep(for: .seconds(5 - phase)) }
        return try RunningDaemon(
            url: url, schedules: ("5 seconds", "0 0 1 1 *"),
            environment: environment.merging(["MCP_CLEANUP_HISTORY_MODE": "off"]) { $1 })
    }

    /// Seconds since the last fire time.
    private static var phase: Double { Date().timeIntervalSince1970.truncatingRemainder(dividingBy: 5) }

    /// Has a row due at each second, and notes over which connection rows go.
    private static func noteConnections(in database: SessionsDatabase) async throws {
        try await database.run(
            """
            CREATE TABLE connected (pid integer, at timestamptz);
            CREATE FUNCTION note() RETURNS TRIGGER AS $$ BEGIN
                INSERT INTO connected SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid();
                RETURN NULL;
            END $$ LANGUAGE plpgsql;
            CREATE TRIGGER note AFTER DELETE ON mcp_sessions EXECUTE FUNCTION note();
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n::text, 'u', 'x', 'sse', 'x', now() + n * interval '1 second' FROM generate_series(1, 60) AS n;
            """)
    }

    /// The process that serves such a connection, as soon as there is one.
    private static func waitForUnused(_ daemon: RunningDaemon, in database: SessionsDatabase) async throws -> String {
        var process = "0"
        try await daemon.wait("a connection") {
            process =
                try await database.server.value(
                    "SELECT coalesce(min(pid), 0) \(unused(in: database))", in: "postgres") ?? "0"
            return process != "0"
        }
        return process
    }

    /// Connections of the service to the database that have not been used yet.
    private static func unused(in database: SessionsDatabase) -> String {
        """
        FROM pg_stat_activity WHERE datname = '\(database.name)' AND application_name = 'mcp-cleanupd' AND query = ''
          AND extract(epoch FROM backend_start) % 5 >= 3.9 AND clock_timestamp() - backend_start < interval '0.5 seconds'
        """
    }

    @Test func aRunUsesAConnectionThatIsOlderThanItsFireTime() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await Self.noteConnections(in: database)
        let daemon = try await Self.daemon(url: database.url)
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
        let daemon = try await Self.daemon(url: database.url)
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
        let daemon = try await Self.daemon(url: database.url)
        _ = try await Self.waitForUnused(daemon, in: database)
        let asked = ContinuousClock.now
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        #expect(asked.duration(to: .now) < .seconds(5))
    }

    @Test func aServerThatDoesNotAnswerHoldsNoFireTimeUp() async throws {
        let visits = Visits()
        let listener = try Listener { _ in visits.note() }
        let daemon = try await Self.daemon(url: "postgresql://u@127.0.0.1:\(listener.port)/d?sslmode=disable")
        // A second before the fire time, and a second after it, when what takes that long is given up.
        try await daemon.wait("two attempts to connect") { visits.instants.count >= 2 }
        let wait = visits.instants[0].duration(to: visits.instants[1])
        #expect(wait > .milliseconds(500) && wait < .seconds(10), "\(wait)")
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        // Only the run tells of its failure.
        let log = try daemon.log
        #expect(try daemon.events.count { ["warning", "error"].contains($0["level"]) } <= 1, "\(log)")
    }

    /// The fire time is answered at wake-up, two seconds late; the connection may be dead without anybody's having heard.
    @Test func aSleepOfTheMachineClosesIt() async throws {
        for _ in 0..<3 {
            let clock = try await SteppedClock()
            let database = try await SessionsDatabase(on: .packaged())
            try await Self.noteConnections(in: database)
            let daemon = try await Self.daemon(url: database.url, environment: clock.environment)
            let process = try await Self.waitForUnused(daemon, in: database)
            let before = try daemon.runs.count
            try clock.sleep(for: 3)
            // On a busy machine the fire time may have come before the sleep.
            let isInTime = (3.9...4.8).contains(Self.phase)
            try await daemon.wait("the run") { try daemon.runs.count > before }
            guard isInTime else { continue }
            #expect(try daemon.runs.last?["rows_deleted"] != "0")
            #expect(try await database.value("SELECT count(*) FROM connected WHERE pid = \(process)") == "0")
            return
        }
        Issue.record("the machine is too busy to put a process to sleep in time")
    }

    @Test func aReloadClosesIt() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try await Self.daemon(url: database.url)
        try await Self.expectItIsClosed(by: { daemon.signal(SIGHUP) }, daemon, database)
    }

    /// The fire time is still the next one, and two seconds further away.
    @Test func aClockThatIsSetBackClosesIt() async throws {
        let clock = try await SteppedClock()
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try await Self.daemon(url: database.url, environment: clock.environment)
        var offset = 0
        let setBack = {
            offset -= 2
            try clock.step(to: offset)
        }
        try await Self.expectItIsClosed(by: setBack, daemon, database)
    }

    /// Tries until it was closed so early that no run can have used it: a busy machine may be late for that.
    private static func expectItIsClosed(
        by action: () throws -> Void, _ daemon: RunningDaemon, _ database: SessionsDatabase
    ) async throws {
        for _ in 0..<6 {
            let process = try await waitForUnused(daemon, in: database)
            try action()
            try await daemon.wait("its end") {
                try await database.server.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = \(process)", in: "postgres")
                    == "0"
            }
            if (3.9...4.95).contains(phase) { return }
        }
        Issue.record("it was used, or open until the fire time: \(try daemon.log)")
    }

    private final class Visits: Sendable {
        private let times = Locked<[ContinuousClock.Instant]>([])
        var instants: [ContinuousClock.Instant] { times.withLock { $0 } }
        func note() { times.withLock { $0.append(.now) } }
    }
}
