import Postgres

/// An optional index over the rows that a job may ever remove, and no others: with it, the cost of a search depends on
/// the rows that are due, not on the size of the table.
struct PartialIndex: Hashable, Sendable {
    let table: TableName
    let name: String
    let rule: Rule

    /// - Parameter purpose: the last part of the index's name: the job's short name.
    init(on table: TableName, for purpose: String, rule: Rule) {
        (self.table, self.rule) = (table, rule)
        // At most 63 bytes: the server would truncate longer names, both indexes' to the same one.
        let ending = "_cleanup_\(purpose)"
        var stem = "idx_\(table.table)".unicodeScalars
        while String(stem).utf8.count + ending.utf8.count > 63 { stem.removeLast() }
        name = String(stem) + ending
    }
}

extension SessionTable {
    /// The indexes for those of the jobs that have a short name.
    func partialIndexes(for jobs: [Job], of generation: SchemaGeneration?) -> [PartialIndex] {
        jobs.compactMap { job in
            job.shortName.map { PartialIndex(on: name, for: $0, rule: job.rule(for: generation)) }
        }
    }
}

/// Builds the partial indexes while the table is in use, and repairs those whose building was interrupted.
package struct IndexMigration: Sendable {
    private let table: SessionTable
    private let jobs: [Job]
    /// The longest time that a build may wait for one lock or one older transaction. Readers and writers do not wait behind it.
    var lockLimit = Duration.seconds(10)

    package init(_ table: SessionTable, jobs: [Job]) { (self.table, self.jobs) = (table, jobs) }

    /// A table of a billion rows takes hours; a build that takes longer than this is better watched by a person.
    private static let deadline = Duration.seconds(6 * 3600)
    /// A build that met a lock begins again, which on a large table costs what the first one cost.
    private static let attempts = 3

    /// The migration as a script for psql.
    package func script(for generation: SchemaGeneration?) -> String {
        let indexes = table.partialIndexes(for: jobs, of: generation)
        return """
            SET lock_timeout = '\(lockLimit.components.seconds)s';

            \(MigrationSQL.dropLeftovers(indexes))

            \(indexes.map { MigrationSQL.create($0) + ";" }.joined(separator: "\n\n"))

            """
    }

    /// Returns the schema generation of the table; `nil` if it holds no sessions. Throws `indexesOfPartitionedTable` or what
    /// a survey throws.
    package func generation(_ access: DatabaseAccess) async throws(RunFailure) -> SchemaGeneration? {
        try await access.withSession(deadline: .seconds(60)) { try await generation(in: $0) }
    }

    private func generation(in session: DatabaseSession) async throws(RunFailure) -> SchemaGeneration? {
        let survey = try await Survey.make(of: table, for: .reading, in: session)
        let generation = try survey.generation(for: .reading)
        if survey.kind == "p" { throw .indexesOfPartitionedTable(table.name) }
        await session.rollBack()
        return generation
    }

    /// Builds what is missing, one index after the other.
    ///
    /// - Parameter onBuild: called with an index's name before its building starts.
    /// - Returns: the names of those that were built.
    /// - Throws: among others, `indexesOfPartitionedTable`, `indexBlocked`, `indexNameTaken`. What was built before
    ///   stays, and an unfinished index is dropped, if that is possible.
    package func apply(
        _ access: DatabaseAccess, onBuild: @Sendable (String) -> Void = { _ in }
    ) async throws(RunFailure) -> [String] {
        try await access.withSession(deadline: Self.deadline) { session in
            let generation = try await generation(in: session)
            // An index that is built concurrently cannot be in a transaction, so its limits are the session's. Behind a pooler
            // other clients share the session: there our own deadline is the only limit.
            if try await session.isDirect {
                var limits = Script("SET lock_timeout = \(Transaction.milliseconds(lockLimit))")
                limits.add("SET statement_timeout = 0")
                if await session.connection.serverVersion >= 170_000 { limits.add("SET transaction_timeout = 0") }
                _ = try await session.continue(limits)
            }
            var built: [String] = []
            for index in table.partialIndexes(for: jobs, of: generation) {
                if try await build(index, onBuild, in: session) { built.append(index.name) }
            }
            return built
        }
    }

    private func build(
        _ index: PartialIndex, _ onBuild: (String) -> Void, in session: DatabaseSession
    ) async throws(RunFailure) -> Bool {
        for _ in 0..<Self.attempts {
            let isValid = try await session.isValid(index)
            if isValid == true { return false }
            do {
                let remaining = session.budget.remaining
                if isValid == false {
                    _ = try await session.continue(Script(MigrationSQL.drop(index)), limit: remaining)
                }
                onBuild(index.name)
                _ = try await session.continue(Script(MigrationSQL.create(index)), limit: session.budget.remaining)
            } catch {
                // Two builds at once may also wait for each other's transaction: deadlock_detected.
                if let state = error.sqlState, ["55P03", "40P01"].contains(state) { continue }
                await dropLeftover(index, session.connection)
                throw error
            }
            guard try await session.isValid(index) == true else {
                throw .indexNameTaken(table.name, index: index.name)
            }
            return true
        }
        await dropLeftover(index, session.connection)
        throw .indexBlocked(table.name, index: index.name)
    }

    /// Drops an unfinished index, also after a signal: it costs each write, and serves no query.
    private func dropLeftover(_ index: PartialIndex, _ connection: Connection) async {
        func run(_ sql: String) async throws -> QueryResult? {
            try await connection.script(sql, deadline: .now + lockLimit, heedsCancellation: false).first
        }
        do {
            guard try await run(MigrationSQL.state(of: index))?.rows.first?.bool("is_valid") == false else { return }
            _ = try await run(MigrationSQL.drop(index))
        } catch {
            // The drop may fail for the same cause as the build; the next migration repairs the index.
        }
    }
}

extension DatabaseSession {
    /// True if the server's own process answers. A proxy that passes the server's messages on unchanged cannot be
    /// detected, and does not matter.
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
