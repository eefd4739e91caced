import Foundation
import Postgres
import SeededRandom
import TestServers
import Testing

/// A sessions table with history whose server keeps its own account of every deletion, in the deleting transaction: which
/// session, whether it was due at the run's cutoff, who owned the run then, and which process deleted. Each session has two
/// rows in a table whose foreign key cascades.
struct WatchedDatabase: Sendable {
    let database: SessionsDatabase

    /// - Parameters:
    ///   - secondsPerRow: how much longer each deleted row takes, so that more can happen in a transaction.
    ///   - rows: how many rows are deleted before the next one waits for `Gate.open`.
    init(on server: PostgresServer, secondsPerRow: Double = 0, holdingAfter rows: Int = .max) async throws {
        database = try await SessionsDatabase(on: server)
        try await database.run(
            """
            \(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"));
            \(SessionsDatabase.migration("20260513050000_install_mcp_cleanup_removed"));
            CREATE TABLE witness (
                seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_id BIGINT, claimed_by TEXT, client TEXT,
                transaction XID8 DEFAULT pg_current_xact_id(), session_id TEXT, was_due BOOLEAN);
            CREATE SEQUENCE openings;
            CREATE FUNCTION witness() RETURNS TRIGGER LANGUAGE plpgsql SECURITY DEFINER AS $$
            DECLARE run mcp_cleanup.runs;
            BEGIN
                IF \(secondsPerRow) > 0 THEN PERFORM pg_sleep(\(secondsPerRow)); END IF;
                IF \(rows) < \(Int.max) AND (SELECT count(*) FROM witness) >= \(rows) THEN
                    WHILE NOT (SELECT is_called FROM openings) LOOP PERFORM pg_sleep(0.01); END LOOP;
                END IF;
                SELECT * INTO run FROM mcp_cleanup.runs
                 WHERE job = 'mcp-cleanup-transient-sessions' AND status = 'running';
                INSERT INTO witness (run_id, claimed_by, client, session_id, was_due)
                VALUES (run.run_id, run.claimed_by, current_setting('application_name'), OLD.session_id,
                        OLD.expires_at < run.cutoff AND OLD.active IS NOT TRUE);
                RETURN NULL;
            END $$;
            CREATE TRIGGER witness AFTER DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION witness();
            CREATE TABLE tool_calls (session_id TEXT NOT NULL REFERENCES mcp_sessions (session_id)
                ON DELETE CASCADE ON UPDATE CASCADE);
            CREATE INDEX ON tool_calls (session_id);
            CREATE FUNCTION call() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO tool_calls VALUES (NEW.session_id), (NEW.session_id); RETURN NULL; END $$;
            CREATE TRIGGER call AFTER INSERT ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION call();
            """)
    }

    /// Small batches, and a short lease, so that a dead owner is noticed soon. Only the transient job is enabled.
    static let environment = [
        "MCP_CLEANUP_CLAIM_LEASE": "3s", "MCP_CLEANUP_BATCH_MAX_ROWS": "5", "MCP_CLEANUP_HISTORY_MODE": "required",
        "MCP_CLEANUP_HISTORY_REMOVED": "1d",
        "MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_ENABLED": "false",
    ]

    /// One row a batch and a rest after each, so that a test comes between two of them.
    static let withPauses = environment.merging([
        "MCP_CLEANUP_BATCH_MAX_ROWS": "1", "MCP_CLEANUP_BATCH_PAUSE": "200ms",
    ]) { $1 }

    /// For a last run, which has to delete all rows that ten thousand kills have left.
    private static let withoutHaste = [
        "MCP_CLEANUP_BATCH_MAX_ROWS": "1000", "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_DEADLINE": "1h",
    ]

    /// Sessions that are due.
    static func due(_ count: Int) -> String {
        """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        SELECT gen_random_uuid()::text, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, \(count))
        """
    }

    /// Returns a random statement of the sessions' users.
    static func change(using generator: inout SeededRandom) -> String {
        let some = "ctid = (SELECT ctid FROM mcp_sessions OFFSET \(Int.random(in: 0..<50, using: &generator)) LIMIT 1)"
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: return "UPDATE mcp_sessions SET expires_at = now() + interval '1 hour' WHERE \(some)"
        case 1: return "UPDATE mcp_sessions SET active = NOT active WHERE \(some)"
        case 2: return "UPDATE mcp_sessions SET client_id = repeat('x', 500) WHERE \(some)"
        case 3: return "BEGIN; SELECT FROM mcp_sessions WHERE \(some) FOR UPDATE; SELECT pg_sleep(0.01); COMMIT"
        default: return due(Int.random(in: 1...20, using: &generator))
        }
    }

    /// Lets the sessions' users work until the task is canceled.
    func change(seed: UInt64, pause: Duration = .milliseconds(5)) async throws {
        var generator = SeededRandom(seed: seed)
        let connection = try await database.server.connect(database.name)
        while !Task.isCancelled {
            do {
                _ = try await connection.script(Self.change(using: &generator), deadline: .now + .seconds(30))
            } catch PostgresError.canceled {
                break
            }
            // The sleep is cut short only when the task is canceled.
            try? await Task.sleep(for: pause)
        }
        await connection.close()
    }

    /// Ends the lease of each run's owner, unless its server process is in the middle of a batch.
    func age() async throws {
        try await database.run(
            """
            UPDATE mcp_cleanup.runs SET heartbeat_at = heartbeat_at - interval '1 minute' WHERE run_id IN (
                SELECT run_id FROM mcp_cleanup.runs WHERE status = 'running' FOR UPDATE SKIP LOCKED)
            """)
    }

    /// Runs `--once` until a run is not skipped: the lease of an earlier owner may have to end first.
    @discardableResult
    func finish(url: String? = nil) async throws -> CommandResult {
        var last: CommandResult?
        try await eventually("a run after the others") {
            let result = try await database.daemon(
                ["--once", "--json"], url: url, environment: Self.environment.merging(Self.withoutHaste) { $1 })
            last = result
            return !result.output.contains(#""outcome":"skipped""#)
        }
        return try #require(last)
    }

    /// Expects the invariants that hold at any time.
    func expectExactAccounts(_ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let checks = [
            "sessions that were not due": "SELECT session_id FROM witness WHERE was_due IS NOT TRUE",
            "runs whose count is wrong": """
            SELECT concat_ws(' ', r, (SELECT count(*) FROM witness AS w WHERE w.run_id = r.run_id))
              FROM mcp_cleanup.runs AS r
             WHERE rows_deleted <> (SELECT count(*) FROM witness AS w WHERE w.run_id = r.run_id)
                OR batches < (SELECT count(DISTINCT transaction) FROM witness AS w WHERE w.run_id = r.run_id)
            """,
            "sessions that are recorded but not deleted, or the other way": """
            SELECT coalesce(w.session_id, m.session_id)
              FROM witness AS w FULL JOIN mcp_cleanup.removed AS m ON m.session_id = w.session_id AND m.run_id = w.run_id
             WHERE w.session_id IS NULL OR m.session_id IS NULL
            """,
            "deletions without a run": """
            SELECT session_id FROM witness AS w
             WHERE NOT EXISTS (SELECT FROM mcp_cleanup.runs AS r WHERE r.run_id = w.run_id)
            """,
            "sessions deleted twice": "SELECT session_id FROM witness GROUP BY session_id HAVING count(*) > 1",
            // A claim that was lost does not come back: ordered by deletion, the rows of each owner are consecutive.
            "owners that deleted after they had lost the run": """
            SELECT claimed_by FROM (
                SELECT claimed_by, lag(claimed_by) OVER (ORDER BY seq) IS DISTINCT FROM claimed_by AS begins
                  FROM witness) AS w
             WHERE begins GROUP BY claimed_by HAVING count(*) > 1
            """,
            "fire times with two runs": """
            SELECT scheduled_at::text FROM mcp_cleanup.runs GROUP BY job, scheduled_at HAVING count(*) > 1
            """,
            "jobs with two runs under way": """
            SELECT job FROM mcp_cleanup.runs WHERE status = 'running' GROUP BY job HAVING count(*) > 1
            """,
        ]
        let query = checks.map { "SELECT '\($0): ' || string_agg(q.x, ', ') AS found FROM (\($1)) AS q (x)" }
        let found = try await database.run(query.joined(separator: " UNION ALL ")).rows.compactMap {
            try $0.textIfPresent("found")
        }
        #expect(found == [], comment, sourceLocation: sourceLocation)
    }

    func value(_ sql: String) async throws -> String? { try await database.value(sql) }

    func integer(_ sql: String) async throws -> Int { Int(try await database.value(sql) ?? "") ?? -1 }
}
