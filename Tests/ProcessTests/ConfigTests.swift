import Foundation
import TestServers
import Testing

/// The configuration through the real program.
@Suite struct ConfigTests {
    private func file(_ text: String) throws -> String {
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> CommandResult {
        try await Command.run(Command.daemon, arguments, environment: environment)
    }

    @Test func showsWhatIsInForceAndWhereItComesFrom() async throws {
        let path = try file("batch:\n  max-rows: 5\nlog: { level: error }\n")
        let environment = ["MCP_CLEANUP_BATCH_PAUSE": "2s", "NEON_DATABASE_URL": "postgresql://me:hunter2@h/d"]
        let result = try await run(
            ["config", "--json", "--config", path, "--log-level", "debug"], environment: environment)
        #expect(result.status == 0, "\(result)")
        for line in [
            #"{"key":"batch.max-rows","value":"5","source":"\#(path):2"}"#,
            #"{"key":"batch.pause","value":"2s","source":"MCP_CLEANUP_BATCH_PAUSE"}"#,
            #"{"key":"log.level","value":"debug","source":"--log-level"}"#,
            #"{"key":"shutdown.timeout","value":"20s","source":"default"}"#,
        ] { #expect(result.lines.contains(line), "\(line)") }
        #expect(!result.output.contains("hunter2"))
        let before = try await run(
            ["--config", path, "--log-level", "debug", "--json", "config"], environment: environment)
        #expect(before.output == result.output)
    }

    @Test func printsAFileThatMeansTheSame() async throws {
        let first = try await run(
            ["config"], environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE": "*/7 * * * *"])
        let second = try await run(["config", "--config", file(first.output)])
        let values = { (text: String) in text.split(separator: "\n").map { $0.prefix { $0 != "#" } } }
        #expect(first.status == 0 && second.status == 0 && values(first.output) == values(second.output))
        #expect(first.output.contains(#"schedule: "*/7 * * * *""#))
    }

    @Test func refusesAFileThatIsNotThereOrWrong() async throws {
        let missing = try await run(["config", "--config", "/nonexistent.yaml"])
        #expect(missing.status == 78 && missing.error.contains("/nonexistent.yaml cannot be read"), "\(missing)")
        let path = try file("batch: { max-row: 5 }\nclaim: { lease: 1 }\n")
        for arguments in [["config"], ["--once"], ["run"], ["status"]] {
            let wrong = try await run(
                arguments + ["--config", path], environment: ["NEON_DATABASE_URL": "postgresql://h/d"])
            #expect(wrong.status == 78 && wrong.output.isEmpty, "\(wrong)")
            #expect(wrong.error.contains("\(path):1:10: ") && wrong.error.contains("\(path):2:17: "), "\(wrong)")
        }
    }

    @Test func quietlyJudgesAFile() async throws {
        let right = try await run(["config", "--quiet", "--config", file("batch: { pause: 2s }")])
        #expect(right.status == 0 && right.output.isEmpty && right.error.isEmpty, "\(right)")
        let wrong = try await run(["config", "--quiet", "--config", file("batch: { pause: 2 }")])
        #expect(wrong.status == 78 && wrong.output.isEmpty && wrong.error.hasPrefix("error: "), "\(wrong)")
    }

    @Test func onceKeepsToTheFile() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let path = try file("jobs: { mcp-cleanup-dormant-sessions: { enabled: false } }")
        let result = try await database.daemon(["--once", "--json", "--config", path])
        #expect(result.status == 0 && result.lines.count == 1, "\(result)")
    }
}
