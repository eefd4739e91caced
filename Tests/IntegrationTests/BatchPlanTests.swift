import Postgres
@testable import SessionCleanup
import TestServers
import Testing

@Suite struct BatchPlanTests {
    private static let twoRows = [1, 2].map { RowAddress(partition: 1, block: 0, line: $0) }[...]

    /// The statistics are older than the due rows: by them the index is empty, and an index scan the cheapest plan.
    @Test(arguments: [
        BatchSQL.Rows.unlocked(0..<8, limit: 1000), .all(0..<8, limit: 1000),
        .addresses(twoRows, inOnePass: false), .addresses(twoRows, inOnePass: true),
    ])
    func staleStatisticsLeadNoBatchThroughAnIndex(rows: BatchSQL.Rows) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE INDEX pending ON mcp_sessions (expires_at) WHERE active IS NOT TRUE;
            ALTER TABLE mcp_sessions SET (autovacuum_enabled = off);
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
            SELECT 'live-' || n, 'u', 'x', 'sse', 'x', now() + interval '1 day', true FROM generate_series(1, 5000) AS n;
            ANALYZE mcp_sessions;
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT 'due-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 5000) AS n;
            """)
        let statement = BatchSQL(
            relation: BatchSQL.Relation(name: .sessions, alone: 1), rule: Job.transientSessions.rule,
            cutoff: .hostNow, rows: rows
        ).statement(claim: nil)
        let plan = try await database.run("EXPLAIN \(statement)").rows
            .map { try $0.text("QUERY PLAN") }
        #expect(!plan.contains { $0.contains("Index Scan") }, "\(plan)")
        #expect(plan.contains { $0.contains("Tid") }, "\(plan)")
    }
}
