import Postgres
import Time

/// The table that holds the sessions, or rows of another kind, and what is known of its shape.
package struct SessionTable: Hashable, Sendable {
    package let name: TableName
    /// `nil` for a table that does not hold sessions: nothing is asked of its columns.
    package let schema: SessionSchema?

    package init(name: TableName, schema: SessionSchema?) {
        self.name = name
        self.schema = schema
    }

    /// What somebody wants with the table.
    package enum Purpose: Sendable {
        case deleting
        case reading

        var privileges: Set<String> {
            switch self {
            case .deleting: ["SELECT", "UPDATE", "DELETE"]
            case .reading: ["SELECT"]
            }
        }

        var commands: [RowSecurity.Command] {
            switch self {
            case .deleting: RowSecurity.Command.allCases
            case .reading: [.select]
            }
        }
    }

    /// What an inspection found, once nothing stands in the way.
    package struct Shape: Sendable {
        let table: SessionTable
        /// `nil` for a table that does not hold sessions.
        package let generation: SchemaGeneration?
        /// Whether it has partitions or heirs.
        let hasParts: Bool
        /// Whether row security applies to us, with policies that hide nothing.
        let isRowSecurityActive: Bool
        /// Whether runs are recorded in the history.
        let usesHistory: Bool
        /// When it was found.
        let inspected: ContinuousClock.Instant

        /// How long another run over the same connection may rely on it: no longer than a search may take after an
        /// inspection of its own.
        private static let lifetime = Duration.seconds(1)

        func isFresh(for table: SessionTable) -> Bool {
            self.table == table && inspected.duration(to: .now) < Self.lifetime
        }
    }

    /// The database's clock at the start of the transaction that this opens, and leaves open: for a table whose shape was
    /// found a moment ago.
    func clock(over connection: isolated Connection, clock: RunClock) async throws(RunFailure) -> UTCInstant {
        try await connection.openTransaction(clock, isReadOnly: false).reading(at: 0) { result in
            try result.onlyRow().instant("clock")
        }
    }

    /// Reads what there is to know about the server, the table, the history and our role, in one round trip. Changes
    /// nothing, and leaves its transaction open for what follows; the caller ends it if nothing does.
    func look(
        for purpose: Purpose, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) -> Inspection {
        let answers = try await connection.openTransaction(
            clock, then: Statements.inspect(name), isReadOnly: purpose == .reading)
        let server = try answers.reading(at: 0) { try $0.onlyRow() }
        return try answers.reading(at: 1) { try Inspection(server: server, tables: $0.onlyRow()) }
    }

    /// Finds out whether all rows can be reached for the purpose, and which shape they have. Changes nothing.
    ///
    /// Goes on in the transaction that is open, and may end it.
    /// - Throws: the first obstacle, in the order in which one would look.
    func shape(
        _ inspection: Inspection, for purpose: Purpose, usesHistory: Bool = false, over connection: isolated Connection,
        clock: RunClock
    ) async throws(RunFailure) -> Shape {
        let inspected = ContinuousClock.now
        let generation = try inspection.generation(of: self, for: purpose)
        if purpose == .deleting {
            try await refuseForeignDescendants(inspection, over: connection, clock: clock)
        }
        if inspection.isRowSecurityActive {
            try await judgeRowSecurity(for: purpose, role: inspection.role, over: connection, clock: clock)
        }
        return Shape(
            table: self, generation: generation, hasParts: inspection.hasChildren,
            isRowSecurityActive: inspection.isRowSecurityActive,
            usesHistory: usesHistory,
            inspected: inspected)
    }

    /// - Throws: `foreignPartition` when a part of the table is kept on another server.
    func refuseForeignDescendants(
        _ inspection: Inspection, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) {
        guard inspection.hasChildren else { return }
        let found = try await connection.finishTransaction(clock, Statements.foreignDescendant(of: name), [])
        if let foreign = try found.reading({ try $0.onlyRow().textIfPresent("name") }) {
            throw .foreignPartition(name, foreign)
        }
    }

    /// After the work, where row security was active already: a policy that has been narrowed since hides rows in silence.
    ///
    /// - Throws: `rowSecurity`.
    func judgeRowSecurityAgain(
        for purpose: Purpose, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) {
        let found = try await look(for: .reading, over: connection, clock: clock)
        if found.isRowSecurityActive {
            try await judgeRowSecurity(for: purpose, role: found.role, over: connection, clock: clock)
        } else {
            await connection.rollBack(clock)
        }
    }

    /// - Throws: `rowSecurity` when a policy could hide a row from the role.
    func judgeRowSecurity(
        for purpose: Purpose, role: String, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) {
        let policies = try await connection.finishTransaction(clock, Statements.policies(of: name), []).reading {
            result in
            try result.rows.map(RowSecurity.Policy.init)
        }
        if let obstacle = RowSecurity.obstacle(among: policies, to: purpose.commands) {
            throw .rowSecurity(name, role: role, obstacle)
        }
    }
}

extension QueryResult {
    /// What `read` makes of the result; an answer that it cannot read fails the run.
    func reading<Value>(_ read: (QueryResult) throws -> Value) throws(RunFailure) -> Value {
        do {
            return try read(self)
        } catch {
            throw RunFailure(error)
        }
    }
}

extension RowSecurity.Policy {
    /// Reads a row of `Statements.policies`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        self.init(
            name: try row.text("name"), command: RowSecurity.Command(rawValue: try row.text("command")),
            isPermissive: try row.bool("is_permissive"), condition: try row.textIfPresent("condition"))
    }
}
