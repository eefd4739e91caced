import Postgres

/// Builds the partial indexes beside the table's use, and repairs those whose building was interrupted.
package struct IndexMigration: Sendable {
    private let table: SessionTable
    private let jobs: [Job]
    /// How long a build may wait for one lock, or for one older transaction to end. Nobody waits behind it: its lock goes
    /// together with all reading and writing.
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
    /// A build that met a lock begins anew, which on a large table costs what the first one cost.
    private static let attempts = 3

    /// The same for psql.
    package func script(for generation: SchemaGeneration?) -> String {
        let indexes = table.partialIndexes(for: jobs, of: generation)
        return """
            SET lock_timeout = '\(lockLimit.components.seconds)s';

            \(MigrationStatements.dropLeftovers(indexes))

            \(indexes.map { MigrationStatements.create($0) + ";" }.joined(separator: "\n\n"))

            """
    }

    /// The generation of the table as it is in the database.
    ///
    /// - Throws: among others, `indexesOfPartitionedTable`.
    package func generation(_ access: DatabaseAccess) async throws(RunFailure) -> SchemaGeneration? {
        let clock = RunClock(deadline: .seconds(60))
        let connection = try await access.connect(limit: clock.remaining)
        let generation = try await generation(over: connection, clock: clock)
        await connection.close()
        return generation
    }

    /// Builds what is missing, one index after the other.
    ///
    /// - Returns: the names of those that were built.
    /// - Throws: among others, `indexesOfPartitionedTable`, `indexBlocked`, `indexNameTaken`. What was built before
    ///   stays, and an unfinished index is dropped, if that is possible.
    package func apply(_ access: DatabaseAccess) async throws(RunFailure) -> [String] {
        let clock = RunClock(deadline: Self.deadline)
        let connection = try await access.connect()
        let generation = try await generation(over: connection, clock: clock)
        do {
            try await limitLocks(of: connection, clock: clock)
            var built: [String] = []
            for index in table.partialIndexes(for: jobs, of: generation) {
                if try await build(index, over: connection, clock: clock) { built.append(index.name) }
            }
            await connection.close()
            return built
        } catch {
            await connection.close()
            throw clock.failure(error)
        }
    }

    private func generation(
        over connection: Connection, clock: RunClock
    ) async throws(RunFailure) -> SchemaGeneration? {
        let inspection = try await table.look(for: .reading, over: connection, clock: clock)
        let generation = try inspection.generation(of: table, for: .reading)
        if inspection.kind == "p" { throw .indexesOfPartitionedTable(table.name) }
        await connection.rollBack(clock)
        return generation
    }

    /// What is built concurrently cannot be in a transaction, so its limits are the session's. Behind a pooler the session
    /// is not ours alone: there our own deadline is the only limit.
    private func limitLocks(of connection: Connection, clock: RunClock) async throws {
        guard try await connection.isDirect(clock) else { return }
        let milliseconds =
            lockLimit.components.seconds * 1000 + lockLimit.components.attoseconds / 1_000_000_000_000_000
        _ = try await connection.script(
            "SET lock_timeout = \(milliseconds); SET statement_timeout = 0", deadline: clock.giveUp(after: .seconds(10))
        )
    }

    private func build(_ index: PartialIndex, over connection: Connection, clock: RunClock) async throws -> Bool {
        for _ in 0..<Self.attempts {
            let isValid = try await isValid(index, over: connection, clock: clock)
            if isValid == true { return false }
            do {
                if isValid == false { try await execute(MigrationStatements.drop(index), connection, clock) }
                onBuild(index.name)
                try await execute(MigrationStatements.create(index), connection, clock)
            } catch {
                // Two builds at once may also be each other's older transaction: deadlock_detected.
                guard let state = error.sqlState, ["55P03", "40P01"].contains(state) else {
                    await dropLeftover(index, connection)
                    throw error
                }
                continue
            }
            guard try await self.isValid(index, over: connection, clock: clock) == true else {
                throw RunFailure.indexNameTaken(table.name, index: index.name)
            }
            return true
        }
        await dropLeftover(index, connection)
        throw RunFailure.indexBlocked(table.name, index: index.name)
    }

    private func execute(
        _ statement: String, _ connection: Connection, _ clock: RunClock
    ) async throws(PostgresError) {
        _ = try await connection.script(statement, deadline: clock.giveUp(after: clock.remaining))
    }

    private func isValid(
        _ index: PartialIndex, over connection: Connection, clock: RunClock
    ) async throws -> Bool? {
        let found = try await connection.finishTransaction(clock, MigrationStatements.state(of: index), [])
        return try found.rows.first?.bool("is_valid")
    }

    /// Also when we were told to end: an unfinished index costs each write, and serves nobody.
    private func dropLeftover(_ index: PartialIndex, _ connection: Connection) async {
        do {
            let state = try await connection.query(
                MigrationStatements.state(of: index), deadline: .now + lockLimit, heedsCancellation: false)
            guard try state.rows.first?.bool("is_valid") == false else { return }
            _ = try await connection.script(
                MigrationStatements.drop(index), deadline: .now + lockLimit, heedsCancellation: false)
        } catch {
            // Whatever was in the way of building it still is; the next migration repairs it.
        }
    }
}

extension Connection {
    /// Whether nothing stands between us and the server's process. A proxy that hands on the server's words unchanged
    /// cannot be told from none, and does not matter.
    func isDirect(_ clock: RunClock) async throws(RunFailure) -> Bool {
        let found = try await finishTransaction(clock, "SELECT pg_backend_pid() AS process", [])
        let process = try found.reading { try $0.onlyRow().integer("process") }
        return process == greetedBy
    }
}
