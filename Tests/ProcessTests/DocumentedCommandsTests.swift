import Foundation
import TestServers
import Testing

/// The documents' commands print what the documents show. Each document is run from top to bottom in one shell, with a
/// database of its own.
@Suite(.serialized, .slow) struct DocumentedCommandsTests {
    private static let cron = "docs/pg_cron.md"
    private static let runnable = Document.paths.filter { path in
        // A document that cannot be read is kept, so that its test fails.
        path != cron && (try? Document(path))?.steps.isEmpty != true
    }

    @Test(arguments: runnable)
    func itsCommandsShowWhatItSays(path: String) async throws {
        try await follow(
            path,
            given: """
                NEON_DATABASE_URL=$OWNER_URL mcp-cleanupd migrate --sessions --role mcp_service_role
                psql -Xqo /dev/null "$OWNER_URL" -f demo/sessions.sql
                """)
    }

    @Test(
        .enabled(
            if: FileManager.default.fileExists(atPath: "/usr/share/postgresql/15/extension/pg_cron.control"),
            "pg_cron is not installed; scripts/install-tools test installs it"))
    func theWayFromPgCronAndBackShowsWhatItSays() async throws {
        try await follow(
            Self.cron, settings: ["shared_preload_libraries = 'pg_cron'", "cron.database_name = 'neondb'"],
            given: """
                psql -Xqo /dev/null "$OWNER_URL" -f migrations/neon/20260513010000_install_mcp_sessions.sql \\
                    -f demo/sessions.sql -f migrations/neon/20260513020000_add_session_cleanup_cron.sql
                """)
    }

    @Test func manyCommandsAreRun() throws {
        #expect(Self.runnable.count >= 6)
        let shown = try Document.paths.flatMap { try Document($0).steps }.filter { $0.output != nil }
        #expect(shown.count >= 60)
    }

    /// Runs a line as cron(8) does: with a shell, four variables, and a mail of all output.
    @Test func theCrontabDoesItsWorkInSilenceAndMailsWhatGoesWrong() async throws {
        let lines = try Document("README.md").codeLines.compactMap {
            $0.wholeMatch(of: /(?:[0-9*\/]+ +){5}(mcp-cleanupd .*)/)
        }
        #expect(lines.count == 2)
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, updated_at, active)
            VALUES ('transient', 'u', 'x', 'sse', 'x', now() - interval '1 hour', now(), false),
                   ('dormant', 'u', 'x', 'sse', 'x', now() + interval '1 hour', now() - interval '31 days', true)
            """)
        let home = try TemporaryDirectory.make()
        let program = (try Command.daemon as NSString).deletingLastPathComponent
        func cron(_ command: Substring, url: String) async throws -> CommandResult {
            try (url + "\n").write(toFile: home + "/database-url", atomically: true, encoding: .utf8)
            return try await Command.run(
                "/bin/sh", ["-c", String(command)],
                // The package puts the program into /usr/bin.
                environment: [
                    "PATH": program + ":/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": home, "LOGNAME": "cleaner",
                ])
        }
        for (left, line) in zip([1, 0], lines) {
            let result = try await cron(line.1, url: database.url)
            #expect(result.status == 0 && result.output.isEmpty && result.error.isEmpty, "\(result)")
            #expect(try await database.count() == left)
            let wrong = try await cron(line.1, url: "postgresql://nobody@127.0.0.1:1/d")
            #expect(wrong.status == 69 && wrong.error.contains("refused"), "\(wrong)")
        }
    }

    /// Runs a document's commands.
    private func follow(_ path: String, settings: [String] = [], given: String) async throws {
        let server = try await PostgresServer(
            binaries: try await PostgresServer.packaged().binaries, settings: settings)
        // The server ends when the last reference is released.
        defer { withExtendedLifetime(server) {} }
        try await server.query("CREATE DATABASE neondb")
        try await server.query("CREATE ROLE mcp_service_role LOGIN")
        let directory = try TemporaryDirectory.make()
        for name in ["config", "demo", "migrations"] {
            try FileManager.default.createSymbolicLink(
                atPath: "\(directory)/\(name)", withDestinationPath: Repository.root.path + "/" + name)
        }
        let port = try Loopback.freePort()
        let steps = try Document(path).steps
        var script = "{ set -e\n\(given)\nset +e; } >setup.log 2>&1\nstatus=0\n"
        for step in steps {
            // All commands run in one shell, so that $? is the exit code of the one before.
            let command = step.command.replacing("9764", with: "\(port)").replacing("'", with: #"'\''"#)
            script += "printf '\\036'; (exit $status); eval '\(command)'; status=$?; printf '\\037%d' $status\n"
        }
        script += "kill $(jobs -p) 2>/dev/null; wait\n"
        try script.write(toFile: directory + "/script", atomically: false, encoding: .utf8)
        // Output and errors share a pipe, as on a terminal.
        let program = (try Command.daemon as NSString).deletingLastPathComponent
        let result = try await Command.run(
            "/usr/bin/timeout", ["120", "/bin/bash", "-c", "cd '\(directory)' && exec /bin/bash script 2>&1"],
            environment: [
                "PATH": program + ":/usr/bin:/bin", "HOME": directory, "LC_ALL": "C.UTF-8", "PAGER": "cat",
                "OWNER_URL": server.url("neondb"), "NEON_DATABASE_URL": server.url("neondb", user: "mcp_service_role"),
                "MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)",
            ])
        let answers = result.output.replacing("\(port)", with: "9764").split(separator: "\u{1e}").map {
            $0.components(separatedBy: "\u{1f}")
        }
        guard answers.count == steps.count, answers.allSatisfy({ $0.count == 2 }) else {
            let log = try String(contentsOfFile: directory + "/setup.log", encoding: .utf8)
            throw TestServerError("\(path) was not followed to its end: \(log)\(result.output.suffix(2000))")
        }
        for (index, (step, answer)) in zip(steps, answers).enumerated() {
            let isFollowed = index + 1 < steps.count && steps[index + 1].command == "echo $?"
            #expect(
                Int(answer[1]) == 0 || isFollowed,
                "\(path): $ \(step.command)\nended with \(answer[1]):\n\(answer[0])")
            guard let shown = step.output else { continue }
            #expect(Document.shows(shown, answer[0]), "\(path): $ \(step.command)\nshowed:\n\(answer[0])")
        }
    }
}
