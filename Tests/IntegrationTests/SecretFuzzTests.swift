import Foundation
import SeededRandom
import TestServers
import Testing

/// Passwords in database URLs: well-formed and malformed ones, where they belong and where they do not.
@Suite struct SecretFuzzTests {
    /// With `ErrorSecretFuzzTests`, 300 runs in `make check` and 2,000 in `make fuzz`.
    private static let count = Soak.factor > 1 ? 1300 : 200
    /// The number of runs at a time: as many as a small machine's cores can use.
    private static let width = 3

    @Test(.slow) func noURLIsRepeated() async throws {
        var random = SeededRandom(seed: SeededRandom.seed(for: "SecretFuzzTests"))
        let directory = try TemporaryDirectory.make()
        var statuses: [Int32: Int] = [:]
        try await withThrowingTaskGroup(of: Int32.self) { group in
            for number in 0..<Self.count {
                if number >= Self.width, let status = try await group.next() { statuses[status, default: 0] += 1 }
                let run = try MisplacedRun(using: &random, files: "\(directory)/\(number)")
                group.addTask { try await run.status() }
            }
            for try await status in group { statuses[status, default: 0] += 1 }
        }
        print("\(Self.count) URLs: exit codes \(statuses.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })")
        // URLs that are refused, tried and ignored: each kind is more than a hundredth of the runs.
        for status: Int32 in [0, 64, 69, 78] { #expect(statuses[status, default: 0] > Self.count / 100, "\(status)") }
    }
}

/// One run of the program with a password in it.
private struct MisplacedRun: Sendable {
    var arguments: [String]
    var environment = ["PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:1"]
    let metricsPath: String

    /// The end of each password, which stays as it is in a URL: in front of it some letters are percent-encoded.
    private static let secret = "NARY7"

    private static let commands = [
        ["--once"], ["--once", "--json", "--log-level", "trace"], ["check"], ["check", "--json"], ["status"],
        ["config"],
        ["config", "--json"], ["history", "--log-format", "json"], ["migrate"], ["sessions", "--user", "a"],
        ["pg-cron", "status"], ["--once", "--dry-run", "--log-format", "journal"], ["health"], ["status", "--json"],
    ]
    private static let odd = [
        "", "", "", "@", ":", "/", "?", "#", "%", "%zz", "%40", " ", "'", "\"", "é", "🔑", "\\", "&", "[", "]", ",", ";",
        "$x", "{", "\u{202E}", "\t", "\n", "\u{1B}[2J", "://", "x@y", "%00",
    ]

    // MARK: URLs

    private static func password(_ random: inout SeededRandom) -> String {
        random.pick(odd) + random.pick(["CA", "%43A", "C%41", "ca"]) + secret + random.pick(odd)
    }

    /// A URL or something like it, in which a password stands where one may.
    private static func url(_ random: inout SeededRandom, hasScheme: Bool) -> String {
        let others = ["postgresql:/", "postgresql:", "postgres//", "", "psql "]
        let schemes = [
            "postgresql://", "postgresql://", "postgresql://", "postgres://", "POSTGRES://", "jdbc:postgresql://",
            "\"postgresql://", "psql 'postgresql://", "NEON_DATABASE_URL=postgresql://", "https://",
            "prisma+postgres://",
        ]
        let hosts = [
            "127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "[::1", "127.0.0.1:1,127.0.0.1:2", "127.0.0.1:99999", "", "%2Ftmp",
            "127.0.0.1:x", "127.0.0.1:1:2",
        ]
        let queries = [
            "", "", "?sslmode=disable", "?sslmode=CA\(secret)", "?foo=CA\(secret)", "?CA\(secret)=1",
            "?password=CA\(secret)", "?sslpassword=CA\(secret)&sslmode=require", "?pgbouncer=true&schema=CA\(secret)",
            "?connect_timeout=CA\(secret)", "?host=127.0.0.1&port=CA\(secret)", "?user=role%3ACA\(secret)%40host",
            "?application_name=role%3ACA\(secret)%40h&channel_binding=require", "?dbname=password%3DCA\(secret)",
        ]
        let user = random.pick(["role", "role", "", "ro le", "role%40x", "é"])
        return random.pick(hasScheme ? schemes : schemes + others)
            + "\(user):\(password(&random))@\(random.pick(hosts))"
            + random.pick(["/db", "/db", "", "/", "/db/x", "/%ff", "/d%20b"]) + random.pick(queries)
    }

    // MARK: Places

    init(using random: inout SeededRandom, files: String) throws {
        metricsPath = files + ".prom"
        arguments = random.pick(Self.commands)
        if random.chance(8), arguments.first == "--once" { arguments += ["--metrics-textfile", metricsPath] }
        let text = Self.url(&random, hasScheme: false)
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1: environment["NEON_DATABASE_URL"] = text
        case 2:
            try text.write(toFile: files, atomically: false, encoding: .utf8)
            arguments += ["--database-url-file", files]
        case 3: putOnTheCommandLine(text, &random)
        case 4: putIntoTheEnvironment(text, &random)
        default:
            try Self.configuration(text, &random).write(toFile: files, atomically: false, encoding: .utf8)
            arguments += ["--config", files]
        }
    }

    private mutating func putOnTheCommandLine(_ text: String, _ random: inout SeededRandom) {
        let options = [
            "--config", "--database-url-file", "--job", "--metrics-textfile", "--log-level", "--log-format", "--limit",
            "--role", "--from", "--count", "--time-zone", "--database-url", "--user",
        ]
        switch Int.random(in: 0..<5, using: &random) {
        case 0: arguments.insert(text, at: Int.random(in: 0...arguments.count, using: &random))
        case 1: arguments += [random.pick(options), text]
        case 2: arguments.append("\(random.pick(options))=\(text)")
        case 3:
            arguments = random.pick([
                ["schedule", text], ["help", text], ["sessions", "--user", text], ["--\(text)"],
            ])
        default: arguments = [random.pick(["-", "--", ""]) + text] + arguments
        }
    }

    private mutating func putIntoTheEnvironment(_ text: String, _ random: inout SeededRandom) {
        let names = [
            "MCP_CLEANUP_DATABASE_TABLE", "MCP_CLEANUP_LOG_LEVEL", "MCP_CLEANUP_HTTP_LISTEN",
            "MCP_CLEANUP_NOTIFY_SUCCESS_URL",
            "MCP_CLEANUP_NOTIFY_FAILURE_URL", "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE",
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_TIME_ZONE", "CREDENTIALS_DIRECTORY", "DATABASE_URL",
            "PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGPORT", "PGSSLMODE", "NOTIFY_SOCKET", "JOURNAL_STREAM",
            "MCP_CLEANUP_BATCH_MAX_ROWS",
        ]
        if !random.chance(3) { environment["NEON_DATABASE_URL"] = "postgresql://role@127.0.0.1:1/db" }
        if random.chance(4) {
            // A name of a variable ends at its first equals sign.
            let name = Self.url(&random, hasScheme: true).prefix { $0 != "=" }
            environment[random.pick(["MCP_CLEANUP_\(name)", "MCP_CLEANUP_JOBS_\(name)_SCHEDULE"])] = "x"
        } else {
            environment[random.pick(names)] = text
        }
    }

    private static func configuration(_ text: String, _ random: inout SeededRandom) -> String {
        // A double-quoted scalar of YAML.
        let quoted = text.unicodeScalars.map {
            switch $0 {
            case "\"", "\\": "\\\($0)"
            case "\n": "\\n"
            case "\t": "\\t"
            case "\u{1B}": "\\e"
            default: String($0)
            }
        }.joined()
        return random.pick([
            "\"\(quoted)\": { a: b }", "database: { url: \"\(quoted)\" }", "database: { table: \"\(quoted)\" }",
            "database: { table: '\"x\".\"y\"', \"\(quoted)\": 1 }", "batch: { max-rows: \"\(quoted)\" }",
            "jobs: { \"\(quoted)\": { enabled: true } }", "\"\(quoted)\"", "- \"\(quoted)\"",
            "log: { level: \"\(quoted)\" }",
            "jobs: { mcp-cleanup-dormant-sessions: { schedule: \"\(quoted)\" } }",
            "jobs: { codes: { table: a.b, schedule: '@daily', where: \"a < $1 AND b = '\(quoted)'\" } }",
            "notify: { success-url: \"\(quoted)\", failure-url: \"https://x/CA\(secret)\" }",
            "http: { listen: \"\(quoted)\" }",
            "database-url: \(text)", text, "# \(text)\nx: [",
        ])
    }

    // MARK: The run

    /// Runs it, and returns its exit code.
    func status() async throws -> Int32 {
        let result = try await Command.run(Command.daemon, arguments, environment: environment)
        // Other codes are not the program's own: 133, for example, is a crash.
        #expect([0, 64, 69, 70, 74, 75, 77, 78].contains(result.status), "\(self) \(result)")
        let metrics =
            FileManager.default.contents(atPath: metricsPath).map { String(decoding: $0, as: UTF8.self) } ?? ""
        for text in [result.output, result.error, metrics] {
            #expect(!text.uppercased().contains(Self.secret), "\(self) \(result)")
            #expect(
                text.unicodeScalars.allSatisfy { $0 == "\n" || !$0.properties.isBidiControl && $0.value >= 32 },
                "\(self)")
        }
        return result.status
    }
}
