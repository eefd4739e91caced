import Postgres

/// SQL that creates what is missing, applied as a whole or not at all.
package struct Migration: Sendable {
    /// The statements for the history's table.
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
        ([sessions, history, grant.map(MigrationStatements.grant)] as [String?]).compactMap(\.self)
            .map { $0.hasSuffix("\n") ? $0 : $0 + "\n" }.joined(separator: "\n")
    }

    private static let deadline = Duration.seconds(600)

    /// Short: whoever wants the table waits in line behind a lock that waits. Somebody else's transaction that takes
    /// longer makes the migration fail, and it can be repeated.
    private static let lockLimit = Duration.seconds(5)

    /// Applies it over a connection of its own, within ten minutes.
    ///
    /// - Returns: what the role of the grant still lacks, since we may not grant it; `nil` if it has all it needs.
    /// - Throws: `sessionsTableDiffers` and `historyUnusable` when what is there cannot be built upon; nothing has changed
    ///   then, nor after any other failure.
    package func apply(_ access: DatabaseAccess) async throws(RunFailure) -> RunFailure? {
        let clock = RunClock(deadline: Self.deadline)
        let connection = try await access.connect(limit: clock.remaining)
        do {
            let lacking = try await apply(over: connection, clock: clock)
            await connection.close()
            return lacking
        } catch {
            await connection.close()
            throw error
        }
    }

    private func apply(over connection: Connection, clock: RunClock) async throws(RunFailure) -> RunFailure? {
        let deadline = clock.giveUp(after: clock.remaining)
        try await connection.begin(
            clock, limit: clock.remaining, lockLimit: Self.lockLimit, then: MigrationStatements.takeTurns)
        do {
            try Self.judge(try await look(over: connection, deadline: deadline), creatingSessions: sessions != nil)
            _ = try await connection.script(script, deadline: deadline)
            let after = try await look(over: connection, deadline: deadline)
            if let obstacle = after.history.shapeObstacle {
                throw RunFailure.historyUnusable(role: after.role, obstacle)
            }
            let lacking = try await lackingPrivileges(over: connection, deadline: deadline)
            _ = try await connection.script("COMMIT", during: .committing, deadline: deadline)
            return lacking
        } catch {
            throw clock.failure(error)
        }
    }

    private func look(
        over connection: Connection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Inspection {
        let server = try await connection.query(Statements.server, deadline: deadline).onlyRow()
        let tables = try await connection.query(Statements.inspect(.sessions), deadline: deadline).onlyRow()
        var found = try Inspection(server: server, tables: tables)
        try await found.readHistoryStructure(over: connection, deadline: deadline)
        return found
    }

    /// - Throws: what is there that would be taken for what is to be created.
    private static func judge(_ found: Inspection, creatingSessions: Bool) throws(RunFailure) {
        if creatingSessions, found.kind != nil, found.columnTypes["active"] == nil {
            throw .sessionsTableDiffers(.sessions)
        }
        if found.history.isThere, found.history.canUseSchema, let obstacle = found.history.columnObstacle {
            throw .historyUnusable(role: found.role, obstacle)
        }
    }

    private func lackingPrivileges(
        over connection: Connection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> RunFailure? {
        guard let grant else { return nil }
        let row = try await connection.query(MigrationStatements.privileges(grant), deadline: deadline).onlyRow()
        guard try row.bool("is_there") else { return .tableMissing(grant.table) }
        let lacksSchema = try !row.bool("can_use_schema")
        var missing: [String] = []
        for privilege in MigrationStatements.tablePrivileges where try !row.bool("can_\(privilege.lowercased())") {
            missing.append(privilege)
        }
        guard lacksSchema || !missing.isEmpty else { return nil }
        return .privilegesMissing(grant.table, role: grant.role, isOnSchema: lacksSchema, missing)
    }
}
