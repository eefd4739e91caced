import Foundation
import Glibc
import TestServers
import Testing

/// Runs that pass from one process to the next: by a shutdown, a death, or `--once` beside the service.
@Suite(.inTurn) struct HandoverTests {
    private static let job = "mcp-cleanup-transient-sessions"

    private static func watched(due: Int) async throws -> WatchedDatabase {
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(WatchedDatabase.due(due))
        return watched
    }

    private static func daemon(
        _ watched: WatchedDatabase, schedule: String = "1 seconds",
        environment: [String: String] = WatchedDatabase.environment
    ) throws -> RunningDaemon {
        try RunningDaemon(url: watched.database.url, schedules: (schedule, "0 0 1 1 *"), environment: environment)
    }

    private static func status(_ watched: WatchedDatabase) async throws -> String {
        try await watched.value(
            "SELECT string_agg(status, ' ' ORDER BY run_id) FROM mcp_cleanup.runs") ?? ""
    }

    @Test func aShutdownInTheMiddleLeavesACanceledRunWithExactCounts() async throws {
        let watched = try await Self.watched(due: 200)
        let daemon = try Self.daemon(watched, environment: WatchedDatabase.withPauses)
        try await daemon.wait("some batches") { try await watched.integer("SELECT count(*) FROM witness") > 2 }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        let log = try daemon.log
        #expect(try await Self.status(watched) == "canceled", "\(log)")
        try await watched.expectExactAccounts("\(try daemon.log)")
        let deleted = try await watched.integer("SELECT count(*) FROM witness")
        #expect(deleted > 2 && deleted < 200)
        #expect(try daemon.runs.last?["rows_deleted"] == "\(deleted)", "\(log)")
        let next = try Self.daemon(watched)
        try await next.wait("the rest") { try await watched.database.count() == 0 }
        next.signal(SIGTERM)
        #expect(try await next.exitStatus() == 0)
        try await watched.expectExactAccounts("\(try next.log)")
    }

    /// A restart at midnight must not put the work off until the next night.
    @Test(arguments: [SIGTERM, SIGKILL])
    func aRestartGoesOnWithTheRunThatWasCutShort(signal: Int32) async throws {
        let watched = try await Self.watched(due: 100)
        // A fire time in the past, and none to come soon.
        let schedule = "0 0 1 1 *"
        try await watched.database.run(
            """
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
            VALUES ('\(Self.job)', now() - interval '3 years', 'schedule', 'x', 1, 'succeeded', now(), now(), now())
            """)
        let daemon = try Self.daemon(watched, schedule: schedule, environment: WatchedDatabase.withPauses)
        try await daemon.wait("some batches of the run for the missed fire time") {
            try await watched.integer("SELECT count(*) FROM witness") > 2
        }
        daemon.signal(signal)
        _ = try await daemon.exitStatus()
        #expect(try await watched.database.count() > 0)
        if signal == SIGKILL {
            // A run of another job, in any process, closes the row that the killed process left.
            // The server may still run the batch, which counts as a heartbeat.
            try await eventually("another job's run closes it") {
                try await watched.age()
                let other = try await watched.database.daemon(["--once", "--job", "dormant"])
                #expect(other.status == 0, "\(other)")
                return try await Self.status(watched).contains("abandoned")
            }
        }
        let next = try Self.daemon(watched, schedule: schedule)
        try await next.wait("the rest") { try await watched.database.count() == 0 }
        try await next.wait("the run's end") { try await !Self.status(watched).contains("running") }
        #expect(
            try await watched.value(
                """
                SELECT concat_ws(' ', status, attempts, rows_deleted) FROM mcp_cleanup.runs
                 WHERE job = '\(Self.job)' AND claimed_by <> 'x'
                """) == "succeeded 2 100")
        next.signal(SIGTERM)
        #expect(try await next.exitStatus() == 0)
        try await watched.expectExactAccounts("\(try next.log)")
    }

    @Test func onceBesideARunOfTheServiceIsSkipped() async throws {
        let watched = try await Self.watched(due: 100)
        let daemon = try Self.daemon(watched, environment: WatchedDatabase.withPauses)
        try await daemon.wait("a run") { try await Self.status(watched) == "running" }
        let once = try await watched.database.daemon(["--once", "--json"], environment: WatchedDatabase.environment)
        #expect(once.status == 0, "\(once)")
        #expect(once.output.contains(#""outcome":"skipped""#), "\(once)")
        #expect(once.output.contains(#""rows_deleted":0,"#), "\(once)")
        #expect(once.output.contains(#""error":null"#), "\(once)")
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        try await watched.expectExactAccounts("\(once)")
    }

    @Test(.slow) func aFireTimeDuringAOnceIsAnsweredAfterIt() async throws {
        let watched = try await Self.watched(due: 50)
        let once = try RunningCommand(
            ["--once", "--json"], url: watched.database.url, environment: WatchedDatabase.withPauses)
        try await eventually("the run is under way") { try await Self.status(watched) == "running" }
        let daemon = try Self.daemon(watched)
        try await daemon.wait("a fire time") { try daemon.log.contains("is at a run of the job") }
        let result = await once.end()
        #expect(result.status == 0 && result.output.contains(#""rows_deleted":50,"#), "\(result)")
        try await daemon.wait("the fire time's own run") {
            try await watched.database.count("origin <> 'once' AND status = 'succeeded'", in: "mcp_cleanup.runs") >= 1
        }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        try await watched.expectExactAccounts("\(try daemon.log)")
    }
}
