import Foundation
import Glibc

/// The program under test as a service: started, watched by its JSON log lines, signaled, ended.
package final class RunningDaemon: @unchecked Sendable {
    // Sendable: Foundation's Process is set up once, here; afterwards only thread-safe members are used.
    private let process = Process()
    private let logPath: String

    /// - Parameters:
    ///   - schedules: of the two built-in jobs; an empty one is left to the configuration.
    ///   - environment: additional variables. HTTP is off unless they name an address, because daemons run in parallel.
    ///   - wrapper: a command to start it under.
    ///   - logLevel: `nil` leaves it to the configuration.
    package init(
        url: String, schedules: (transient: String, dormant: String) = ("1 seconds", "0 0 1 1 *"),
        environment: [String: String] = [:], wrapper: [String] = [], arguments: [String] = [],
        logLevel: String? = "debug"
    ) throws {
        logPath = try TemporaryDirectory.make() + "/log"
        try Data().write(to: URL(fileURLWithPath: logPath))
        let level = logLevel.map { ["--log-level", $0] } ?? []
        let command = wrapper + [try Command.daemon, "--log-format", "json"] + level + arguments
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = [
            "NEON_DATABASE_URL": url, "PATH": "/usr/bin:/bin", "MCP_CLEANUP_HTTP_LISTEN": "off",
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE": schedules.transient,
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_SCHEDULE": schedules.dormant,
        ].merging(environment) { $1 }.merging(Command.sanitizerOptions) { $1 }
        process.standardError = FileHandle(forWritingAtPath: logPath)
        try process.runWithSignals()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    package var processIdentifier: Int32 { process.processIdentifier }
    package var isRunning: Bool { process.isRunning }

    /// The daemon's private memory (RssAnon), in KiB.
    package var privateMemory: Int {
        get throws {
            guard let memory = Self.privateMemory(of: process.processIdentifier) else {
                throw TestServerError("it has ended: \(try log)")
            }
            return memory
        }
    }

    /// The private memory of any process, in KiB; `nil` if it has ended.
    package static func privateMemory(of process: Int32) -> Int? {
        // The file disappears with the process.
        let status = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
        return status.firstMatch(of: /RssAnon:\s+([0-9]+)/).flatMap { Int($0.1) }
    }

    package func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// The log lines so far, as dictionaries of their fields.
    package var events: [[String: String]] {
        get throws {
            try String(contentsOfFile: logPath, encoding: .utf8).split(separator: "\n").compactMap { line in
                let fields = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                // Numbers as text, for all of a line's fields to have one type.
                return fields?.mapValues { "\($0)" }
            }
        }
    }

    package var log: String {
        get throws { try String(contentsOfFile: logPath, encoding: .utf8) }
    }

    /// The log lines of the runs that have ended so far, without those that were skipped.
    package var runs: [[String: String]] {
        get throws { try events.filter { $0["outcome"] != nil && $0["outcome"] != "skipped" } }
    }

    /// Waits until the condition holds.
    /// - Throws: with the log, when it does not within the limit.
    package func wait(
        _ what: String, limit: Duration = .seconds(30), until condition: () async throws -> Bool
    ) async throws {
        try await eventually(what, within: limit, details: { try log }, condition)
    }

    /// Waits for the daemon's end, and returns its exit code, or 128 + the signal that ended it.
    package func exitStatus(limit: Duration = .seconds(30)) async throws -> Int32 {
        try await wait("its end", limit: limit) { !process.isRunning }
        return process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    }
}
