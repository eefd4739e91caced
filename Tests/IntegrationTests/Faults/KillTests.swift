import Foundation
import Glibc
import SeededRandom
import TestServers
import Testing

/// The program killed at random instants, under load: rows deleted and rows accounted stay the same number.
@Suite(.slow, .inTurn) struct KillTests {
    struct Lane: Sendable, CustomTestStringConvertible {
        let isService: Bool
        let isPooled: Bool
        let seed: UInt64
        var testDescription: String {
            "\(isService ? "the service" : "--once")\(isPooled ? " through PgBouncer" : ""), seed \(seed)"
        }
    }

    static let lanes = zip(
        [(false, false), (true, false), (false, true), (true, true)],
        SeededRandom.seeds(1, for: "kills").flatMap { [$0, $0 &+ 1, $0 &+ 2, $0 &+ 3] }
    ).map { Lane(isService: $0.0, isPooled: $0.1, seed: $1) }

    @Test(arguments: lanes)
    func killedAtAnyInstantItLosesAndDoublesNothing(lane: Lane) async throws {
        let kills = 50 * Soak.factor
        let watched = try await WatchedDatabase(on: .packaged(), secondsPerRow: 0.002)
        let pooler = lane.isPooled ? try await PgBouncer(for: watched.database.server, poolSize: 2) : nil
        let url = pooler?.url(watched.database.name) ?? watched.database.url
        try await watched.database.run(WatchedDatabase.due(200))
        var generator = SeededRandom(seed: lane.seed)
        var (killed, duringARun) = (0, 0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await watched.change(seed: lane.seed &+ 1) }
            // On a busy machine many kills come when no run is under way: then more follow, up to four times as many.
            while killed < kills || duringARun < kills / 4, killed < kills * 4 {
                killed += 1
                let process = try VictimProcess(isService: lane.isService, url: url)
                // Half of the kills come within 60 ms of the process's start, half within 60 ms of its claim.
                if Bool.random(using: &generator) { try await process.waitForClaim(in: watched) }
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...60, using: &generator)))
                try await process.kill()
                let own = "status = 'running' AND split_part(claimed_by, ':', 2) = '\(process.identifier)'"
                if try await watched.database.count(own, in: "mcp_cleanup.runs") > 0 { duringARun += 1 }
                // Otherwise the next process would find the run held for 3 s, and have no work at which to be killed.
                try await watched.age()
            }
            group.cancelAll()
        }
        try await watched.expectExactAccounts("seed \(lane.seed)")
        #expect(duringARun >= kills / 4, "too few of \(killed) kills came during a run: seed \(lane.seed)")
        let last = try await watched.finish(url: url)
        #expect(last.status == 0, "\(last)")
        try await watched.expectExactAccounts("seed \(lane.seed)")
        #expect(try await watched.integer("SELECT count(*) FROM mcp_cleanup.runs WHERE status = 'running'") == 0)
        #expect(
            try await watched.value("SELECT sum(rows_deleted) FROM mcp_cleanup.runs")
                == watched.value("SELECT count(*) FROM witness"))
        #expect(try await watched.database.count("expires_at < now() AND active IS NOT TRUE") == 0)
        let deleted = try await watched.integer("SELECT count(*) FROM witness")
        print("\(lane.testDescription): \(killed) kills, \(duringARun) during a run, \(deleted) rows")
    }
}

/// The program, to be killed.
final class VictimProcess: Sendable {
    private let process: Locked<Process>
    let identifier: Int32

    init(isService: Bool, url: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try Command.daemon)
        process.arguments = isService ? [] : ["--once"]
        process.environment = WatchedDatabase.environment.merging([
            "NEON_DATABASE_URL": url, "MCP_CLEANUP_HTTP_LISTEN": "off",
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE": "1 seconds",
        ]) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.runWithSignals()
        identifier = process.processIdentifier
        self.process = Locked(process)
    }

    /// Waits until the process owns a run, or has ended, or four seconds have passed.
    func waitForClaim(in watched: WatchedDatabase) async throws {
        let own = "split_part(claimed_by, ':', 2) = '\(identifier)' AND status = 'running'"
        let deadline = ContinuousClock.now + .seconds(4)
        while ContinuousClock.now < deadline, process.withLock({ $0.isRunning }),
            try await watched.database.count(own, in: "mcp_cleanup.runs") == 0
        {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Kills it and waits for its end.
    func kill() async throws {
        Glibc.kill(identifier, SIGKILL)
        while process.withLock({ $0.isRunning }) { try await Task.sleep(for: .milliseconds(1)) }
    }
}
