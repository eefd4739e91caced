package import Postgres
package import Time

/// What the server said about itself, the table and our role before anything is deleted.
package struct Inspection: Sendable {
    package var clock: UTCInstant
    package var serverVersion: Int
    package var isInRecovery: Bool
    package var role: String
    /// `pg_class.relkind`; `nil` when there is no such table.
    package var kind: String?
    /// Partitions, or tables that inherit: then a row's address needs its table's.
    package var hasChildren: Bool
    package var isRowSecurityActive: Bool
    /// Whether the role may look into the table's schema.
    package var canUseSchema: Bool
    /// Which of SELECT, UPDATE (or on any of its columns) and DELETE the role lacks on the table.
    package var missingPrivileges: [String]
    /// Type names by column, for the columns of interest that exist.
    package var columnTypes: [String: String]

    package var history: HistoryTable

    /// Reads the rows of `Statements.server` and `Statements.inspect`.
    package init(server: QueryResult.Row, tables row: QueryResult.Row) throws(PostgresError) {
        clock = try server.instant("clock")
        serverVersion = try server.integer("server_version")
        isInRecovery = try server.bool("is_in_recovery")
        role = try server.text("role")
        kind = try row.textIfPresent("kind")
        hasChildren = try row.boolIfPresent("has_children") ?? false
        isRowSecurityActive = try row.boolIfPresent("is_row_security_active") ?? false
        canUseSchema = try row.boolIfPresent("can_use_schema") ?? true
        missingPrivileges = []
        for privilege in ["SELECT", "UPDATE", "DELETE"]
        where try row.boolIfPresent("can_\(privilege.lowercased())") == false {
            missingPrivileges.append(privilege)
        }
        columnTypes = [:]
        for column in Statements.columnsOfInterest {
            columnTypes[column] = try row.textIfPresent("type_of_\(column)")
        }
        history = try HistoryTable(row)
    }

    /// The generation of the table, if all is as the purpose needs it; row security and clocks are judged apart.
    ///
    /// - Returns: `nil` for a table that does not hold sessions.
    /// - Throws: the first obstacle, in the order in which one would look.
    package func generation(
        of table: SessionTable, for purpose: SessionTable.Purpose
    ) throws(RunFailure) -> SchemaGeneration? {
        let name = table.name
        guard serverVersion >= 140_000 else { throw .serverTooOld(version: serverVersion) }
        guard purpose == .reading || !isInRecovery else { throw .serverReadOnly }
        guard let kind else { throw .tableMissing(name) }
        guard kind == "r" || kind == "p" else { throw .notATable(name) }
        let missing = missingPrivileges.filter(purpose.privileges.contains)
        guard canUseSchema, missing.isEmpty else {
            throw .privilegesMissing(name, role: role, isOnSchema: !canUseSchema, missing)
        }
        guard let schema = table.schema else { return nil }
        let found = SchemaGeneration.allCases.filter { columnTypes[$0.rawValue] != nil }
        guard let generation = schema.generation ?? (found.count == 1 ? found[0] : nil) else {
            throw .generationUndecided(name, hasBoth: !found.isEmpty)
        }
        try require(generation.rawValue, of: name, in: generation.columnTypes)
        try require("expires_at", of: name, in: ["timestamp with time zone"])
        try require("updated_at", of: name, in: ["timestamp with time zone"])
        return generation
    }

    private func require(_ column: String, of table: TableName, in types: [String]) throws(RunFailure) {
        guard let type = columnTypes[column] else { throw .columnMissing(table, column: column) }
        guard types.contains(type) else {
            throw .columnType(table, column: column, found: type, expected: types[0])
        }
    }
}

extension Inspection {
    /// Completes what is known of the history's table, if it is there and can be looked into.
    mutating func readHistoryStructure(
        over connection: isolated Connection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        guard history.isThere, history.canUseSchema else { return }
        try history.readStructure(await connection.query(Statements.inspectHistory, deadline: deadline).onlyRow())
    }

    /// The same, in a run's time and in the transaction that is open.
    mutating func readHistoryStructure(
        over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) {
        do {
            try await readHistoryStructure(over: connection, deadline: clock.giveUp(after: clock.transactionLimit))
        } catch {
            throw clock.failure(error)
        }
    }
}

extension SchemaGeneration {
    /// What the column that is called like the generation may be.
    fileprivate var columnTypes: [String] {
        switch self {
        case .active: ["boolean"]
        case .status: ["text", "character varying"]
        }
    }
}

extension QueryResult.Row {
    /// A time that `Statements.utc` wrote; infinities and years beyond 9999 have no name here.
    package func instantIfPresent(_ column: String) throws(PostgresError) -> UTCInstant? {
        try textIfPresent(column).flatMap { UTCInstant(rfc3339: $0 + "Z") }
    }

    package func instant(_ column: String) throws(PostgresError) -> UTCInstant {
        guard let instant = try instantIfPresent(column) else {
            throw .unexpectedAnswer("column \(column) is not a time")
        }
        return instant
    }
}
