import CleanupSchedule
import Foundation
import SessionCleanup
import TestServers
import Testing
import Time

/// What scripts read, and what nobody may read.
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
        let counts = #""rows_deleted":2,"rows_skipped":0,"batches":1"#
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
            counts: #""rows_deleted":0,"rows_skipped":0,"batches":0"#,
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
        // The tenth expired when it was inserted.
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
        // What is due already goes at the next fire time; that may have come while we looked.
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
            // A time before the first that has a name.
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
        #expect(text.lines.count == expected.count)
        #expect(text.output.contains("kept until 2026-03-31T12:00:00Z, removed at "))
        #expect(text.output.contains("by mcp-cleanup-dormant-sessions: active, but untouched"))
        #expect(text.output.contains("kept for ever: "))
        for output in [result, text] { #expect(!(output.output + output.error).contains("canary")) }
    }

    @Test func aDisabledJobRemovesNothingAndIsNotPromisedTo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(PrivilegeTests.population)
        let environment = ["MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_ENABLED": "false"]
        let listing = try await database.daemon(["sessions", "--user", "y"], environment: environment)
        #expect(
            listing.lines.filter { $0.hasSuffix("kept for ever: the job mcp-cleanup-dormant-sessions is disabled") }
                .count == 2, "\(listing.output)")
        let result = try await database.daemon(["--once", "--json"], environment: environment)
        #expect(result.status == 0)
        #expect(result.lines.count == 1)
        #expect(try await database.sessions() == ["dormant-1", "dormant-2", "live-1", "live-2"])
        let asked = try await database.daemon(["--once", "--job", "dormant"], environment: environment)
        #expect(asked.status == 64)
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
