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

    /// The other job's schedule changes with each reload; this one's fire times go on as if nothing had happened.
    @Test func losesAndDoublesNoFireTimeInAThousandReloads() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let files = ["2 seconds", "3 seconds"].map { Self.configuration(transient: "1 seconds", dormant: $0) }
        let file = try File(files[0])
        let daemon = try daemon(database, file)
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        let process = daemon.processIdentifier
        var usage: [(memory: Int, descriptors: Int)] = []
        let inForce = "is in force."
        for reload in 1...1000 {
            try file.replace(files[reload % 2])
            daemon.signal(SIGHUP)
            try await Task.sleep(for: .milliseconds(10))
            if reload.isMultiple(of: 100) {
                try await database.run(
                    """
                    INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
                    SELECT gen_random_uuid()::text, 'u', 'x', 'sse', 'x', now() - interval '1 hour'
                      FROM generate_series(1, 500)
                    """)
            }
            if reload.isMultiple(of: 250) {
                // Signals that come while one is being answered are one.
                try await daemon.wait("\(reload) reloads") {
                    let done = try daemon.log.components(separatedBy: inForce).count - 1
                    if done < reload { daemon.signal(SIGHUP) }
                    return done >= reload
                }
                usage.append((try daemon.privateMemory, try Self.descriptors(of: process)))
            }
        }
        try await daemon.wait("the last sessions' removal") { try await database.count() == 0 }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        let events = try daemon.events.filter { $0["job"] == Self.transient }
        let run = events.filter { $0["outcome"] != nil }.compactMap { $0["fire_time"] }
        let coalesced = events.compactMap { $0["message"] }.filter { $0.contains("came while the job was running") }
            .compactMap { $0.split(separator: " ").first { $0.hasSuffix("Z") }.map(String.init) }
        #expect(Set(run).count == run.count)
        let format = ISO8601DateFormatter()
        let seconds = Set(run + coalesced).compactMap { format.date(from: $0)?.timeIntervalSince1970 }.sorted()
        let gaps = zip(seconds, seconds.dropFirst()).filter { $1 - $0 != 1 }
        #expect(gaps.isEmpty && seconds.count > 10, "\(gaps)")
        // The first half warms up: runs and their connections come and go meanwhile.
        // The sanitizer keeps memory of its own. One more thread's arena is no growth; 4 KB each time would be.
        if Command.sanitizerOptions.isEmpty {
            #expect(usage[3].memory - usage[1].memory < 2048, "kB of private memory, and descriptors: \(usage)")
        }
        // A run that is under way has some.
        #expect(usage[3].descriptors <= usage[0].descriptors + 4, "\(usage)")
        print("kB of private memory, and descriptors, each 250 reloads: \(usage); \(seconds.count) fire times")
    }

    private static func descriptors(of process: Int32) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count
    }
}
