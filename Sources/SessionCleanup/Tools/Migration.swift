import Postgres

/// SQL that creates what is missing, applied as a whole or not at all.
package struct Migration: Sendable {
    private let history: String
    private let sessions: String?
    private let grant: Grant?

    /// A role to grant privileges to: those that it needs on the history and on this table.
    package typealias Grant = (role: String, table: TableName)

    /// - Parameters:
    ///   - history: statements for the history's tables, which may be executed again; none controls a transaction.
    ///   - sessions: the same for the sessions table, if that is to be created too.
    package init(history: String, sessions: String?, grant: Grant?) {
        (self.history, self.sessions, self.grant) = (history, sessions, grant)
    }

    package var script: String {
        ([sessions, history, grant.map(MigrationSQL.grant)] as [String?]).compactMap(\.self)
            .map { $0.hasSuffix("\n") ? $0 : $0 + "\n" }.joined(separator: "\n")
    }

    /// Short, because all other statements on the table queue behind a lock that waits. A migration that fails can be repeated.
    private static let lockLimit = Duration.seconds(5)

    /// Applies the migration over a connection of its own, within ten minutes.
    ///
    /// - Parameter onPooler: called first if a pooler stands before the server.
    /// - Returns: what the grant's role still lacks, since our role may not grant it; `nil` if it has all it needs.
    /// - Throws: `sessionsTableDiffers` and `historyUnusable` when what is there cannot be built upon; nothing has changed
    ///   then, nor after any other failure.
    package func apply(
        _ access: DatabaseAccess, onPooler: @Sendable () -> Void = {}
    ) async throws(RunFailure) -> RunFailure? {
        try await access.withSession(deadline: .seconds(600)) { session in
            if try await !session.isDirect { onPooler() }
            let limit = session.budget.remaining
            func survey(_ history: HistoryTable.Name) async throws -> Survey {
                let table = SessionTable(name: .sessions, schema: .auto)
                return try await Survey.make(of: table, for: .deleting, history: history, limit: limit, in: session)
            }
            _ = try await session.open(
                Script(MigrationSQL.takeTurns), isReadOnly: false, limit: limit, lockLimit: Self.lockLimit)
            let before = try await survey(.runs)
            if sessions != nil, before.kind != nil, before.columnTypes["active"] == nil {
                throw RunFailure.sessionsTableDiffers(.sessions)
            }
            if before.history.isThere, before.history.canUseSchema {
                // The columns that a migration adds to the table of an earlier release.
                let added: Set = ["next_attempt_at", "session_schema"]
                try before.history.refuse(before.history.columnObstacle(except: added), by: before.role)
            }
            let removed = try await survey(.removed)
            if removed.history.isThere {
                try removed.history.refuse(removed.history.columnObstacle(), by: removed.role)
            }
            _ = try await session.continue(Script(script), limit: limit)
            let after = try await survey(.runs)
            try after.history.refuse(after.history.shapeObstacle, by: after.role)
            let lacking = try await lackingPrivileges(in: session)
            _ = try await session.continue(Script("COMMIT"), limit: limit)
            return lacking
        }
    }

    private func lackingPrivileges(in session: DatabaseSession) async throws -> RunFailure? {
        guard let grant else { return nil }
        let found = try await session.continue(Script(MigrationSQL.privileges(grant), as: .answer))
        let row = try found.read(.answer) { try $0.onlyRow() }
        guard try row.bool("is_there") else { return .tableMissing(grant.table) }
        let lacksSchema = try !row.bool("can_use_schema")
        let missing = try row.text("missing").split(separator: " ").map(String.init)
        guard lacksSchema || !missing.isEmpty else { return nil }
        return .privilegesMissing(grant.table, role: grant.role, isOnSchema: lacksSchema, missing)
    }
}
