import Postgres

/// SQL that creates what is missing, applied as a whole or not at all.
package struct Migration: Sendable {
    /// The statements for the history's tables.
    private let history: String
    /// The statements for the sessions table, if that is to be created too.
    private let sessions: String?
    /// Whom to grant what it needs, on the history and on this table.
    private let grant: Grant?

    /// A role, and the sessions table that it is to work on.
    package struct Grant: Hashable, Sendable {
        package let role: String
        package let table: TableName

        package init(role: String, table: TableName) {
            self.role = role
            self.table = table
        }
    }

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
        try await access.withSession(deadline: Self.deadline) { session throws(RunFailure) in
            if try await !session.isDirect { onPooler() }
            return try await apply(in: session)
        }
    }

    private func apply(in session: DatabaseSession) async throws(RunFailure) -> RunFailure? {
        let limit = session.budget.remaining
        _ = try await session.open(
            Script(MigrationSQL.takeTurns), isReadOnly: false, limit: limit, lockLimit: Self.lockLimit)
        try Self.requireRoom(in: try await survey(in: session, limit: limit), creatingSessions: sessions != nil)
        try await requireRoomForRemoved(in: session)
        _ = try await session.continue(Script(script), limit: limit)
        let after = try await survey(in: session, limit: limit)
        if let obstacle = after.history.shapeObstacle { throw .historyUnusable(.runs, role: after.role, obstacle) }
        let lacking = try await lackingPrivileges(in: session)
        _ = try await session.finish(Script(), limit: limit)
        return lacking
    }

    private func survey(in session: DatabaseSession, limit: Duration) async throws(RunFailure) -> Survey {
        let table = SessionTable(name: .sessions, schema: .auto)
        return try await Survey.read(table, in: session) { script throws(RunFailure) in
            try await session.continue(script, limit: limit)
        }
    }

    /// - Throws: what is there that would be taken for what is to be created.
    private static func requireRoom(in found: Survey, creatingSessions: Bool) throws(RunFailure) {
        if creatingSessions, found.kind != nil, found.columnTypes["active"] == nil {
            throw .sessionsTableDiffers(.sessions)
        }
        if found.history.isThere, found.history.canUseSchema, let obstacle = found.history.migrationObstacle {
            throw .historyUnusable(.runs, role: found.role, obstacle)
        }
    }

    private func requireRoomForRemoved(in session: DatabaseSession) async throws(RunFailure) {
        let answers = try await session.continue(Script(RemovedSQL.survey(.sessions), as: .answer))
        let found = try answers.read(.answer) { try RemovedTable($0.onlyRow()) }
        if found.table.isThere, let obstacle = found.table.columnObstacle {
            throw .historyUnusable(.removed, role: found.role, obstacle)
        }
    }

    private func lackingPrivileges(in session: DatabaseSession) async throws(RunFailure) -> RunFailure? {
        guard let grant else { return nil }
        let found = try await session.continue(Script(MigrationSQL.privileges(grant), as: .answer))
        return try found.read(.answer) { result in
            let row = try result.onlyRow()
            guard try row.bool("is_there") else { return .tableMissing(grant.table) }
            let lacksSchema = try !row.bool("can_use_schema")
            var missing: [String] = []
            for privilege in MigrationSQL.tablePrivileges where try !row.bool("can_\(privilege.lowercased())") {
                missing.append(privilege)
            }
            guard lacksSchema || !missing.isEmpty else { return nil }
            return .privilegesMissing(grant.table, role: grant.role, isOnSchema: lacksSchema, missing)
        }
    }
}
