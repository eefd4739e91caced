import Foundation
import TestServers
import Testing

/// Commands that need no database.
@Suite struct CommandTests {
    private func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> CommandResult {
        try await Command.run(Command.daemon, arguments, environment: environment)
    }

    /// Also the release binary, if there is one, as in `make check`: it is linked in another way, and must find time zones too.
    private static let programs: [String] = {
        let release = Repository.root.appendingPathComponent(".build/mcp-cleanupd").path
        let mustBeThere = ProcessInfo.processInfo.environment["CI"] != nil
        return mustBeThere || FileManager.default.isExecutableFile(atPath: release) ? ["debug", release] : ["debug"]
    }()

    @Test(arguments: programs)
    func showsFireTimesInAZoneThatHasClockChanges(program: String) async throws {
        let result = try await Command.run(
            program == "debug" ? Command.daemon : program,
            [
                "schedule", "30 2 * * *", "--time-zone", "Europe/Berlin", "--from", "2026-03-27T12:00:00Z", "--count",
                "3",
            ], environment: [:])
        #expect(result.status == 0)
        #expect(result.lines == ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"])
    }

    @Test func showsFiveFireTimesUnlessToldOtherwise() async throws {
        let result = try await run(["schedule", "*/5 * * * *", "--from", "2026-05-13T12:00:00Z", "--json"])
        #expect(
            result.lines
                == (1...5).map { #"{"fire_time":"2026-05-13T12:\#($0 * 5 < 10 ? "0" : "")\#($0 * 5):00Z"}"# })
    }

    @Test(arguments: [
        (["schedule", "0 60 * * *"], "  ^ found"), (["schedule", "0 0 30 2 *"], "would never fire"),
        (["schedule", "* * *"], "expected"), (["schedule", "@reboot"], "@reboot"),
        (["schedule", "* * * * *", "--time-zone", "Mars/Olympus"], "Mars/Olympus"),
        (["schedule", "* * * * *", "--time-zone", "../../etc/passwd"], "etc/passwd"),
        (["schedule", "* * * * *", "--from", "yesterday"], "yesterday"),
        (["schedule", "* * * * *", "--count", "0"], "--count"),
        (["schedule", "* * * * *", "--once"], "--once"), (["status", "--dry-run"], "--dry-run"),
        (["history", "--limit", "0"], "--limit"), (["history", "--job", "nonsense"], "nonsense"),
        (["history", "--dry-run"], "--dry-run"), (["check", "--once"], "--once"),
        (["check", "--job", "dormant"], "--job"),
        (["pg-cron"], "action"), (["pg-cron", "destroy"], "destroy"), (["migrate", "--role", ""], "--role"),
        (["migrate", "--json"], "--json"), (["run", "--json"], "--json"), (["--job", "transient"], "--job"),
        (["nonsense"], "nonsense"),
    ])
    func refusesWhatMakesNoSense(arguments: [String], words: String) async throws {
        let result = try await run(arguments)
        #expect(result.status == 64, "\(result)")
        #expect(result.error.contains(words), "\(result.error)")
        #expect(result.output.isEmpty)
    }

    /// `--once` as the only argument bypasses the argument parser.
    @Test func bothWaysToOnceAgree() async throws {
        func once(_ arguments: [String], url: String) async throws -> CommandResult {
            let result = try await run(arguments, environment: ["NEON_DATABASE_URL": url])
            let text = { (text: String) in text.replacing(/[0-9.]+ s/, with: "… s") }
            return CommandResult(status: result.status, output: text(result.output), error: text(result.error))
        }
        for url in ["", "postgresql://nobody@127.0.0.1:1/d", "postgresql://h/d?sslmode=nonsense", "nonsense"] {
            let short = try await once(["--once"], url: url)
            for arguments in [
                ["--once", "--once"], ["--once", "--log-level", "info"], ["--once", "--log-format=auto"],
            ] {
                let long = try await once(arguments, url: url)
                #expect(
                    long.status == short.status && long.output == short.output && long.error == short.error,
                    "\(arguments) \(url): \(long) \(short)")
            }
        }
    }

    @Test func helpBeginsWithWhatIsShortAndEndsWithWhatIsCommon() async throws {
        for command in [
            "run", "status", "sessions", "schedule", "migrate", "check", "history", "pg-cron", "config", "health",
        ] {
            let help = try await run([command, "--help"])
            #expect(help.status == 0 && help.error.isEmpty)
            for other in [[command, "-h"], ["help", command]] { #expect(try await run(other).output == help.output) }
            let parts = ["OVERVIEW: ", "\n\nUSAGE: mcp-cleanupd", "\n\nOPTIONS:\n", "\n\nCOMMON OPTIONS:\n"]
            let places = parts.compactMap { help.output.range(of: $0)?.lowerBound }
            #expect(places.count == parts.count && places == places.sorted(), "\(help.output)")
            #expect(help.output.range(of: "\n\n").map { $0.lowerBound == places[1] } ?? false, "\(help.output)")
        }
        let root = try await run(["-h"])
        #expect(root.output.contains("--once") && root.output.contains("\nEXAMPLES\n"), "\(root.output)")
        let order = ["\nSUBCOMMANDS:", "\nCOMMON OPTIONS:", "\nEXAMPLES"].compactMap {
            root.output.range(of: $0)?.lowerBound
        }
        #expect(order.count == 3 && order == order.sorted(), "\(root.output)")
        #expect(try await run(["--version"]).output == "0.1.0\n")
        for shell in ["bash", "zsh", "fish"] {
            let script = try await run(["--generate-completion-script", shell])
            #expect(script.status == 0 && script.output.contains("mcp-cleanupd"), "\(script.error)")
        }
    }

    /// The reader closes the pipe without reading; the shell prints the command's exit code.
    @Test func aReaderThatGoesAwayEndsAListing() async throws {
        for command in ["schedule '* * * * *' --count 10000", "config", "status", "--help", "check"] {
            let result = try await Command.run(
                "/bin/bash", ["-c", "'\(Command.daemon)' \(command) | (exec 0<&-; sleep 0.3); echo ${PIPESTATUS[0]}"],
                environment: ["PATH": "/usr/bin:/bin"])
            #expect(result.output == (command == "check" ? "78\n" : "0\n"), "\(command): \(result)")
            #expect(!result.error.contains("error"), "\(command): \(result)")
        }
        let full = try await Command.run(
            "/bin/bash", ["-c", "'\(Command.daemon)' config >/dev/full"], environment: ["PATH": "/usr/bin:/bin"])
        #expect(full.status == 74 && full.error.contains("No space left"), "\(full)")
    }

    @Test(arguments: [
        ("SCHEDULE", "0 0 30 2 *"), ("SCHEDULE", "* * * *"), ("TIME_ZONE", "Mars/Olympus"), ("CATCH_UP", "twice"),
    ])
    func doesNotStartWithAWrongSetting(key: String, value: String) async throws {
        let variable = "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_\(key)"
        let result = try await run(["run"], environment: [variable: value, "NEON_DATABASE_URL": "postgresql://h/d"])
        #expect(result.status == 78, "\(result)")
        #expect(result.error.contains(variable) && result.error.contains(value), "\(result.error)")
    }

    @Test(arguments: [["run"], ["--once"], ["--once", "--dry-run"]])
    func doesNotStartWithAURLThatLibpqWouldNotTake(arguments: [String]) async throws {
        for (query, environment) in [("sslmode=nonsense", [:]), ("", ["PGSSLMODE": "nonsense"])] {
            let variables = environment.merging(["NEON_DATABASE_URL": "postgresql://u:SECRET@h/d?\(query)"]) { $1 }
            let result = try await run(arguments, environment: variables)
            #expect(result.status == 78, "\(result)")
            #expect(result.error.contains("sslmode") && !result.error.contains("SECRET"), "\(result.error)")
        }
    }

    @Test func statusShowsEachJobsNextFireTime() async throws {
        let result = try await run(
            ["status", "--json"],
            environment: [
                "MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_ENABLED": "false",
                "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE": "0 0 1 1 *",
                "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_TIME_ZONE": "Asia/Kolkata",
            ])
        #expect(result.status == 0)
        try #require(result.lines.count == 2)
        #expect(
            result.lines[0].hasPrefix(
                #"{"job":"mcp-cleanup-transient-sessions","enabled":true,"schedule":"0 0 1 1 *","#))
        #expect(result.lines[0].contains(#""time_zone":"Asia/Kolkata","next_fire_at":"20"#))
        #expect(result.lines[0].contains("-12-31T18:30:00Z"))
        #expect(result.lines[1].contains(#""enabled":false"#) && result.lines[1].contains(#""next_fire_at":null"#))
    }
}
