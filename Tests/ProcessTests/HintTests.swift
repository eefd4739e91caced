import Foundation
import TestServers
import Testing

/// The likeliest mistakes: what was done, the exit code, and what is printed. None of them needs a database.
@Suite struct HintTests {
    struct Mistake: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var arguments = ["--once"]
        var url: String?
        var environment: [String: String] = [:]
        var file: String?
        let status: Int32
        let words: [String]

        init(
            _ description: String, _ arguments: [String] = ["--once"], url: String? = nil,
            environment: [String: String] = [:], file: String? = nil, status: Int32, _ words: String...
        ) {
            testDescription = description
            self.arguments = arguments
            self.url = url
            self.environment = environment
            self.file = file
            self.status = status
            self.words = words
        }
    }

    private static let taken = try? Listener.silent()
    private static let markedFile: String = {
        let path = "/tmp/mcp-cleanupd-test-\(getpid())-url"
        try? Data("\u{FEFF}postgresql://u:canary@127.0.0.1:1/d\r\n".utf8).write(to: URL(fileURLWithPath: path))
        return path
    }()

    static let mistakes = [
        Mistake(
            "a mistyped command", ["histroy", "--limit", "5"], status: 64, "no command “histroy”",
            "hint: Did you mean history?"),
        Mistake("a command of another program", ["vacuum"], status: 64, "no command “vacuum”", "status, sessions"),
        Mistake(
            "a mistyped option", ["history", "--limti", "5"], status: 64, "unknown option '--limti'",
            "Did you mean --limit?", "Usage: mcp-cleanupd history [--job NAME]"),
        Mistake(
            "a mistyped common option", ["check", "--confg", "x"], status: 64, "Did you mean --config?",
            "Usage: mcp-cleanupd check [--json]"),
        Mistake("a mistyped root option", ["--onec"], status: 64, "Did you mean --once?"),
        Mistake(
            "a missing value", ["sessions"], status: 64, "--user", "Usage: mcp-cleanupd sessions --user ID [--json]",
            "see mcp-cleanupd sessions --help"),
        Mistake("a bad number", ["history", "--limit", "many"], status: 64, "many", "--limit"),
        Mistake("a wrong job", ["--once", "--job", "nightly"], status: 64, "no job “nightly”", "transient", "dormant"),
        Mistake("a bad schedule", ["schedule", "0 25 * * *"], status: 64, "  ^ found '25'", "0 to 23"),
        Mistake("a bad level", ["--once", "--log-level", "loud"], status: 64, "'loud'", "trace, debug, info"),
        Mistake(
            "no URL", status: 78, "no database URL", "--database-url-file", "NEON_DATABASE_URL", "/etc/mcp-cleanupd"),
        Mistake(
            "DATABASE_URL only", environment: ["DATABASE_URL": "postgresql://h/d"], status: 78, "DATABASE_URL is set",
            "MCP_TS_STORAGE_TYPE=neon"),
        Mistake(
            "a quoted URL", url: "\"postgresql://u:canary@h/d\"", status: 78, "quotation marks", "leave them out"),
        Mistake(
            "a copied command", url: "psql 'postgresql://u:canary@h/d'", status: 78, "follows other words", "alone"),
        Mistake("an assignment", url: "NEON_DATABASE_URL=postgresql://u:canary@h/d", status: 78, "follows other words"),
        Mistake(
            "Prisma's parameters", url: "postgresql://u:canary@h/d?schema=public&pgbouncer=true", status: 78,
            "schema, pgbouncer", "other drivers", "leave them out"),
        Mistake(
            "node-postgres' parameter", url: "postgresql://u:canary@h/d?uselibpqcompat=true", status: 78,
            "uselibpqcompat", "leave it out"),
        Mistake(
            "a mistyped parameter", url: "postgresql://u:canary@h/d?sslmod=require", status: 78, "did you mean sslmode?"
        ),
        Mistake(
            "a bad sslmode", url: "postgresql://u:canary@h/d?sslmode=strict", status: 78,
            "disable, allow, prefer, require, verify-ca or verify-full"),
        Mistake(
            "a bad PGSSLMODE", url: "postgresql://u:canary@h/d", environment: ["PGSSLMODE": "on"], status: 78,
            "expected disable, allow"),
        Mistake(
            "a byte order mark", url: "\u{FEFF}postgresql://u:canary@127.0.0.1:1/d\r\n", status: 69, "refused",
            "Check that the server runs"),
        Mistake("an unknown host", url: "postgresql://u:canary@no-such-host.invalid/d", status: 69, "Check the host"),
        Mistake("nothing listens", url: "postgresql://u:canary@127.0.0.1:1/d", status: 69, "port 1", "Check that"),
        Mistake(
            "an unreadable file", ["--once", "--config", "/nowhere.yaml"], status: 78, "/nowhere.yaml cannot be read"),
        Mistake(
            "an unreadable URL file", ["--once", "--database-url-file", "/nowhere"], status: 78, "/nowhere",
            "No such file"),
        Mistake(
            "a directory instead of a file", ["--once", "--config", "/etc"], status: 78, "/etc", "directory"),
        Mistake(
            "a byte order mark in the URL's file", ["--once", "--database-url-file", markedFile], status: 69, "port 1:",
            "Check that"),
        Mistake(
            "a byte order mark in the configuration", ["schedule", "nonsense"], file: "\u{FEFF}batch: { max-rows: 5 }",
            status: 64, "nonsense"),
        Mistake(
            "an address in use", ["run"], url: "postgresql://u:canary@127.0.0.1:1/d",
            environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(taken?.port ?? 0)"], status: 75, "in use",
            "http.listen"),
        Mistake(
            "tabs", ["config"], file: "batch:\n\tpause: 1s\n", status: 78, ":2:1:", "a tab cannot indent", "spaces"),
        Mistake(
            "an unknown key", ["config"], file: "batch: { max-row: 5 }", status: 78, ":1:10:", "did you mean max-rows?"),
        Mistake(
            "the URL in the file", ["config"], file: "database: { url: x }", status: 78, "never comes from this file"),
        Mistake("an asterisk", ["config"], file: "jobs: { a: { schedule: */5 * * * * } }", status: 78, "in quotes"),
        Mistake(
            "no service", ["health"], environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:1"], status: 69, "http.listen"
        ),
        Mistake(
            "no socket", ["health"], environment: ["MCP_CLEANUP_HTTP_LISTEN": "unix:/nowhere/x"], status: 69,
            "unix:/nowhere/x", "No such file"),
        Mistake(
            "no HTTP", ["health"], environment: ["MCP_CLEANUP_HTTP_LISTEN": "off"], status: 78, "http.listen is off"),
    ]

    @Test(arguments: mistakes) func isExplained(mistake: Mistake) async throws {
        var (arguments, environment) = (mistake.arguments, mistake.environment)
        environment["NEON_DATABASE_URL"] = mistake.url
        if let file = mistake.file {
            let path = try TemporaryDirectory.make() + "/config.yaml"
            try file.write(toFile: path, atomically: true, encoding: .utf8)
            arguments += ["--config", path]
        }
        let result = try await Command.run(Command.daemon, arguments, environment: environment)
        #expect(result.status == mistake.status, "\(result)")
        for word in mistake.words { #expect(result.error.contains(word), "\(result.error)") }
        // Each message has the same form: one error, and below it at most one hint.
        let lines = result.error.split(separator: "\n")
        #expect(lines.first?.hasPrefix("error: ") ?? false, "\(result.error)")
        #expect(lines.filter { $0.hasPrefix("error: ") }.count == 1, "\(result.error)")
        #expect(lines.filter { $0.hasPrefix("hint: ") }.count <= 1, "\(result.error)")
        #expect(!result.error.contains("canary"), "\(result.error)")
        if mistake.status == 64 || mistake.status == 69 {
            #expect(result.error.contains("\nhint: "), "\(result.error)")
        }
    }
}
