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
}
