import Postgres

/// SQL that creates what is missing, applied as a whole or not at all.
package struct Migration: Sendable {
    /// The statements for the history's tables.
    private let history: String
    /// The statements for the sessions table, if that is to be created too.
    private let sessions: String?
    /// Whom to grant what it needs, on the history and on this table.
    private let grant: Grant?

    package typealias Grant = (role: String, table: TableName)

    /// Statements may be repeated, and none of them controls a transaction.
    package init(history: String, sessions: String?, grant: Grant?) {
        self.history = history
        self.sessions = sessions
        self.grant = grant
    }

    /// All of it, for psql as for us.
    package var script: String {
        ([sessions, history, grant.map(MigrationSQL.grant)] as [String?]).compactMap(\.self)
            .map { $0.hasSuffix("\n") ? $0 : $0 + "\n" }.joined(separator: "\n")
    }

    private static let deadline = Duration.seconds(600)

    /// Short: all other statements on the table queue behind a lock that waits. A transaction of the application that
    /// takes longer makes the migration fail, and it can be repeated.
    private static let lockLimit = Duration.seconds(5)

    /// Applies it over a connection of its own, within ten minutes.
    ///
    /// - Parameter onPooler: called first if a pooler stands before the server.
    /// - Returns: what the role of the grant still lacks, since we may not grant it; `nil` if it has all it needs.
    /// - Throws: `sessionsTableDiffers` and `historyUnusable` when what is there cannot be built upon; nothing has changed
    ///   then, nor after any other failure.
    package func apply(
        _ access: DatabaseAccess, onPooler: @Sendable () -> Void = {}
    ) async throws(RunFailure) -> RunFailure? {
        try await access.withSession(deadline: Self.deadline) { session in
            if try await !session.isDirect { onPooler() }
            return try await apply(in: session)
        }
    }

    private func apply(in session: DatabaseSession) async throws -> RunFailure? {
        let limit = session.budget.remaining
        _ = try await session.open(
            Script(MigrationSQL.takeTurns), isReadOnly: false, limit: limit, lockLimit: Self.lockLimit)
        let table = SessionTable(name: .sessions, schema: .auto)
        try requireRoom(in: try await Survey.make(of: table, for: .deleting, limit: limit, in: session))
        let removed = try await Survey.make(of: table, for: .deleting, history: .removed, limit: limit, in: session)
        if removed.history.isThere, let obstacle = removed.history.columnObstacle() {
            throw RunFailure.historyUnusable(.removed, role: removed.role, obstacle)
        }
        _ = try await session.continue(Script(script), limit: limit)
        let after = try await Survey.make(of: table, for: .deleting, limit: limit, in: session)
        if let obstacle = after.history.shapeObstacle {
            throw RunFailure.historyUnusable(.runs, role: after.role, obstacle)
        }
        let lacking = try await lackingPrivileges(in: session)
        _ = try await session.continue(Script("COMMIT"), limit: limit)
        return lacking
    }

    /// - Throws: what is there that would be taken for what is to be created.
    private func requireRoom(in found: Survey) throws(RunFailure) {
        if sessions != nil, found.kind != nil, found.columnTypes["active"] == nil {
            throw .sessionsTableDiffers(.sessions)
        }
        // The columns that a migration adds to the table of an earlier release.
        let added: Set = ["next_attempt_at", "session_schema"]
        if found.history.isThere, found.history.canUseSchema,
            let obstacle = found.history.columnObstacle(except: added)
        {
            throw .historyUnusable(.runs, role: found.role, obstacle)
        }
    }

    private func lackingPrivileges(in session: DatabaseSession) async throws -> RunFailure? {
        guard let grant else { return nil }
        let found = try await session.continue(Script(MigrationSQL.privileges(grant), as: .answer))
        let row = try found.read(.answer) { try $0.onlyRow() }
        guard try row.bool("is_there") else { return .tableMissing(grant.table) }
        let lacksSchema = try !row.bool("can_use_schema")
        let missing = try MigrationSQL.tablePrivileges.filter { try !row.bool("can_\($0.lowercased())") }
        guard lacksSchema || !missing.isEmpty else { return nil }
        return .privilegesMissing(grant.table, role: grant.role, isOnSchema: lacksSchema, missing)
    }
}
