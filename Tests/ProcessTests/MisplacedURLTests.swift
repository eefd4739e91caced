import Foundation
import TestServers
import Testing

/// A database URL in the wrong place is not repeated by anything that the program prints, and the message says where it goes.
@Suite struct MisplacedURLTests {
    private static let urls = [
        "postgresql://role:CANARY@host/db", "POSTGRES://role:CANARY@host/db", "postgresql://role:CAN@ARY@[::1/db",
        "postgresql%3A%2F%2Frole%3ACANARY%40host%2Fdb", "postgresql://role:CAN%41RY@a,b:5433/db?sslmode=require",
        "role:CANARY@host/db", "host=h user=role password=CANARY", "postgresql:role:CANARY ARY@host",
        "\"postgresql://role:CANARY@host/db\"", "https://role:CANARY@host", "jdbc:postgresql://host/db?password=CANARY",
    ]

    private static let places: [@Sendable (String) -> [String]] = [
        { [$0] }, { ["--once", $0] }, { [$0, "--once"] }, { ["check", $0] }, { ["--database-url-file", $0, "check"] },
        { ["check", "--database-url-file", $0] }, { ["--once", "--database-url-file=\($0)"] }, { ["--config", $0] },
        { ["config", "--config=\($0)"] }, { ["--once", "--job", $0] }, { ["history", "--job", $0] },
        { ["--once", "--metrics-textfile", $0] }, { ["--log-level", $0] }, { ["--\($0)"] }, { ["-\($0)"] },
        { ["--database-url", $0] }, { ["--database-url=\($0)", "--once"] }, { ["schedule", $0] },
        { ["schedule", "* * * * *", "--from", $0] }, { ["schedule", "* * * * *", "--time-zone", $0] },
        { ["schedule", "* * * * *", "--count", $0] }, { ["migrate", "--role", $0] }, { ["pg-cron", $0] },
        { ["help", $0] }, { ["history", "--limit", $0] }, { ["health", "--ready=\($0)"] },
        { ["sessions", "--user", "a", $0] }, { ["sessions", "--user", $0, "--frobnicate"] },
        { ["sessions", "--user=\($0)", "--once"] }, { ["--user", $0] },
    ]

    /// Any piece of the password that is long enough to tell something.
    private static func isRepeated(in result: CommandResult) -> Bool {
        let text = (result.output + result.error).uppercased()
        return ["CANARY", "CAN@ARY", "CAN%41RY", "ARY@"].contains { text.contains($0) }
    }

    /// Each URL in a third of the places, so that each place has several.
    @Test func isNotRepeatedAsAnArgument() async throws {
        for (index, url) in Self.urls.enumerated() {
            for (number, place) in Self.places.enumerated() where (index + number).isMultiple(of: 3) {
                let result = try await Command.run(
                    Command.daemon, place(url), environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:1"])
                #expect(result.status == 64 && result.error.hasPrefix("error: "), "\(place(url)): \(result)")
                #expect(result.output.isEmpty && !Self.isRepeated(in: result), "\(place(url)): \(result)")
                #expect(result.error.contains("\nhint: "), "\(place(url)): \(result)")
            }
        }
    }

    /// A name of a variable ends at its first equals sign.
    @Test(.slow) func isNotRepeatedAsAVariableOrAValue() async throws {
        let path = try TemporaryDirectory.make() + "/config.yaml"
        let commands = [["config"], ["config", "--json"], ["status", "--log-format", "json"], ["--once"]]
        for (index, url) in Self.urls.enumerated() {
            let command = commands[index % commands.count]
            let name = "MCP_CLEANUP_\(url.prefix { $0 != "=" })"
            for environment in [
                [name: "x"], ["MCP_CLEANUP_DATABASE_TABLE": url], ["MCP_CLEANUP_HTTP_LISTEN": url],
                ["MCP_CLEANUP_NOTIFY_SUCCESS_URL": url], ["NEON_DATABASE_URL": url],
            ] {
                let result = try await Command.run(Command.daemon, command, environment: environment)
                #expect(!Self.isRepeated(in: result), "\(command) \(environment): \(result)")
            }
            let quoted = url.replacing("\"", with: "")
            for text in [
                "\"\(quoted)\": x", "database: { url: \"\(quoted)\" }",
                "jobs: { mcp-cleanup-dormant-sessions: { schedule: \"\(quoted)\" } }", quoted,
            ] {
                try text.write(toFile: path, atomically: true, encoding: .utf8)
                let result = try await Command.run(
                    Command.daemon, command + ["--config", path], environment: ["NEON_DATABASE_URL": ""])
                #expect(result.status == 78 && !Self.isRepeated(in: result), "\(text): \(result)")
            }
        }
    }

    @Test func saysWhereItGoes() async throws {
        let url = "postgresql://role:CANARY@host/db"
        let alone = try await Command.run(Command.daemon, [url], environment: [:])
        #expect(
            alone.error.hasPrefix(
                "error: URLs and passwords do not go on the command line\nhint: For the database, set NEON_DATABASE_URL"
            )
                && alone.error.contains("change it"), "\(alone)")
        let file = try await Command.run(Command.daemon, ["--once", "--database-url-file", url], environment: [:])
        #expect(
            file.error.hasPrefix(
                "error: --database-url-file: expected the path of a file, and got a text that looks like"),
            "\(file)")
    }

    /// An application's user IDs may look like URLs, so the command asks the database for any.
    @Test func aUsersIDMayBeOne() async throws {
        let result = try await Command.run(
            Command.daemon, ["sessions", "--user", "https://issuer.example/u:1@x"],
            environment: ["NEON_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/d"])
        #expect(result.status == 69, "\(result)")
    }
}
