import Foundation
import Glibc
import TestServers
import Testing

@Suite struct ReloadTests {
    private static let transient = "mcp-cleanup-transient-sessions"
    private static let dormant = "mcp-cleanup-dormant-sessions"

    /// A configuration file that is replaced as a whole, as `mv` does.
    private struct File {
        let path: String

        init(_ text: String) throws {
            path = try TemporaryDirectory.make() + "/config.yaml"
            try replace(text)
        }

        func replace(_ text: String) throws { try text.write(toFile: path, atomically: true, encoding: .utf8) }
    }

    private func daemon(_ database: SessionsDatabase, _ file: File, logLevel: String? = "debug") throws -> RunningDaemon
    {
        try RunningDaemon(
            url: database.url, schedules: ("", ""), arguments: ["--config", file.path], logLevel: logLevel)
    }

    private static func configuration(transient: String, dormant: String, more: String = "") -> String {
        """
        jobs:
          mcp-cleanup-transient-sessions: { schedule: "\(transient)" }
          mcp-cleanup-dormant-sessions: { schedule: "\(dormant)" }
        \(more)
        """
    }

    @Test func putsANewScheduleIntoForceAndKeepsTheOldOneWhenTheFileIsBad() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let file = try File(Self.configuration(transient: "0 0 1 1 *", dormant: "0 0 1 1 *"))
        let daemon = try daemon(database, file)
        try await daemon.wait("the start") { try daemon.log.contains("next at") }
        try file.replace(Self.configuration(transient: "1 seconds", dormant: "0 0 1 1 *"))
        daemon.signal(SIGHUP)
        try await daemon.wait("runs") { try daemon.runs.count >= 2 }
        try file.replace(Self.configuration(transient: "every now and then", dormant: "0 0 1 1 *"))
        daemon.signal(SIGHUP)
        try await daemon.wait("the refusal") { try daemon.log.contains("keeping the previous one") }
        let refusal = try #require(try daemon.events.first { $0["level"] == "error" }?["message"])
        #expect(refusal.contains("\(file.path):2:47: ") && refusal.contains("every now and then"))
        let before = try daemon.runs.count
        try await daemon.wait("more runs") { try daemon.runs.count >= before + 2 }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    @Test func changesTheLevelOfTheLogAndSaysWhatWaitsForARestart() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let file = try File(Self.configuration(transient: "1 seconds", dormant: "0 0 1 1 *"))
        let daemon = try daemon(database, file, logLevel: nil)
        try await daemon.wait("the start") { try daemon.log.contains("next at") }
        try await Task.sleep(for: .seconds(1.5))
        // Runs that find nothing are debug messages.
        #expect(try daemon.runs.isEmpty)
        try file.replace(
            Self.configuration(
                transient: "1 seconds", dormant: "0 0 1 1 *",
                more: "log: { level: debug }\nhistory: { mode: off }\nshutdown: { timeout: 3s }"))
        daemon.signal(SIGHUP)
        try await daemon.wait("runs") { try daemon.runs.count >= 2 }
        #expect(try daemon.log.contains("These changes need a restart: history.mode, shutdown.timeout."))
    }

    @Test func appliesAJobsNewLimitsToItsNextRun() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, updated_at, active)
            SELECT gen_random_uuid()::text, 'u', 'x', 'sse', 'x', now() + interval '1 day', now() - interval '10 days', true
              FROM generate_series(1, 5)
            """)
        let file = try File(Self.configuration(transient: "0 0 1 1 *", dormant: "1 seconds"))
        let daemon = try daemon(database, file)
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        #expect(try await database.count() == 5)
        try file.replace("jobs: { \(Self.dormant): { schedule: 1 seconds, after: 9d } }")
        daemon.signal(SIGHUP)
        try await daemon.wait("a removal") { try await database.count() == 0 }
    }

    /// The schedule of the other job changes with each reload; the fire times of this one must not.
    @Test(.slow) func losesAndDoublesNoFireTimeInHundredsOfReloads() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let files = ["2 seconds", "3 seconds"].map { Self.configuration(transient: "1 seconds", dormant: $0) }
        let file = try File(files[0])
        let daemon = try daemon(database, file)
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        let descriptors = try Self.descriptors(of: daemon.processIdentifier)
        for reload in 1...300 {
            try file.replace(files[reload % 2])
            daemon.signal(SIGHUP)
            try await Task.sleep(for: .milliseconds(10))
        }
        // Signals that arrive during a reload are answered by one more reload.
        try await daemon.wait("300 reloads", limit: .seconds(120)) {
            let done = try daemon.log.components(separatedBy: "Reloaded the configuration.").count - 1
            if done < 300 { daemon.signal(SIGHUP) }
            return done >= 300
        }
        let count = try daemon.runs.count
        try await daemon.wait("more runs") { try daemon.runs.count >= count + 4 }
        // A run opens a connection, which has some descriptors.
        #expect(try Self.descriptors(of: daemon.processIdentifier) <= descriptors + 4)
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        let events = try daemon.events.filter { $0["job"] == Self.transient }
        let run = events.filter { $0["outcome"] != nil }.compactMap { $0["fire_time"] }
        let coalesced = events.compactMap { event in
            event["message"]?.firstMatch(of: /has not ended at the scheduled time (\S+Z),/).map { String($0.1) }
        }
        #expect(Set(run).count == run.count)
        let format = ISO8601DateFormatter()
        let seconds = Set(run + coalesced).compactMap { format.date(from: $0)?.timeIntervalSince1970 }.sorted()
        let gaps = zip(seconds, seconds.dropFirst()).filter { $1 - $0 != 1 }
        #expect(gaps.isEmpty && seconds.count > 6, "\(gaps)")
    }

    private static func descriptors(of process: Int32) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count
    }
}
