import TestServers
import Testing

/// `sessions` for a user some of whose sessions have times that a program cannot have written by reading a clock.
@Suite(.inTurn) struct SessionTimesTests {
    @Test func timesAtTheEndsOfTimeAreListed() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let times = [
            "infinity", "-infinity", "294276-12-31 23:59:59.999999+00", "294276-12-01 00:00:00+00",
            "4713-01-01 00:00:00+00 BC", "10000-01-01 00:00:00+00", "9999-12-31 23:59:59+00", "2026-01-01 00:00:00+00",
        ]
        for (index, time) in times.enumerated() {
            for isActive in [true, false] {
                try await database.run(
                    """
                    INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, created_at,
                           updated_at, expires_at, active)
                    VALUES ('\(index) \(isActive)', 'u', 'x', 'sse', 'x', '\(time)', '\(time)', '\(time)', \(isActive))
                    """)
            }
        }
        let result = try await database.daemon(["sessions", "--user", "u", "--json"])
        #expect(result.status == 0, "\(result)")
        #expect(result.lines.count == 2 * times.count, "\(result)")
        // -infinity is due; infinity never is.
        #expect(result.output.contains(#""session_id":"1 true""#), "\(result)")
        #expect(try await database.daemon(["sessions", "--user", "u"]).status == 0)
        let run = try await database.daemon(["--once"])
        #expect(run.status == 0, "\(run)")
        // Due are -infinity, 4713 BC and 2026, active or not.
        #expect(try await database.count() == 2 * times.count - 6)
    }
}
