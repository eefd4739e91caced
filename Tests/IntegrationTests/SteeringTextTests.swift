import Foundation
import Glibc
import Postgres
import TestServers
import Testing
import Time

/// Names and values with characters that steer a terminal, are invisible, or turn the direction of writing: each output
/// shows U+FFFD in the characters' place, and JSON their numbers.
@Suite(.inTurn) struct SteeringTextTests {
    /// C0, DEL, C1, marks and overrides of direction, separators, a byte order mark, a tag above U+FFFF.
    private static let evil =
        "a\u{1}\u{7}\u{8}\r\u{1B}]0;x\u{7}\u{7F}\u{85}\u{9B}31m\u{200E}\u{202E}\u{2066}\u{2028}\u{2029}\u{FEFF}\u{E0041}\"z"
    /// At most 63 bytes, as a name in the catalog.
    private static let name = "a\u{1B}[2J\u{7F}\u{9B}1m\u{202E}\u{2067}\u{2028}\u{E0041}z"
    private static let shownName = "a\u{FFFD}[2J\u{FFFD}\u{FFFD}1m\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}z"

    private static func steers(_ text: String) -> Bool {
        text.unicodeScalars.contains { $0 != "\n" && $0.isInvisible }
    }

    private static func encoded(_ text: String) -> String {
        text.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static let due = """
        INSERT INTO mcp_sessions (session_id, user_id, server_id, server_name, server_url, transport_type, callback_url, expires_at)
        VALUES
        """

    private static func objects(_ output: String) throws -> [[String: Any]] {
        try output.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any], "\($0)")
        }
    }

    @Test func inTheValuesOfSessionsAndOfTheHistory() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let evil = SQL.literal(Self.evil)
        try await database.run(
            "\(Self.due) (\(evil), \(evil), \(evil), \(evil), 'x', 'sse', 'x', now() + interval '1 day')")
        #expect(try await database.daemon(["migrate"]).status == 0)
        try await database.run(
            """
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at,
                finished_at, cutoff, error_sqlstate, error_message)
            VALUES (\(evil), now(), 'once', \(evil), 1, 'failed', now(), now(), now(), now(), 'XX000', \(evil))
            """)
        for arguments in [["sessions", "--user", Self.evil], ["history"], ["status"], ["check"]] {
            let shown = try await database.daemon(arguments)
            #expect(!Self.steers(shown.output + shown.error), "\(shown)")
            #expect(shown.status == 0, "\(shown)")
            let json = try await database.daemon(arguments + ["--json"])
            #expect(!Self.steers(json.output + json.error), "\(json)")
            for object in try Self.objects(json.output) where arguments != ["check"] && arguments != ["status"] {
                let error = object["error"] as? [String: Any]
                let values = [object["session_id"], object["server_name"], object["claimed_by"], error?["message"]]
                #expect(
                    values.contains { ($0 as? String)?.unicodeScalars.elementsEqual(Self.evil.unicodeScalars) ?? false }
                )
            }
        }
    }

    @Test func inTheNamesOfConstraintsRolesAndDatabases() async throws {
        let server = try await PostgresServer.packaged()
        let number = String(UInt64.random(in: 0...UInt64.max), radix: 36)
        let (role, other) = ("\(Self.name)\(number)", "\(number)\(Self.name)")
        try await server.query("CREATE ROLE \(SQL.identifier(role)) LOGIN SUPERUSER")
        try await server.query("CREATE ROLE \(SQL.identifier(other)) LOGIN")
        try await server.query(
            "CREATE DATABASE \(SQL.identifier(role)) TEMPLATE template0 OWNER \(SQL.identifier(role))")
        func url(_ user: String) -> String {
            "postgresql://\(Self.encoded(user))@/\(Self.encoded(role))?host=\(server.directory)&port=\(server.port)"
        }
        let migration = try SessionsDatabase.migration("20260513010000_install_mcp_sessions")
        try await server.query(
            """
            \(migration); \(Self.due) ('s', 'u', 'x', 'x', 'x', 'sse', 'x', now() - interval '1 day');
            CREATE TABLE child (session_id TEXT CONSTRAINT \(SQL.identifier(Self.name)) REFERENCES mcp_sessions (session_id));
            INSERT INTO child VALUES ('s')
            """, in: Self.encoded(role))
        func run(_ arguments: [String], _ user: String) async throws -> CommandResult {
            let result = try await Command.run(
                Command.daemon, arguments + ["--log-level", "debug"],
                environment: ["NEON_DATABASE_URL": url(user), "PATH": "/usr/bin:/bin"])
            #expect(!Self.steers(result.output + result.error), "\(result)")
            return result
        }
        #expect(try await run(["migrate"], role).status == 0)
        let refused = try await run(["--once"], role)
        #expect(
            refused.status == 77 && refused.error.contains("the constraint \(Self.shownName) forbids"), "\(refused)")
        #expect(refused.error.contains("/\(Self.shownName)\(number) as \(Self.shownName)\(number)"), "\(refused)")
        _ = try await run(["--once", "--json", "--log-format", "json"], role)
        _ = try await run(["--once", "--log-format", "journal"], role)
        #expect(try await run(["check"], role).output.contains(Self.shownName))
        _ = try await run(["check", "--json"], role)
        let powerless = try await run(["check"], other)
        #expect(powerless.status == 77 && powerless.output.contains("\(number)\(Self.shownName)"), "\(powerless)")
        #expect(try await run(["history"], role).output.contains(#"a\u{fffd}[2J"#))
        // The error message in the table, which other programs may read, contains no such character either.
        let kept = try await server.value(
            "SELECT string_agg(error_message, ' ') FROM mcp_cleanup.runs", in: Self.encoded(role))
        #expect(kept.map { $0.contains("forbids it") && !Self.steers($0) } == true)
        try await expectAVisibleService(url(role))
    }

    /// The hint contains the role's name, quoted as in SQL.
    @Test(.enabled(if: geteuid() == 0, "mounting needs root")) func inTheJournal() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = "\(Self.name)\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
        try await database.run("CREATE ROLE \(SQL.identifier(role)) LOGIN")
        let url =
            "postgresql://\(Self.encoded(role))@/\(database.name)?host=\(database.server.directory)&port=\(database.server.port)"
        let journald = try ManagerSocket()
        let command = journald.asJournal + [try Command.daemon, "--once", "--log-format", "journal"]
        let result = try await Command.run(
            command[0], Array(command.dropFirst()), environment: ["NEON_DATABASE_URL": url, "PATH": "/usr/bin:/bin"])
        var entries = ""
        while let entry = await journald.receive(limit: .milliseconds(100)) { entries += entry + "\n" }
        #expect(
            result.status == 77 && entries.contains("GRANT SELECT") && !Self.steers(entries), "\(result) \(entries)")
        #expect(entries.contains("\"\(Self.shownName)"), "\(entries)")
    }

    private func expectAVisibleService(_ url: String) async throws {
        let (manager, port) = (try ManagerSocket(), try Loopback.freePort())
        let daemon = try RunningDaemon(
            url: url, environment: ["NOTIFY_SOCKET": manager.address, "MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"])
        var status: String?
        try await daemon.wait("a status with the constraint") {
            status = await manager.receive(containing: "forbids", limit: .milliseconds(500)) ?? status
            return status != nil
        }
        #expect(
            status.map { !Self.steers($0) && $0.contains(Self.shownName) } ?? false, "\(String(describing: status))")
        for path in ["/", "/status.json", "/readyz", "/metrics"] {
            let body = try await LoopbackHTTP.get(path, port: port).body
            #expect(!Self.steers(body) && !body.isEmpty, "\(path): \(body)")
        }
        #expect(try !Self.steers(daemon.log))
    }

    /// In arguments, variables and files; printf(1) makes the bytes.
    @Test func inBytesThatAreNoUTF8() async throws {
        let path = try TemporaryDirectory.make() + "/config.yaml"
        for script in [
            #"exec "$0" --once --job "$(printf 'a\233\377\342\200')""#, #"exec "$0" "$(printf '\233[2J')""#,
            #"exec env "MCP_CLEANUP_$(printf 'A\302\233\377')=x" "$0" config"#,
            #"printf '"\233\377\342\200": 1' >"$1"; exec "$0" config --config "$1""#,
            #"exec env "MCP_CLEANUP_LOG_LEVEL=$(printf '\233\377')" "$0" config --json"#,
            #"exec env "NEON_DATABASE_URL=postgresql://u@$(printf '\233\377')/d" "$0" --once"#,
        ] {
            let shown = try await Command.run(
                "/bin/sh", ["-c", script, Command.daemon, path], environment: ["PATH": "/usr/bin:/bin"])
            #expect(!Self.steers(shown.output + shown.error) && !shown.error.isEmpty, "\(script): \(shown)")
            #expect([0, 64, 69, 78].contains(shown.status), "\(script): \(shown)")
        }
    }

    @Test func onTheCommandLineInVariablesAndInTheConfiguration() async throws {
        let path = try TemporaryDirectory.make() + "/\(Self.name)\n.yaml"
        try "batch: { max-rows: 0 }\n\"\\e[2J\\u202e\": 1".write(toFile: path, atomically: false, encoding: .utf8)
        let host = "postgresql://u@\(Self.encoded(Self.name))/d"
        for (arguments, variables) in [
            ([Self.evil], [:]), (["--once", "--job", Self.evil], [:]), (["config", "--config", path], [:]),
            (["--log-level", Self.evil], [:]), (["schedule", Self.evil], [:]),
            (["config", "--config", path + "?"], [:]),
            (["config"], ["MCP_CLEANUP_\(Self.name)": "x"]), (["config"], ["MCP_CLEANUP_LOG_LEVEL": Self.evil]),
            (["check"], ["NEON_DATABASE_URL": host]), (["migrate", "--role", Self.name], [:]),
            (["--once", "--log-format", "json"], ["NEON_DATABASE_URL": host]), (["sessions", "--\(Self.evil)"], [:]),
            (["--once", "--database-url-file", path], [:]), (["migrate", "--dry-run", "--role", Self.name], [:]),
        ] as [([String], [String: String])] {
            let result = try await Command.run(
                Command.daemon, arguments, environment: variables.merging(["PATH": "/usr/bin:/bin"]) { $1 })
            #expect(!Self.steers(result.output + result.error), "\(arguments) \(variables): \(result)")
            #expect(!(result.output + result.error).isEmpty, "\(arguments): \(result)")
        }
    }
}
