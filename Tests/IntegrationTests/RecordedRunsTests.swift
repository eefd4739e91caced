import Foundation
import Postgres
import SessionCleanup
import TestServers
import Testing
import Time

/// `history` and `status`: what people and programs learn about past runs.
@Suite(.inTurn) struct RecordedRunsTests {
    private static let transient = "mcp-cleanup-transient-sessions"
    private static let dormant = "mcp-cleanup-dormant-sessions"

    /// A history of a few runs, and a role that may read it and nothing else.
    private static func database(_ rows: String = runs) async throws -> (SessionsDatabase, url: String) {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await database.run(
            """
            \(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"));
            CREATE ROLE \(role) LOGIN; GRANT USAGE ON SCHEMA mcp_cleanup TO \(role);
            GRANT SELECT ON mcp_cleanup.runs TO \(role);
            \(rows)
            """)
        return (database, database.server.url(database.name, user: role))
    }

    private static let columns = """
        INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at,
            finished_at, cutoff, rows_deleted, rows_skipped, batches, error_sqlstate, error_message) VALUES
        """

    private static let runs =
        columns + """
            ('\(transient)', '2026-05-13 12:00Z', 'schedule', 'a:1:x', 1, 'succeeded', '2026-05-13 12:00:00.25Z',
             '2026-05-13 12:00:01Z', '2026-05-13 12:00:01.5Z', '2026-05-13 12:00:00.25Z', 2900, 3, 4, NULL, NULL),
            ('\(dormant)', '2026-05-13 00:00Z', 'catch-up', 'b:1:x', 2, 'failed', '2026-05-13 12:01Z', '2026-05-13 12:01Z',
             '2026-05-13 12:01:02Z', '2026-05-13 12:01Z', 0, 0, 0, '23503', E'no\\n\\x1b[31m"way"'),
            ('\(transient)', '2026-05-13 12:05Z', 'once', 'c:1:x', 1, 'running', '2026-05-13 12:05Z', '2026-05-13 12:05Z',
             NULL, '2026-05-13 12:05Z', 7, 0, 1, NULL, NULL);
            """

    @Test func theLatestRunsAreShownLatestFirst() async throws {
        let (database, url) = try await Self.database()
        let pooler = try await PgBouncer(for: database.server)
        defer { withExtendedLifetime(pooler) {} }
        let pooled = pooler.url(database.name)
        for url in [url, pooled] {
            let result = try await database.daemon(["history", "--json"], url: url)
            #expect(result.status == 0, "\(result)")
            #expect(
                result.lines == [
                    #"{"job":"\#(Self.transient)","status":"running","origin":"once","scheduled_at":"2026-05-13T12:05:00Z","#
                        + #""started_at":"2026-05-13T12:05:00Z","heartbeat_at":"2026-05-13T12:05:00Z","finished_at":null,"#
                        + #""cutoff":"2026-05-13T12:05:00Z","rows_deleted":7,"rows_skipped":0,"rows_refused":0,"batches":1,"attempts":1,"#
                        + #""run_id":3,"claimed_by":"c:1:x","error":null}"#,
                    #"{"job":"\#(Self.dormant)","status":"failed","origin":"catch-up","scheduled_at":"2026-05-13T00:00:00Z","#
                        + #""started_at":"2026-05-13T12:01:00Z","heartbeat_at":"2026-05-13T12:01:00Z","#
                        + #""finished_at":"2026-05-13T12:01:02Z","cutoff":"2026-05-13T12:01:00Z","rows_deleted":0,"#
                        + #""rows_skipped":0,"rows_refused":0,"batches":0,"attempts":2,"run_id":2,"claimed_by":"b:1:x","#
                        + #""error":{"sqlstate":"23503","message":"no\n\u001b[31m\"way\""}}"#,
                    #"{"job":"\#(Self.transient)","status":"succeeded","origin":"schedule","#
                        + #""scheduled_at":"2026-05-13T12:00:00Z","started_at":"2026-05-13T12:00:00.250Z","#
                        + #""heartbeat_at":"2026-05-13T12:00:01Z","finished_at":"2026-05-13T12:00:01.500Z","#
                        + #""cutoff":"2026-05-13T12:00:00.250Z","rows_deleted":2900,"rows_skipped":3,"rows_refused":0,"batches":4,"#
                        + #""attempts":1,"run_id":1,"claimed_by":"a:1:x","error":null}"#,
                ])
        }
    }

    @Test func aJobGoesByItsShortNameAndTheLimitLimits() async throws {
        let (database, url) = try await Self.database()
        func runs(_ arguments: [String]) async throws -> [String] {
            try await database.daemon(["history", "--json"] + arguments, url: url).lines.map {
                String(try #require($0.firstMatch(of: /"run_id":(\d+)/)).1)
            }
        }
        #expect(try await runs(["--job", "transient"]) == ["3", "1"])
        #expect(try await runs(["--job", Self.dormant]) == ["2"])
        #expect(try await runs(["--job", "dormant", "--job", "transient"]) == ["3", "2", "1"])
        #expect(try await runs(["--limit", "2"]) == ["3", "2"])
        #expect(try await runs(["--limit", "1", "--job", "dormant"]) == ["2"])
    }

    @Test func forPeopleColumnsLineUpAndNothingSteersTheTerminal() async throws {
        let (database, url) = try await Self.database()
        let result = try await database.daemon(["history"], url: url)
        #expect(
            result.lines == [
                "SCHEDULED (UTC)      JOB        STATUS     DELETED  SKIPPED  TOOK    ORIGIN",
                "2026-05-13 12:05:00  transient  running          7        0       -  once",
                "2026-05-13 00:00:00  dormant    failed           0        0     2 s  catch-up",
                "  error: no\u{FFFD}\u{FFFD}[31m\"way\"",
                "2026-05-13 12:00:00  transient  succeeded    2,900        3  1.25 s  schedule",
            ], "\(result.output)")
    }

    /// script(1) gives the program a terminal.
    @Test func colorsAreForTerminalsAndOnlyForThoseWhoWantThem() async throws {
        let (database, url) = try await Self.database()
        func shown(_ variables: [String: String]) async throws -> String {
            let environment = ["NEON_DATABASE_URL": url, "TERM": "xterm", "PATH": "/usr/bin:/bin"].merging(variables) {
                $1
            }
            return try await Command.check(
                "/usr/bin/script", ["--quiet", "--return", "--command", "\(Command.daemon) history", "/dev/null"],
                environment: environment
            ).output
        }
        let colored = try await shown([:])
        for word in ["\u{1B}[33mrunning\u{1B}[0m", "\u{1B}[31mfailed\u{1B}[0m", "\u{1B}[32msucceeded\u{1B}[0m"] {
            #expect(colored.contains(word), "\(colored)")
        }
        #expect(try await !shown(["NO_COLOR": "1"]).contains("\u{1B}"))
        #expect(try await !shown(["TERM": "dumb"]).contains("\u{1B}"))
        #expect(try await !database.daemon(["history"], url: url).output.contains("\u{1B}"))
    }

    @Test func aHistoryThatCannotBeReadIsRefused() async throws {
        let (database, url) = try await Self.database()
        for (sql, code, words) in [
            ("REVOKE SELECT ON mcp_cleanup.runs FROM @role", 77, "GRANT SELECT ON mcp_cleanup.runs"),
            (
                "GRANT SELECT ON mcp_cleanup.runs TO @role; ALTER TABLE mcp_cleanup.runs ENABLE ROW LEVEL SECURITY", 77,
                "row security"
            ),
            (
                "ALTER TABLE mcp_cleanup.runs DISABLE ROW LEVEL SECURITY; ALTER TABLE mcp_cleanup.runs DROP origin", 78,
                "origin"
            ),
            ("DROP TABLE mcp_cleanup.runs", 78, "mcp-cleanupd migrate"),
        ] as [(String, Int32, String)] {
            let role = try #require(url.firstMatch(of: /role_[a-z0-9]+/)).output
            try await database.run(sql.replacingOccurrences(of: "@role", with: role))
            let result = try await database.daemon(["history"], url: url)
            #expect(result.status == code, "\(result)")
            #expect(result.error.contains(words), "\(result.error)")
            let status = try await database.daemon(["status"], url: url)
            #expect(status.lines.count == 3)
            #expect(status.status == (sql.hasPrefix("DROP") ? 0 : code), "\(status)")
            #expect(status.error.contains(words) && status.error.contains("ast runs are not known"), "\(status.error)")
        }
    }

    // MARK: status

    /// Returns the jobs' lines of `status --json`, for runs that began `ago` before now.
    private static func status(
        _ runs: [(job: String, status: String, ago: String)], environment: [String: String] = [:]
    ) async throws -> [String] {
        let rows = runs.enumerated().map { index, run in
            """
            ('\(run.job)', date_trunc('minute', now()) - interval '\(run.ago)' - \(index) * interval '1 microsecond', 'schedule',
             'a', 1, '\(run.status)', now() - interval '\(run.ago)', now(), now() - interval '\(run.ago)', now(), 5, 0, 1, NULL, NULL)
            """
        }
        let (database, url) = try await database(rows.isEmpty ? "" : columns + rows.joined(separator: ",") + ";")
        let result = try await database.daemon(["status", "--json"], url: url, environment: environment)
        #expect(result.status == 0, "\(result)")
        #expect(result.error.isEmpty, "\(result.error)")
        let text = try await database.daemon(["status"], url: url, environment: environment)
        #expect(text.output.contains("overdue") == result.output.contains(#""overdue":true"#), "\(text.output)")
        return result.lines
    }

    @Test func statusTellsTheLastRunAndTheLastSuccess() async throws {
        let lines = try await Self.status([
            (Self.transient, "succeeded", "10 minutes"), (Self.transient, "failed", "3 minutes"),
        ])
        let time = "[0-9-]{10}T[0-9:]{8}(\\.[0-9]+)?Z"
        let transient = try Regex(
            #"^\{"job":"\#(Self.transient)","enabled":true,"schedule":"\*/5 \* \* \* \*","time_zone":"UTC","#
                + #""next_fire_at":"\#(time)","last_run_at":"\#(time)","last_run_status":"failed","#
                + #""last_success_at":"\#(time)","overdue":false\}$"#)
        #expect(lines[0].contains(transient), "\(lines[0])")
        #expect(
            lines[1].hasSuffix(
                #""last_run_at":null,"last_run_status":null,"last_success_at":null,"overdue":false}"#), "\(lines[1])")
    }

    /// A job is overdue after two intervals and the deadline: 14 minutes, 49 hours.
    @Test(arguments: [
        ("transient", "succeeded", "13 minutes 30 seconds", false),
        ("transient", "succeeded", "14 minutes 30 seconds", true),
        ("transient", "failed", "13 minutes 30 seconds", false), ("transient", "failed", "14 minutes 30 seconds", true),
        ("dormant", "succeeded", "48 hours 30 minutes", false), ("dormant", "capped", "49 hours 30 minutes", true),
        ("transient", "capped", "13 minutes 30 seconds", false),
    ])
    func aJobIsOverdueAfterTwoIntervalsAndItsDeadline(
        job: String, status: String, ago: String, isOverdue: Bool
    ) async throws {
        let lines = try await Self.status([("mcp-cleanup-\(job)-sessions", status, ago)])
        let line = try #require(lines.first { $0.contains(job) })
        #expect(line.hasSuffix(#""overdue":\#(isOverdue)}"#), "\(line)")
        #expect(lines.allSatisfy { $0 == line || $0.hasSuffix(#""overdue":false}"#) })
    }

    /// As for the service's readiness: while nothing is due, `max-staleness` lets a job skip fire times.
    @Test(arguments: [("6 hours 3 minutes", false), ("6 hours 5 minutes", true)])
    func aJobThatMayLetFireTimesPassHasThatLonger(ago: String, isOverdue: Bool) async throws {
        let lines = try await Self.status(
            [(Self.transient, "succeeded", ago)],
            environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_MAX_STALENESS": "6h"])
        #expect(lines[0].hasSuffix(#""overdue":\#(isOverdue)}"#), "\(lines[0])")
    }

    @Test func aCappedRunIsASuccess() async throws {
        let lines = try await Self.status([
            (Self.transient, "succeeded", "1 hour"), (Self.transient, "capped", "5 minutes"),
        ])
        #expect(
            lines[0].contains(#""last_run_status":"capped""#) && lines[0].hasSuffix(#""overdue":false}"#), "\(lines)")
    }

    @Test func aRunOfAClockThatRanAheadIsNotTheLastOne() async throws {
        let lines = try await Self.status([
            (Self.transient, "succeeded", "-365 days"), (Self.transient, "failed", "1 hour"),
        ])
        #expect(lines[0].contains(#""last_run_status":"failed","last_success_at":null,"overdue":true"#), "\(lines[0])")
    }

    @Test func schedulesAreShownWhateverTheDatabaseDoes() async throws {
        let nowhere = try Loopback.freePort()
        for (variables, code) in [
            ([:], 0), (["NEON_DATABASE_URL": "postgresql://127.0.0.1:\(nowhere)/d"], 69),
            (["NEON_DATABASE_URL": "nonsense"], 78),
        ] as [([String: String], Int32)] {
            let result = try await Command.run(Command.daemon, ["status", "--json"], environment: variables)
            #expect(result.status == code, "\(result)")
            #expect(result.error.contains("ast runs are not known"), "\(result.error)")
            #expect(result.lines.count == 2)
            for line in result.lines {
                #expect(
                    line.contains(#""next_fire_at":"2"#) && line.hasSuffix(#""last_success_at":null,"overdue":null}"#),
                    "\(line)")
            }
        }
    }
}
