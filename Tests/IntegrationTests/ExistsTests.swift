import Foundation
import Postgres
import SeededRandom
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// Own jobs whose condition looks at other tables: clients that no session uses.
@Suite(.inTurn) struct ExistsTests {
    /// The recipe of docs/configuration.md, as it stands there.
    private static func recipe() throws -> String {
        let lines = try Repository.text("docs/configuration.md").components(separatedBy: "\n")
        let start = try #require(lines.firstIndex { $0.contains("orphaned-clients:") })
        let block = lines[(start - 1)...].prefix { $0.hasPrefix("    ") }.map { String($0.dropFirst(4)) }
        return try file(block.joined(separator: "\n"))
    }

    private static func file(_ text: String) throws -> String {
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private static func file(condition: String) throws -> String {
        try file(
            """
            jobs:
              orphaned-clients:
                table: public.oauth_clients
                where: \(JSON.string(condition))
                schedule: "@daily"
            """)
    }

    private static let once = ["--once", "--json", "--job", "orphaned-clients", "--config"]

    enum Shape: CaseIterable { case plain, partitioned, inheritance, statementTrigger }

    /// Clients of some age, of which some have sessions.
    private static func clients(_ shape: Shape, _ count: Int) -> String {
        let columns = "(client_id TEXT NOT NULL, name TEXT, created_at TIMESTAMPTZ NOT NULL)"
        let tables =
            switch shape {
            case .plain: "CREATE TABLE public.oauth_clients \(columns);"
            case .statementTrigger:
                """
                CREATE TABLE public.oauth_clients \(columns) PARTITION BY HASH (client_id);
                CREATE TABLE part_0 PARTITION OF oauth_clients FOR VALUES WITH (MODULUS 1, REMAINDER 0);
                CREATE FUNCTION idle() RETURNS TRIGGER LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
                CREATE TRIGGER idle BEFORE DELETE ON oauth_clients EXECUTE FUNCTION idle();
                """
            case .partitioned:
                "CREATE TABLE public.oauth_clients \(columns) PARTITION BY HASH (client_id);"
                    + (0..<3).map {
                        "CREATE TABLE part_\($0) PARTITION OF oauth_clients FOR VALUES WITH (MODULUS 3, REMAINDER \($0));"
                    }.joined()
            case .inheritance:
                "CREATE TABLE public.oauth_clients \(columns); CREATE TABLE child () INHERITS (oauth_clients);"
            }
        return """
            \(tables)
            INSERT INTO public.\(shape == .inheritance ? "child" : "oauth_clients")
            SELECT 'client-' || n, 'c', now() - (n % 5) * interval '3 days' FROM generate_series(1, \(count)) AS n;
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, client_id)
            SELECT 's' || n, 'u', 'x', 'sse', 'x', now() + interval '1 day', CASE WHEN n % 4 > 0 THEN 'client-' || n END
              FROM generate_series(1, \(count), 2) AS n;
            CREATE INDEX ON mcp_sessions (client_id);
            ANALYZE;
            """
    }

    @Test(arguments: Shape.allCases)
    func theRecipeRemovesWhatASingleDeleteWould(shape: Shape) async throws {
        try await Self.expectTheSame(shape, 2000)
    }

    /// More rows than a search by age returns, so that the run walks over pages.
    @Test(.slow, arguments: Shape.allCases)
    func theRecipeRemovesWhatASingleDeleteWouldOfMany(shape: Shape) async throws {
        try await Self.expectTheSame(shape, 105_000)
    }

    private static func expectTheSame(_ shape: Shape, _ count: Int) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(clients(shape, count))
        let orphans =
            "created_at < now() - interval '7 days' "
            + "AND NOT EXISTS (SELECT FROM public.mcp_sessions s WHERE s.client_id = oauth_clients.client_id)"
        try await database.run(
            "CREATE TABLE expected AS SELECT * FROM oauth_clients; DELETE FROM expected AS oauth_clients WHERE \(orphans)"
        )
        let due = count - (try await database.count(in: "expected"))
        let config = try recipe()
        let preview = try await database.daemon(["--dry-run"] + once + [config])
        #expect(preview.output.contains(#""due_rows":\#(due),"#), "\(preview)")
        let result = try await database.daemon(once + [config])
        #expect(result.status == 0 && result.output.contains(#""rows_deleted":\#(due),"rows_skipped":0"#), "\(result)")
        #expect(due == count / 5)
        let difference = """
            SELECT count(*) FROM ((TABLE oauth_clients EXCEPT ALL TABLE expected)
                                  UNION ALL (TABLE expected EXCEPT ALL TABLE oauth_clients)) AS d
            """
        #expect(try await database.value(difference) == "0")
    }

    /// A session that was committed before a batch began keeps its client, whenever the client was found.
    @Test(.slow) func besideInsertsNoClientGoesWhoseSessionWasCommittedBefore() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            \(Self.clients(.plain, 4000))
            DELETE FROM mcp_sessions; UPDATE oauth_clients SET created_at = now() - interval '30 days';
            CREATE TABLE committed (client_id TEXT, at TIMESTAMPTZ DEFAULT clock_timestamp());
            CREATE TABLE deleted (client_id TEXT, began TIMESTAMPTZ DEFAULT now());
            CREATE FUNCTION witness() RETURNS TRIGGER LANGUAGE plpgsql AS
            $$BEGIN PERFORM pg_sleep(0.0005); INSERT INTO deleted (client_id) VALUES (OLD.client_id); RETURN NULL; END$$;
            CREATE TRIGGER witness AFTER DELETE ON oauth_clients FOR EACH ROW EXECUTE FUNCTION witness();
            """)
        let config = try Self.recipe()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lane in 0..<3 {
                group.addTask {
                    let connection = try await database.server.connect(database.name)
                    // Every other client, from the end that the run comes to last.
                    for n in stride(from: 4000 - lane * 2, to: 0, by: -6) where !Task.isCancelled {
                        let client = "client-\(n)"
                        _ = try await connection.script(
                            """
                            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, client_id)
                            VALUES ('\(client)', 'u', 'x', 'sse', 'x', now() + interval '1 day', '\(client)')
                            """, deadline: .now + .seconds(30))
                        _ = try await connection.script(
                            "INSERT INTO committed VALUES ('\(client)')", deadline: .now + .seconds(30))
                    }
                    await connection.close()
                }
            }
            let result = try await database.daemon(Self.once + [config])
            #expect(result.status == 0, "\(result)")
            group.cancelAll()
            // A task that was canceled in the middle of a statement throws: its error does not matter.
            while let _ = await group.nextResult() {}
        }
        let wrong = try await database.value(
            "SELECT count(*) FROM deleted AS d JOIN committed AS c USING (client_id) WHERE c.at < d.began")
        #expect(wrong == "0")
        let (deleted, kept) = (
            try await database.count(in: "deleted"),
            try await database.count(
                "EXISTS (SELECT FROM committed AS c WHERE c.client_id = o.client_id)", in: "oauth_clients AS o")
        )
        #expect(deleted >= 2000 && kept > 20, "\(deleted) deleted, \(kept) kept")
    }

    /// One pass over pages would wait for the updater, and then delete the client whose session it inserted.
    @Test func aClientThatIsBeingUpdatedIsSkippedAlsoWhereManyAreDue() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.clients(.plain, 25_000)
                + "DELETE FROM mcp_sessions; UPDATE oauth_clients SET created_at = now() - interval '30 days'; VACUUM;"
                .replacing("VACUUM;", with: ""))
        let user = try await OtherTransaction(
            in: database,
            """
            UPDATE oauth_clients SET name = 'used' WHERE client_id = 'client-24000';
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, client_id)
            VALUES ('new', 'u', 'x', 'sse', 'x', now() + interval '1 day', 'client-24000')
            """)
        let config = try Self.recipe()
        let result = try await database.daemon(Self.once + [config])
        #expect(result.output.contains(#""rows_deleted":24999,"rows_skipped":1"#), "\(result)")
        try await user.commit()
        let after = try await database.daemon(Self.once + [config])
        #expect(after.output.contains(#""rows_deleted":0,"rows_skipped":0"#), "\(after)")
        #expect(try await database.value("SELECT client_id FROM oauth_clients") == "client-24000")
    }

    /// SQL with `@role` that permits or prevents the look at the sessions, the exit code, and words of the message.
    @Test(arguments: [
        ("SELECT", 0, "has SELECT on public.mcp_sessions"),
        ("REVOKE SELECT ON mcp_sessions FROM @role", 77, "no SELECT privilege on public.mcp_sessions"),
        ("ALTER TABLE mcp_sessions RENAME TO others", 78, "public.mcp_sessions does not exist"),
        (
            "ALTER TABLE mcp_sessions RENAME TO others; CREATE VIEW mcp_sessions AS SELECT * FROM others", 78,
            "public.mcp_sessions is not a table"
        ),
        ("ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY", 77, "row security on public.mcp_sessions would hide"),
        (
            "ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mcp_sessions USING (user_id = 'u')",
            77,
            "row security on public.mcp_sessions would hide"
        ),
        (
            "ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mcp_sessions USING (true)", 0,
            "has SELECT on public.mcp_sessions"
        ),
    ])
    func whatWouldHideASessionStopsTheRun(sql: String, status: Int32, words: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole(grants: ["SELECT", "UPDATE", "DELETE"])
        try await database.run(
            Self.clients(.plain, 100) + "GRANT SELECT, UPDATE, DELETE ON oauth_clients TO \(role);"
                + sql.replacing("@role", with: role))
        let url = database.server.url(database.name, user: role)
        let config = try Self.recipe()
        for arguments in [Self.once + [config], ["--dry-run"] + Self.once + [config]] {
            let result = try await database.daemon(arguments, url: url)
            #expect(result.status == status && (status == 0 || result.error.contains(words)), "\(result)")
        }
        let check = try await database.daemon(["check", "--json", "--config", config], url: url)
        let line = check.lines.first {
            $0.contains(#""check":"search""#) && $0.contains(words) && $0.contains("orphaned")
        }
        let failed = check.lines.first { $0.hasPrefix(#"{"check":"search","status":"fail""#) && $0.contains(words) }
        #expect(status == 0 ? line != nil : failed != nil, "\(check)")
        if status != 0 { #expect(try await database.count(in: "oauth_clients") == 100) }
    }

    @Test(arguments: [
        ("NOT EXISTS (SELECT FROM mcp_sessions WHERE true) AND created_at < $1", "EXISTS takes"),
        ("EXISTS (SELECT FROM public.mcp_sessions s WHERE random() < 0.5) AND created_at < $1", "random"),
        (
            "EXISTS (SELECT FROM public.mcp_sessions s WHERE s.client_id = client_id AND s.expires_at < clock_timestamp()) AND created_at < $1",
            "clock_timestamp"
        ),
        ("EXISTS (SELECT FROM public.mcp_sessions s WHERE s.nothing = 1) AND created_at < $1", "42703"),
        (
            "EXISTS (SELECT FROM public.mcp_sessions s WHERE s.client_id = public.oauth_clients.client_id) AND created_at < $1",
            "42P01"
        ),
    ])
    func refusesWhatIsNoConditionOrAnswersAtRandom(condition: String, words: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.clients(.plain, 100))
        let result = try await database.daemon(Self.once + [try Self.file(condition: condition)])
        #expect(result.status == 78 && result.error.contains(words), "\(result)")
        #expect(try await database.count(in: "oauth_clients") == 100)
    }

    @Test func severalTablesAndNestedQueriesAreTaken() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.clients(.partitioned, 100) + "CREATE TABLE \"Grants\" AS SELECT client_id FROM mcp_sessions")
        let condition = """
            created_at < $1 AND exists (select 1 from "public" . "Grants" AS g, public.mcp_sessions
            WHERE g.client_id = mcp_sessions.client_id AND g.client_id = oauth_clients.client_id AND mcp_sessions.expires_at > $1
              AND NOT EXISTS (SELECT * FROM public.oauth_clients o WHERE o.client_id = 'client-5' AND o.client_id = g.client_id))
            """
        let result = try await database.daemon(Self.once + [try Self.file(condition: condition)])
        let used = Set((0..<50).map { $0 * 2 + 1 }.filter { $0 % 4 > 0 && $0 != 5 })
        #expect(result.output.contains(#""rows_deleted":\#(used.count),"#), "\(result)")
        #expect(try await database.count("client_id = 'client-5'", in: "oauth_clients") == 1)
    }
}
