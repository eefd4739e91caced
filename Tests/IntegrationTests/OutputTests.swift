import CleanupSchedule
import Foundation
import Glibc
import SessionCleanup
import TestServers
import Testing
import Time

/// The output that scripts read, in which there is no secret.
@Suite(.inTurn) struct OutputTests {
    private static let time = #""[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{3}|\.[0-9]{6})?Z""#

    private static func runLine(
        _ job: String, _ outcome: String, cutoff: String, counts: String, error: String
    ) throws -> Regex<AnyRegexOutput> {
        try Regex(
            #"^\{"job":"\#(job)","outcome":"\#(outcome)","scheduled_at":\#(time),"started_at":\#(time),"finished_at":\#(time),"cutoff":\#(cutoff),"#
                + #"\#(counts),"attempts":1,"run_id":null,"error":\#(error)\}$"#)
    }

    @Test func aRunIsOneObjectWithTheseKeysInThisOrder() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let result = try await database.daemon(["--once", "--json"])
        #expect(result.lines.count == 2)
        let counts = #""rows_deleted":2,"rows_skipped":0,"rows_refused":0,"batches":2"#
        for (line, job) in zip(result.lines, ["mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions"]) {
            let expected = try Self.runLine(job, "succeeded", cutoff: Self.time, counts: counts, error: "null")
            #expect(line.contains(expected), "\(line)")
        }
        let asked = try result.lines.map { try #require($0.firstMatch(of: /"scheduled_at":"([^"]+)"/)).1 }
        #expect(asked[0] == asked[1])
        #expect(result.error.isEmpty, "\(result.error)")
    }

    @Test func aFailedRunIsAnObjectToo() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let result = try await database.daemon(["--once", "--json", "--job", "mcp-cleanup-dormant-sessions"])
        let line = try Self.runLine(
            "mcp-cleanup-dormant-sessions", "failed", cutoff: "null",
            counts: #""rows_deleted":0,"rows_skipped":0,"rows_refused":0,"batches":0"#,
            error: #"\{"sqlstate":null,"message":"the table public\.mcp_sessions does not exist","hint":"[^"]+"\}"#)
        #expect(result.lines.count == 1)
        #expect(result.lines[0].contains(line), "\(result.output)")
    }

    @Test(arguments: [true, false])
    func aDryRunSaysHowItWouldLookAndDeletesNothing(hasIndex: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n, 'u', 'x', 'sse', 'x', timestamptz '2026-01-02 03:04:05.678Z'
                + CASE WHEN n > 20 THEN interval '100 years' ELSE n * interval '1 second' END
              FROM generate_series(0, 5000) AS n;
            \(hasIndex ? "" : "DROP INDEX idx_mcp_sessions_expires_at;") ANALYZE mcp_sessions;
            """)
        let result = try await database.daemon(["--once", "--dry-run", "--json", "--job", "transient"])
        #expect(result.status == 0, "\(result.error)")
        let plan =
            hasIndex
            ? #""(Index Scan|Bitmap Heap Scan)","index":"idx_mcp_sessions_expires_at""# : #""Seq Scan","index":null"#
        let line = try Regex(
            #"^\{"job":"mcp-cleanup-transient-sessions","due_rows":21,"oldest_due_at":"2026-01-02T03:04:05.678Z","#
                + #""cutoff":\#(Self.time),"plan":\#(plan)\}$"#)
        #expect(result.lines.count == 1)
        #expect(result.lines[0].contains(line), "\(result.output)")
        #expect(try await database.count() == 5001)
    }

    @Test func aDryRunOfAPartitionedTableNamesTheFirstIndex() async throws {
        let database = try await SessionsDatabase(on: .packaged(), .status)
        try await database.run(
            """
            ALTER TABLE mcp_sessions RENAME TO seed;
            CREATE TABLE mcp_sessions (LIKE seed INCLUDING DEFAULTS) PARTITION BY HASH (id);
            CREATE TABLE one PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE two PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 2, REMAINDER 1);
            CREATE INDEX ON mcp_sessions (expires_at);
            INSERT INTO mcp_sessions (session_id, user_id, server_url, callback_url, expires_at)
            SELECT n, 'u', 'x', 'x', now() + (n - 10) * interval '1 hour' FROM generate_series(1, 5000) AS n;
            ANALYZE mcp_sessions;
            """)
        let result = try await database.daemon(["--once", "--dry-run", "--json", "--job", "transient"])
        // The tenth row's expiry is the instant of its insertion.
        #expect(result.output.contains(#""due_rows":10,"#), "\(result)")
        #expect(result.output.contains(#""plan":"Append","index":"one_expires_at_idx""#), "\(result)")
    }

    /// Sessions of one user, with a canary in every column that could hold a secret or lead to one.
    private static func canaries(_ generation: SchemaGeneration) -> String {
        let columns = """
            session_id, user_id, server_id, server_name, server_url, callback_url, headers, client_information, tokens,
            code_verifier, client_id, created_at, updated_at, expires_at
            """
        func row(_ id: String, expires: String) -> String {
            """
            '\(id)', 'me', 'srv-\(id)', 'Server \(id)', 'https://canary/?key=canary', 'https://canary', '{"a": "canary"}',
            '{"a": "canary"}', '{"a": "canary"}', 'canary', 'canary', '2026-01-01 00:00Z', '2026-03-01 12:00Z', \(expires)
            """
        }
        switch generation {
        case .active:
            return """
                INSERT INTO mcp_sessions (\(columns), transport_type, active) VALUES
                (\(row("active", expires: "'2020-01-01 00:00Z'")), 'sse', true),
                (\(row("gone", expires: "'-infinity'")), 'sse', false),
                (\(row("pending", expires: "'2027-05-06 07:08:09.5Z'")), 'sse', false),
                (\(row("pending-null", expires: "'infinity'")), 'sse', NULL);
                """
        case .status:
            let more = #"'canary', '"canary"', '"canary"', '"canary"', '"canary"'"#
            return """
                ALTER TABLE mcp_sessions ALTER status DROP NOT NULL;
                INSERT INTO mcp_sessions (\(columns), status, auth_url, oauth_state, discovery_state, server_options, tool_policy) VALUES
                (\(row("active", expires: "NULL")), 'active', \(more)),
                (\(row("gone", expires: "'-infinity'")), 'pending', \(more)),
                (\(row("pending", expires: "'2027-05-06 07:08:09.5Z'")), 'pending', \(more)),
                (\(row("pending-null", expires: "NULL")), 'pending', \(more)),
                (\(row("stateless", expires: "'2027-05-06 07:08:09.5Z'")), NULL, \(more));
                """
        }
    }

    @Test(arguments: SchemaGeneration.allCases)
    func aUsersSessionsShowNoCredentialAndWhenEachGoes(generation: SchemaGeneration) async throws {
        let database = try await SessionsDatabase(on: .packaged(), generation)
        try await database.run(Self.canaries(generation))
        let result = try await database.daemon(["sessions", "--user", "me", "--json", "--log-level", "trace"])
        #expect(result.status == 0, "\(result.error)")
        let (transient, dormant) = ("mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions")
        func line(
            _ id: String, active: Bool = false, expires: String, job: String, until: String, removed: String,
            reason: String
        ) -> String {
            #"{"session_id":"\#(id)","server_id":"srv-\#(id)","server_name":"Server \#(id)","active":\#(active),"#
                + #""created_at":"2026-01-01T00:00:00Z","updated_at":"2026-03-01T12:00:00Z","expires_at":\#(expires),"#
                + #""job":"\#(job)","kept_until":\#(until),"removed_at":\#(removed),"reason":"\#(reason)"}"#
        }
        // A session that is already due goes at the next fire time, which may have passed since the listing.
        func next(_ job: Job) -> String { job.schedule.next(after: .hostNow).map { "\"\($0)\"" } ?? "null" }
        let later = #""2027-05-06T07:08:09.500Z""#
        let (soon, midnight) = (next(.transientSessions), next(.dormantSessions()))
        let unremovable = "no job removes such a session: it has no known status, or never expires"
        let waiting = "not active yet; goes when it expires before it is"
        var expected = [
            line(
                "active", active: true, expires: generation == .active ? #""2020-01-01T00:00:00Z""# : "null",
                job: dormant, until: #""2026-03-31T12:00:00Z""#, removed: midnight,
                reason: "active, but untouched for more than 30 days"),
            // Its expiry is before the first time that is shown, 0001-01-01.
            line(
                "gone", expires: "null", job: transient, until: #""0001-01-01T00:00:00Z""#, removed: soon,
                reason: "never became active, and expired"),
            line(
                "pending", expires: later, job: transient, until: later, removed: #""2027-05-06T07:10:00Z""#,
                reason: waiting),
            line(
                "pending-null", expires: "null", job: transient, until: "null", removed: "null",
                reason: generation == .active ? "it expires after the year 9999, or never" : unremovable),
        ]
        if generation == .status {
            expected.append(
                line("stateless", expires: later, job: transient, until: "null", removed: "null", reason: unremovable))
        }
        if soon == next(.transientSessions) { #expect(result.lines == expected) }
        let text = try await database.daemon(["--log-level", "trace", "sessions", "--user", "me"])
        // In the order of removal: the expired sessions by their expiry, then the others; last the sessions that stay.
        let listed = text.lines.filter { !$0.hasPrefix(" ") }
        #expect(listed.first == "SESSION       SERVER               REMOVED (UTC)")
        let order = ["gone", "active", "pending", "pending-null"] + (generation == .status ? ["stateless"] : [])
        #expect(listed.dropFirst().map { String($0.prefix { $0 != " " }) } == order, "\(text.output)")
        #expect(text.output.contains("expired since 2026-03-31 12:00\n"))
        #expect(text.output.contains("2027-05-06 07:10 if not active\n") && text.output.contains("never\n  "))
        for output in [result, text] { #expect(!(output.output + output.error).contains("canary")) }
    }

    @Test func aDisabledJobRemovesNothingAndIsNotPromisedTo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let environment = ["MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_ENABLED": "false"]
        let listing = try await database.daemon(["sessions", "--user", "y"], environment: environment)
        #expect(
            listing.lines.filter { $0.hasSuffix("  never") }.count == 2
                && listing.lines.filter { $0 == "  the job mcp-cleanup-dormant-sessions is disabled" }.count == 2,
            "\(listing.output)")
        let result = try await database.daemon(["--once", "--json"], environment: environment)
        #expect(result.status == 0)
        #expect(result.lines.count == 1)
        #expect(try await database.sessions() == ["dormant-1", "dormant-2", "live-1", "live-2"])
        let asked = try await database.daemon(["--once", "--job", "dormant"], environment: environment)
        #expect(asked.status == 64)
    }

    /// As an application fills it: UUIDs, long names of servers, a job with a long name, large numbers.
    @Test func everyTableFitsEightyColumns() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let migrated = try await database.daemon(["migrate"])
        #expect(migrated.status == 0, "\(migrated)")
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_name, server_url, transport_type, callback_url, expires_at, active)
            SELECT gen_random_uuid(), 'me', 'Customer Relationship Management 世界 ' || n, 'x', 'sse', 'x',
                   now() + (n - 3) * interval '1 hour', n % 2 = 0
              FROM generate_series(1, 6) AS n;
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at,
                finished_at, cutoff, rows_deleted, rows_skipped, batches, error_sqlstate, error_message)
            SELECT job, now() - n * interval '6 hours', origin, 'a:1:x', 1, status, now() - n * interval '6 hours', now(),
                   now() - n * interval '6 hours' + n * interval '83 minutes', now(), 1234567, 12345, 40, NULL,
                   CASE status WHEN 'succeeded' THEN NULL ELSE repeat('what the server said, and more. ', 9) END
              FROM (VALUES (1, 'mcp-cleanup-transient-sessions', 'catch-up', 'timed_out'),
                           (2, 'mcp-cleanup-dormant-sessions', 'schedule', 'succeeded'),
                           (3, 'oauth-authorization-codes-of-a-tenant', 'once', 'succeeded')) AS row (n, job, origin, status);
            """)
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try """
        jobs:
          mcp-cleanup-dormant-sessions: { schedule: "0,30 0-6,18-23 1,15 jan-jun,dec mon-fri" }
          oauth-authorization-codes-of-a-tenant: { table: public.codes, where: expires_at < $1, schedule: "*/10 * * * *" }
        """.write(toFile: path, atomically: true, encoding: .utf8)
        for (arguments, header) in [
            (["sessions", "--user", "me"], "SESSION "), (["history"], "SCHEDULED (UTC) "), (["status"], "JOB "),
            (["check"], "STATUS "),
        ] {
            let result = try await database.daemon(arguments + ["--config", path])
            #expect(result.lines.first?.hasPrefix(header) ?? false && result.lines.count > 3, "\(result)")
            for line in result.lines { #expect(line.count <= 80, "\(line)") }
        }
        let sessions = try await database.daemon(["sessions", "--user", "me", "--config", path])
        #expect(sessions.lines.count == 7 && sessions.output.contains("expired since "), "\(sessions)")
        let status = try await database.daemon(["status", "--config", path])
        #expect(status.output.contains("\ntransient ") && status.output.contains("never succeeded\n"), "\(status)")
        // Only the long name is cut, and the one schedule that is long too.
        #expect(status.output.contains("  */5 * * * *  ") && status.output.contains("  */10 * * * *  "), "\(status)")
    }

    /// Output that cannot be written does not keep the runs from deleting, writing metrics and calling the success URL.
    @Test(arguments: [">/dev/full", ">&-", "| (exec 0<&-; sleep 1)"])
    func standardOutputThatCannotBeWrittenStopsNoJob(redirection: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let called = Locked(0)
        let listener = try Listener { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            _ = read(visitor, &request, request.count)
            called.withLock { $0 += 1 }
            let answer = Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        let path = try TemporaryDirectory.make() + "/metrics.prom"
        let result = try await Command.run(
            "/bin/bash",
            ["-c", "'\(Command.daemon)' --once --metrics-textfile '\(path)' \(redirection); exit ${PIPESTATUS[0]}"],
            environment: [
                "NEON_DATABASE_URL": database.url, "PATH": "/usr/bin:/bin",
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "http://127.0.0.1:\(listener.port)/",
            ])
        #expect(result.status == 74 && result.error.contains("error: standard output cannot be written"), "\(result)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
        #expect(try String(contentsOfFile: path, encoding: .utf8).contains("rows_deleted_total"))
        #expect(called.withLock(\.self) > 0)
    }

    /// One cause is one error, also when it stops both jobs.
    @Test func aFailureOfBothJobsIsSaidOnce() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let both = try await database.daemon(["--once"])
        #expect(both.status == 78 && both.lines.count == 2, "\(both)")
        let lines = both.error.split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasPrefix("error: the table ") && lines[1].hasPrefix("hint: "), "\(both)")
        let one = try await database.daemon(["--once", "--dry-run", "--job", "dormant"])
        #expect(one.error.hasPrefix("error: dormant: the table "), "\(one)")
        let json = try await database.daemon(["--once", "--log-format", "json"])
        #expect(json.error.split(separator: "\n").count == 2 && json.error.contains(#""job":"mcp-cleanup-dormant-s"#))
    }

    @Test func nothingTellsThePasswordOrTheURL() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        // A foreign key, so that there is an error of the server's to report too.
        try await database.run(
            """
            \(PrivilegeTests.population) CREATE TABLE message (session_id TEXT REFERENCES mcp_sessions (session_id));
            INSERT INTO message VALUES ('dormant-1');
            """)
        let role = try await database.makeServiceRole()
        let url = database.server.secureURL(database.name, user: role, password: "correct-horse-battery")
        let environment = ["SSL_CERT_FILE": database.server.authority]
        for arguments in [
            ["--once"], ["--once", "--dry-run"], ["sessions", "--user", "x"], ["migrate", "--sessions"],
            ["migrate", "--indexes", "--role", role], ["check"], ["status"], ["history"], ["pg-cron", "status"],
        ] {
            for format in ["text", "json"] {
                let result = try await database.daemon(
                    arguments + ["--log-level", "trace", "--log-format", format], url: url, environment: environment)
                let text = result.output + result.error
                #expect(!text.isEmpty)
                #expect(!text.contains("correct-horse-battery"), "\(text)")
                #expect(!text.contains("channel_binding"), "\(text)")
            }
        }
    }
}
