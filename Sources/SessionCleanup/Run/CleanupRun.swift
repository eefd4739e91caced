import Postgres
package import Time

/// What a run of a job works with; see `RunAttempt`.
package struct CleanupRun: Sendable {
    package let job: Job
    package let table: SessionTable
    package let limits: RunLimits
    package let history: History
    package let memory: HistoryMemory
    /// The host's wall clock, compared with the database's.
    package let hostClock: @Sendable () -> UTCInstant
    /// Called after each search and each batch.
    package let onProgress: @Sendable (RunProgress) -> Void
    /// Called after each batch, with its cost on the server and the number of rows that it deleted.
    package let onBatch: @Sendable (Duration, Int) -> Void
    /// Called with the difference when the database's clock is behind the host's by more than the limit.
    package let onSlowDatabaseClock: @Sendable (Duration) -> Void

    package init(
        job: Job, table: SessionTable, limits: RunLimits, history: History = .standard,
        memory: HistoryMemory = HistoryMemory(),
        hostClock: @escaping @Sendable () -> UTCInstant,
        onProgress: @escaping @Sendable (RunProgress) -> Void = { _ in },
        onBatch: @escaping @Sendable (Duration, Int) -> Void = { _, _ in },
        onSlowDatabaseClock: @escaping @Sendable (Duration) -> Void = { _ in }
    ) {
        self.job = job
        self.table = table
        self.limits = limits
        self.history = history
        self.memory = memory
        self.hostClock = hostClock
        self.onProgress = onProgress
        self.onBatch = onBatch
        self.onSlowDatabaseClock = onSlowDatabaseClock
    }

    /// Surveys the database and compares the clocks. Leaves its transaction open.
    ///
    /// - Parameter known: a survey of a moment ago; then only the clock is read.
    func look(
        in session: DatabaseSession, known: Survey?
    ) async throws(RunFailure) -> (survey: Survey, comparison: ClockComparison) {
        let sent = hostClock()
        if let known, known.isFresh, known.table == table {
            let answers = try await session.open(Script(SurveySQL.server, as: .server), isReadOnly: false)
            let clock = try answers.read(.server) { try $0.onlyRow().instant("clock") }
            return (known, ClockComparison(database: clock, sent: sent, received: hostClock()))
        }
        let survey = try await Survey.make(of: table, for: .deleting, in: session)
        if survey.isInRecovery { throw .serverReadOnly }
        return (survey, ClockComparison(database: survey.clock, sent: sent, received: hostClock()))
    }

    /// Finds out whether the run can do its work. Deletes nothing.
    ///
    /// - Parameters:
    ///   - cutoff: the database's clock unless given.
    ///   - trusted: the schema of the sessions table that the history has.
    ///   - checksSchema: false if the schema is checked later.
    func target(
        _ survey: Survey, _ comparison: ClockComparison, cutoff: UTCInstant? = nil, trusted: SchemaGeneration? = nil,
        in session: DatabaseSession, checksSchema: Bool = true
    ) async throws(RunFailure) -> Target {
        let generation = try survey.generation(for: .deleting)
        if checksSchema { try requireUnchanged(survey, trusted) }
        try await survey.requireNoHiddenRows(for: .deleting, in: session)
        try comparison.refuseAhead(by: limits.maxClockSkew)
        if comparison.skew < .zero - limits.maxClockSkew { onSlowDatabaseClock(.zero - comparison.skew) }
        let rule = job.rule(for: generation)
        let others = try await rule.requireVisibleTables(in: session)
        try await rule.requireStableCondition(of: job, on: table.name, in: session)
        return Target(
            table: table.name, cutoff: cutoff ?? comparison.database, rule: rule, survey: survey,
            parts: survey.hasChildren ? try await survey.parts(in: session) : [], others: others,
            recording: try await history.recording(survey, in: session))
    }

    /// Requires that the sessions table has the schema that it had before, unless the configuration names it.
    ///
    /// - Parameter trusted: the schema that the history has; without it, what this process remembers counts.
    /// - Throws: `schemaChanged`.
    func requireUnchanged(_ survey: Survey, _ trusted: SchemaGeneration?) throws(RunFailure) {
        guard let generation = try survey.generation(for: .deleting) else { return }
        if table.schema == .auto, let trusted, trusted != generation {
            throw .schemaChanged(table.name, from: trusted, to: generation)
        }
        try memory.remember(generation, of: table.name, isConfirmed: table.schema != .auto || trusted != nil)
    }
}

extension Rule {
    /// Requires that the tables which an operator's own condition looks at are tables, and that the role sees all their
    /// rows: a hidden one would make NOT EXISTS true.
    ///
    /// - Returns: those without active row security.
    /// - Throws: `tableMissing`, `notATable`, `privilegesMissing`, `rowSecurity`, or what a connection throws.
    func requireVisibleTables(in session: DatabaseSession) async throws(RunFailure) -> [TableName] {
        var open: [TableName] = []
        for table in condition?.tables ?? [] where !open.contains(table) {
            await session.rollBack()
            let survey = try await Survey.make(
                of: SessionTable(name: table, schema: nil), for: .reading, in: session)
            _ = try survey.generation(for: .reading)
            try await survey.requireNoHiddenRows(for: .reading, in: session)
            await session.rollBack()
            if !survey.isRowSecurityActive { open.append(table) }
        }
        return open
    }

    /// Refuses a condition of an operator's own that the server does not understand, or that contains anything volatile:
    /// a row has to be due at the search, at the lock and at the delete alike.
    ///
    /// - Throws: `conditionRefused`, `volatileFunction`.
    func requireStableCondition(
        of job: Job, on table: TableName, in session: DatabaseSession
    ) async throws(RunFailure) {
        guard let condition else { return }
        let sql = condition.sql(cutoff: "timestamp with time zone '2000-01-01 00:00:00+00'")
        let plan: String
        do {
            let found = try await session.read(SurveySQL.explainCondition(table, sql), path: .role)
            plan = try found.reading { try $0.onlyRow().text("QUERY PLAN") }
        } catch {
            // Syntax, names and types; values; unsupported features. A missing privilege says so by itself.
            guard case .database(let cause) = error, let state = cause.sqlState, state != "42501",
                ["42", "22", "0A"].contains(state.conditionClass)
            else { throw error }
            throw .conditionRefused(job: job.name, cause)
        }
        guard plan.contains(SurveySQL.conditionAlias) else { return }
        var name: String?
        if !condition.calls.isEmpty {
            let found = try await session.read(SurveySQL.volatileFunction(of: condition.calls), path: .role)
            name = try found.reading { try $0.onlyRow().textIfPresent("name") }
        }
        throw .volatileFunction(job: job.name, function: name ?? "a volatile operator, cast or function")
    }
}
