import Foundation
import TestServers
import Testing

/// The daemon under a wall clock that is set while it runs. The database's clock is not changed.
@Suite(.slow) struct ClockTests {
    @Test func answersAForwardStepOfADayWithOneRunPerJob() async throws {
        let clock = try await SteppedClock()
        let database = try await SessionsDatabase(on: .packaged())
        // No job has a fire time in this hour or the next, so only the step starts runs.
        let hour = Int(Date().timeIntervalSince1970) / 3600 % 24
        let hours = (2..<24).map { "\((hour + $0) % 24)" }.joined(separator: ",")
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("*/5 \(hours) * * *", "0 \((hour + 12) % 24) * * *"),
            environment: clock.environment)
        try await daemon.wait("the start") { try daemon.log.contains("next at") }
        try clock.step(to: 86_400)
        try await daemon.wait("a run of each job") { try daemon.runs.count >= 2 }
        // By now any wrong reaction to the step would have happened.
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

    /// If the clock is set between a read of the timer and its next setting, the kernel reports it only by the error
    /// ECANCELED of that setting.
    @Test func noticesABackwardStepThatOnlyTheSettingOfTheTimerTells() async throws {
        let clock = try await SteppedClock(offset: 3600)
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(
            url: database.url, environment: clock.environment.merging(["CLOCK_STEP_AT_SETTIME": "1"]) { $1 })
        try await daemon.wait("runs ahead of time") { try daemon.runs.count >= 2 }
        let before = ISO8601DateFormatter().string(from: Date() + 1800)
        try clock.step(to: 0)
        try await daemon.wait("runs at the right time") {
            try daemon.runs.filter { $0["fire_time"].map { $0 < before } ?? false }.count >= 3
        }
        #expect(try daemon.log.contains("The clock was set"))
    }

    @Test func runsTheDormantJobAtWakeUpAfterASleepOverMidnight() async throws {
        let midnight = (Int(Date().timeIntervalSince1970) / 86_400 + 1) * 86_400
        // A minute before midnight, and so at most a minute behind the database's clock.
        let clock = try await SteppedClock(offset: midnight - 60 - Int(Date().timeIntervalSince1970))
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active, updated_at)
            VALUES ('s', 'u', 'x', 'sse', 'x', now() - interval '1 hour', true, now() - interval '31 days')
            """)
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("0 0 1 1 *", "0 0 * * *"), environment: clock.environment)
        try await daemon.wait("the start") { try daemon.log.contains("next at") }
        #expect(try await database.count() == 1)
        try clock.sleep(for: 6 * 3600)
        try await daemon.wait("the run of midnight") {
            try daemon.runs.contains { $0["job"] == "mcp-cleanup-dormant-sessions" }
        }
        let run = try #require(try daemon.runs.first { $0["job"] == "mcp-cleanup-dormant-sessions" })
        #expect(
            run["fire_time"]
                == ISO8601DateFormatter().string(from: Date(timeIntervalSince1970: TimeInterval(midnight))))
        #expect(run["outcome"] == "succeeded" && run["rows_deleted"] == "1")
        #expect(try await database.count() == 0)
    }

    /// Every fire time of an hour of the wall clock has its run, and each run fails.
    @Test func outlivesADatabaseThatIsGoneForAnHour() async throws {
        let clock = try await SteppedClock()
        let server = try await PostgresServer(binaries: PostgresServer.packaged().binaries)
        try await server.query(SessionsDatabase.migration("20260513010000_install_mcp_sessions"))
        let daemon = try RunningDaemon(
            url: server.url("postgres"), schedules: ("*/5 * * * *", "0 0 1 1 *"), environment: clock.environment)
        try await daemon.wait("the start") { try daemon.log.contains("next at") }
        server.stop()
        for interval in 1...12 {
            let failures = try daemon.failedAttempts
            try clock.step(to: interval * 300)
            // The first attempt and one retry.
            try await daemon.wait("failed attempts") { try daemon.failedAttempts >= failures + 2 }
        }
        let failed = try daemon.runs
        #expect(failed.count >= 11 && failed.allSatisfy { $0["outcome"] == "failed" })
        #expect(Set(failed.compactMap { $0["fire_time"] }).count == failed.count)
        // The server comes back with its data.
        let restarted = try SupervisedProcess(
            ServerUser.command + [server.binaries + "/postgres", "-D", server.directory + "/data"],
            logPath: server.directory + "/log", stopSignal: "INT")
        try await daemon.wait("a run that succeeds") { try daemon.runs.last?["outcome"] == "succeeded" }
        #expect(Int(try daemon.runs.last?["attempts"] ?? "") ?? 0 > 2)
        restarted.stop()
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

extension RunningDaemon {
    fileprivate var failedAttempts: Int {
        get throws { try events.filter { $0["message"]?.contains("retrying in") ?? false }.count }
    }
}

/// A library that shifts the wall clock of one process by the number of seconds in a file. Timers with
/// TFD_TIMER_CANCEL_ON_SET are canceled by each change, as by the kernel.
struct SteppedClock {
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

    /// Sets the clock to the true time plus this number of seconds.
    func step(to seconds: Int) throws {
        try "\(seconds) 0\n".write(toFile: directory + "/offset", atomically: true, encoding: .utf8)
    }

    /// Imitates a suspend of the machine: CLOCK_REALTIME and CLOCK_BOOTTIME advance by this number of seconds.
    func sleep(for seconds: Int) throws {
        let file = directory + "/offset"
        let before = try String(contentsOfFile: file, encoding: .utf8).split(separator: " ").first.flatMap { Int($0) }
        try "\((before ?? 0) + seconds) \(seconds)\n".write(toFile: file, atomically: true, encoding: .utf8)
    }
}
