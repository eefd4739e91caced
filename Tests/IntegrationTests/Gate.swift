@testable import SessionCleanup
import TestServers

/// A job's rule that waits when it reads one session, so that others can act between a statement's snapshot and its
/// locks. It polls a sequence, since a batch in one pass would not wait for a lock.
enum Gate {
    /// A session that the rule never matches: a gate for a search that is to find nothing.
    static let session = "gate"

    /// - Parameter statement: words in the text of the statements that wait; a batch's unless given.
    static func sql(at session: String, in statement: String = "deleted AS") -> String {
        """
        CREATE SEQUENCE openings;
        CREATE FUNCTION gate(session_id TEXT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
        BEGIN
            IF session_id = '\(session)' AND current_query() LIKE '%\(statement)%' THEN
                WHILE NOT (SELECT is_called FROM public.openings) LOOP PERFORM pg_sleep(0.005); END LOOP;
            END IF;
            RETURN session_id <> '\(Self.session)';
        END $$;
        """
    }

    static var job: Job {
        var job = Job.transientSessions
        job.rule = Rule(candidates: "active IS NOT TRUE AND public.gate(session_id)", column: "expires_at")
        return job
    }

    static func wait(in database: SessionsDatabase) async throws {
        try await eventually("a statement waits at the gate") {
            try await database.value(
                """
                SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'PgSleep'
                """) == "1"
        }
    }

    static func open(in database: SessionsDatabase) async throws {
        try await database.run("SELECT nextval('openings')")
    }
}
