import SessionCleanup
import TestServers
import Testing

@Suite(.inTurn) struct OnceTests {
    @Test func removesWhatIsDueAndNothingElse() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, updated_at, expires_at, active)
            VALUES ('abandoned', 'u', 'x', 'sse', 'x', now(), now() - interval '1 second', false),
                   ('abandoned-null', 'u', 'x', 'sse', 'x', now(), now() - interval '1 second', NULL),
                   ('signing-in', 'u', 'x', 'sse', 'x', now(), now() + interval '1 hour', false),
                   ('dormant', 'u', 'x', 'sse', 'x', now() - interval '721 hours', now() + interval '1 hour', true),
                   ('active', 'u', 'x', 'sse', 'x', now() - interval '719 hours', now() - interval '1 hour', true);
            """)
        let result = try await database.daemon(["--once"])
        #expect(result.status == 0, "\(result.error)")
        #expect(
            try await database.value("SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM mcp_sessions")
                == "active signing-in")
    }
}
