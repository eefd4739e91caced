import Foundation
import Glibc
import TestServers

/// A one-shot command of the program under test while it runs.
final class RunningCommand: Sendable {
    private let process: Locked<Process>
    private let outputPath: String
    private let memory = Locked(0)

    /// The most private memory that the command had while `end` waited, in KiB; sampled every 10 ms.
    var mostMemory: Int { memory.withLock { $0 } }

    init(_ arguments: [String], url: String, environment: [String: String] = [:]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try Command.daemon)
        process.arguments = arguments
        process.environment = ["NEON_DATABASE_URL": url].merging(environment) { $1 }
            .merging(Command.sanitizerOptions) { $1 }
        outputPath = try TemporaryDirectory.make()
        process.standardOutput = try Self.file("\(outputPath)/out")
        process.standardError = try Self.file("\(outputPath)/err")
        try process.runWithSignals()
        self.process = Locked(process)
    }

    private static func file(_ path: String) throws -> FileHandle {
        try Data().write(to: URL(fileURLWithPath: path))
        return try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    }

    func send(_ signal: Int32) {
        kill(process.withLock { $0.processIdentifier }, signal)
    }

    /// Waits for its end, for at most 30 s.
    func end() async -> CommandResult {
        for _ in 0..<3000 where process.withLock({ $0.isRunning }) {
            let used = process.withLock { RunningDaemon.privateMemory(of: $0.processIdentifier) ?? 0 }
            memory.withLock { $0 = max($0, used) }
            // Fails only when the test itself is canceled.
            try? await Task.sleep(for: .milliseconds(10))
        }
        let (isRunning, status, isSignal) = process.withLock { process in
            process.isRunning
                ? (true, 0, false) : (false, process.terminationStatus, process.terminationReason == .uncaughtSignal)
        }
        func text(_ name: String) -> String {
            (try? String(contentsOfFile: "\(outputPath)/\(name)", encoding: .utf8)) ?? ""
        }
        return CommandResult(
            status: isRunning ? -1 : isSignal ? 128 + status : status, output: text("out"), error: text("err"))
    }
}
