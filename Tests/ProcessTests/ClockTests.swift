import Foundation
import TestServers
import Testing

/// The real daemon under a wall clock that is set while it runs. The database's clock stays as it is.
@Suite struct ClockTests {
    @Test func answersAForwardStepOfADayWithOneRunPerJob() async throws {
        let clock = try await SteppedClock()
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("*/5 * * * *", "0 0 * * *"), environment: clock.environment)
        try await daemon.wait("the start") { try daemon.log.contains("next at") }
        try clock.step(to: 86_400)
        try await daemon.wait("a run of each job") { try daemon.runs.count >= 2 }
        // Whatever else came of the step would have come by then.
        try await daemon.wait("a second look") { try daemon.events.count >= 6 }
        #expect(try Set(daemon.runs.compactMap { $0["job"] }).count == 2)
        #expect(try daemon.runs.count == 2)
        #expect(try daemon.log.contains("The clock was set"))
    }

    @Test func answersNoFireTimeTwiceAfterABackwardStep() async throws {
        let clock = try await SteppedClock()
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("1 seconds", "0 0 1 1 *"),
            environment: clock.environment.merging(["MCP_CLEANUP_DATABASE_MAX_CLOCK_SKEW": "1h"]) { $1 })
        try await daemon.wait("five runs") { try daemon.runs.count >= 5 }
        let before = try daemon.runs.count
        try clock.step(to: -4)
        try await daemon.wait("five more runs") { try daemon.runs.count >= before + 5 }
        let fireTimes = try daemon.runs.compactMap { $0["fire_time"] }
        #expect(Set(fireTimes).count == fireTimes.count)
    }

    @Test func keepsRunningAfterAClockThatRanAYearAheadIsPutRight() async throws {
        let clock = try await SteppedClock(offset: 365 * 86_400)
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(url: database.url, environment: clock.environment)
        try await daemon.wait("runs ahead of time") { try daemon.runs.count >= 3 }
        try clock.step(to: 0)
        let year = "\(Calendar(identifier: .gregorian).component(.year, from: Date()))"
        try await daemon.wait("runs in the right year") {
            try daemon.runs.filter { $0["fire_time"]?.hasPrefix(year) ?? false }.count >= 3
        }
    }

    @Test func refusesToDeleteWhenTheDatabaseIsAnHourAheadOfTheHost() async throws {
        let clock = try await SteppedClock(offset: -3600)
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('s', 'u', 'x', 'sse', 'x', now() - interval '1 minute')
            """)
        let result = try await database.daemon(["--once"], environment: clock.environment)
        #expect(result.status == 75)
        #expect(result.error.contains("database's clock"))
        #expect(try await database.count() == 1)
    }
}

/// A library that moves a process's wall clock, and only that, by what a file says; timers that asked to be told of a
/// step are told.
private struct SteppedClock {
    private let directory: String

    init(offset: Int = 0) async throws {
        directory = try TemporaryDirectory.make()
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("clock-step.c")
            .path
        try await Command.check(
            "clang", ["-shared", "-fPIC", "-O1", "-o", directory + "/clock-step.so", source, "-ldl", "-lpthread"])
        try step(to: offset)
    }

    var environment: [String: String] {
        ["LD_PRELOAD": directory + "/clock-step.so", "CLOCK_STEP_FILE": directory + "/offset"]
    }

    /// Sets the clock to the true time and so many seconds.
    func step(to seconds: Int) throws {
        try "\(seconds)\n".write(toFile: directory + "/offset", atomically: true, encoding: .utf8)
    }
}
