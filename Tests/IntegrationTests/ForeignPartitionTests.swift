import Foundation
import TestServers
import Testing

@Suite(.inTurn) struct ForeignPartitionTests {
    @Test func aPartitionOnAnotherServerIsRefusedBeforeAnythingIsDeleted() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        try await database.run(
            """
            CREATE TABLE public.mcp_sessions (
                session_id text, user_id text, updated_at timestamptz, expires_at timestamptz, active boolean
            ) PARTITION BY LIST (user_id);
            CREATE TABLE here PARTITION OF public.mcp_sessions FOR VALUES IN ('here') PARTITION BY LIST (session_id);
            CREATE TABLE really_here PARTITION OF here DEFAULT;
            INSERT INTO public.mcp_sessions VALUES ('s', 'here', now(), now() - interval '1 hour', false);
            CREATE FOREIGN DATA WRAPPER elsewhere;
            CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
            CREATE FOREIGN TABLE there PARTITION OF here FOR VALUES IN ('there') SERVER elsewhere;
            """)
        let refused = try await database.daemon(["--once", "--job", "transient"])
        #expect(refused.status == 78, "\(refused)")
        #expect(refused.error.contains("there, a part of public.mcp_sessions, is a foreign table"))
        #expect(try await database.count(in: "really_here") == 1)
        try await database.run("DROP FOREIGN TABLE there")
        #expect(try await database.daemon(["--once", "--job", "transient"]).status == 0)
        #expect(try await database.count() == 0)
    }

    /// The row moves between the batch's snapshot and its lock: the server reports 40001, also at READ COMMITTED.
    @Test func aRowThatMovesToAnotherPartitionIsMetThere() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        try await database.run(
            """
            CREATE TABLE item (name TEXT, place TEXT, gone_at TIMESTAMPTZ) PARTITION BY LIST (place);
            CREATE TABLE here PARTITION OF item FOR VALUES IN ('here');
            CREATE TABLE there PARTITION OF item FOR VALUES IN ('there');
            INSERT INTO item SELECT n, 'here', now() - interval '1 hour' FROM generate_series(1, 3) AS n;
            CREATE FUNCTION slow(TEXT) RETURNS BOOLEAN STABLE LANGUAGE plpgsql AS $$
            BEGIN
                IF $1 = '1' AND current_setting('transaction_read_only') = 'off' THEN
                    PERFORM pg_advisory_xact_lock_shared(1);
                END IF;
                RETURN true;
            END $$;
            """)
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try Data(
            """
            # The longest: the batch's wait must not end before the test has moved the row.
            batch: { lock-timeout: 10s }
            jobs:
              mcp-cleanup-transient-sessions: { enabled: false }
              mcp-cleanup-dormant-sessions: { enabled: false }
              items: { table: public.item, where: "gone_at < $1 AND slow(name)", schedule: "0 0 * * *" }
            """.utf8
        ).write(to: URL(fileURLWithPath: path))
        let holder = try await OtherTransaction(in: database, "SELECT pg_advisory_lock(1)")
        async let ended = database.daemon(["--once", "--json", "--config", path])
        try await eventually("a batch is under way") {
            try await database.count(
                "datname = current_database() AND wait_event = 'advisory'", in: "pg_stat_activity") == 1
        }
        try await database.run("UPDATE item SET place = 'there' WHERE name = '2'")
        try await holder.run("SELECT pg_advisory_unlock(1)")
        try await holder.rollBack()
        let result = try await ended
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":3,"rows_skipped":0,"#), "\(result)")
    }
}
