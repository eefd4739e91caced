import Postgres

/// Builds the partial indexes beside the table's use, and repairs those whose building was interrupted.
package struct IndexMigration: Sendable {
    private let table: SessionTable
    private let jobs: [Job]
    /// The longest time that a build may wait for one lock, or for one older transaction to end. No reader or writer waits
    /// behind it: its lock conflicts with neither.
    private let lockLimit: Duration
    private let onBuild: @Sendable (String) -> Void

    /// - Parameters:
    ///   - jobs: those with a short name get an index.
    ///   - onBuild: called with an index's name before its building starts.
    package init(
        _ table: SessionTable, jobs: [Job], lockLimit: Duration = .seconds(10),
        onBuild: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.table = table
        self.jobs = jobs
        self.lockLimit = lockLimit
        self.onBuild = onBuild
    }

    /// Hours for a table of a billion rows; a build that takes longer is better watched by a person.
    private static let deadline = Duration.seconds(6 * 3600)
    /// A build that met a lock begins again, which on a large table costs what the first one cost.
    private static let attempts = 3

    /// The same for psql.
    package func script(for generation: SchemaGeneration?) -> String {
        let indexes = table.partialIndexes(for: jobs, of: generation)
        return """
            SET lock_timeout = '\(lockLimit.components.seconds)s';

            \(MigrationSQL.dropLeftovers(indexes))

            \(indexes.map { MigrationSQL.create($0) + ";" }.joined(separator: "\n\n"))

            """
    }

    /// Returns the generation of the table as it is in the database.
    ///
    /// - Throws: among others, `indexesOfPartitionedTable`.
    package func generation(_ access: DatabaseAccess) async throws(RunFailure) -> SchemaGeneration? {
        try await access.withSession(deadline: .seconds(60)) { try await generation(in: $0) }
    }

    /// Builds what is missing, one index after the other.
    ///
    /// - Returns: the names of those that were built.
    /// - Throws: among others, `indexesOfPartitionedTable`, `indexBlocked`, `indexNameTaken`. What was built before
    ///   stays, and an unfinished index is dropped, if that is possible.
    package func apply(_ access: DatabaseAccess) async throws(RunFailure) -> [String] {
        try await access.withSession(deadline: Self.deadline) { session in
            let generation = try await generation(in: session)
            try await limitLocks(in: session)
            var built: [String] = []
            for index in table.partialIndexes(for: jobs, of: generation) {
                if try await build(index, in: session) { built.append(index.name) }
            }
            return built
        }
    }

    private func generation(in session: DatabaseSession) async throws(RunFailure) -> SchemaGeneration? {
        let survey = try await Survey.make(of: table, for: .reading, in: session)
        let generation = try survey.generation(for: .reading)
        if survey.kind == "p" { throw .indexesOfPartitionedTable(table.name) }
        await session.rollBack()
        return generation
    }

    /// An index that is built concurrently cannot be in a transaction, so its limits are the session's. Behind a pooler
    /// other clients share the session: there our own deadline is the only limit.
    private func limitLocks(in session: DatabaseSession) async throws(RunFailure) {
        guard try await session.isDirect else { return }
        let script = Script("SET lock_timeout = \(Transaction.milliseconds(lockLimit))")
            .adding("SET statement_timeout = 0")
        _ = try await session.continue(script)
    }

    private func build(_ index: PartialIndex, in session: DatabaseSession) async throws(RunFailure) -> Bool {
        for _ in 0..<Self.attempts {
            let isValid = try await session.isValid(index)
            if isValid == true { return false }
            do {
                if isValid == false { try await execute(MigrationSQL.drop(index), in: session) }
                onBuild(index.name)
                try await execute(MigrationSQL.create(index), in: session)
            } catch {
                // Two builds at once may also be each other's older transaction: deadlock_detected.
                guard let state = error.sqlState, ["55P03", "40P01"].contains(state) else {
                    await dropLeftover(index, session.connection)
                    throw error
                }
                continue
            }
            guard try await session.isValid(index) == true else {
                throw .indexNameTaken(table.name, index: index.name)
            }
            return true
        }
        await dropLeftover(index, session.connection)
        throw .indexBlocked(table.name, index: index.name)
    }

    private func execute(_ statement: String, in session: DatabaseSession) async throws(RunFailure) {
        _ = try await session.continue(Script(statement), limit: session.budget.remaining)
    }

    /// Also after a signal: an unfinished index costs each write, and serves no query.
    private func dropLeftover(_ index: PartialIndex, _ connection: Connection) async {
        do {
            let state = try await connection.script(
                MigrationSQL.state(of: index), deadline: .now + lockLimit, heedsCancellation: false)
            guard try state.first?.rows.first?.bool("is_valid") == false else { return }
            _ = try await connection.script(
                MigrationSQL.drop(index), deadline: .now + lockLimit, heedsCancellation: false)
        } catch {
            // The cause that kept it from being built is still there; the next migration repairs it.
        }
    }
}

extension DatabaseSession {
    /// True if the server's own process answers. A proxy that hands on the server's messages unchanged cannot be told from
    /// none, and does not matter.
    var isDirect: Bool {
        get async throws(RunFailure) {
            let greeted = await connection.greetedBy
            let found = try await read("SELECT pg_backend_pid() AS process")
            return try found.reading { try $0.onlyRow().integer("process") } == greeted
        }
    }

    /// Returns false for an index whose building was interrupted, and `nil` if there is none of that name.
    func isValid(_ index: PartialIndex) async throws(RunFailure) -> Bool? {
        try await read(MigrationSQL.state(of: index)).reading { try $0.rows.first?.bool("is_valid") }
    }
}
