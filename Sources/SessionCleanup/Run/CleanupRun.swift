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

    /// Surveys the database and leaves the transaction open.
    /// - Parameter known: the connection's last survey. If it is fresh and of the same table, only the clock is read.
    func look(in session: DatabaseSession, known: Survey? = nil) async throws(RunFailure) -> Survey {
        let sent = hostClock()
        var survey: Survey
        if let known, known.isFresh, known.table == table {
            survey = known
            let answers = try await session.open(Script(SurveySQL.server, as: .server), isReadOnly: false)
            survey.clocks.database = try answers.read(.server) { try $0.onlyRow().instant("clock") }
        } else {
            survey = try await Survey.make(of: table, for: .deleting, in: session)
        }
        survey.clocks.sent = sent
        survey.clocks.received = hostClock()
        return survey
    }

    /// Finds out whether the run can do its work, at the database's clock. Deletes nothing.
    func target(_ survey: Survey, in session: DatabaseSession) async throws(RunFailure) -> Target {
        let rule = job.rule(for: try survey.generation(for: .deleting))
        try await survey.requireNoHiddenRows(for: .deleting, in: session)
        try survey.clocks.refuseAhead(by: limits.maxClockSkew)
        let skew = survey.clocks.skew
        if skew < .zero - limits.maxClockSkew { onSlowDatabaseClock(.zero - skew) }
        let others = try await rule.requireVisibleTables(in: session)
        try await rule.requireStableCondition(of: job, on: table.name, in: session)
        return Target(
            table: table.name, cutoff: survey.clock, rule: rule, survey: survey,
            parts: survey.hasChildren ? try await survey.parts(in: session) : [], others: others,
            recording: try await history.recording(survey, in: session))
    }

    /// Requires the same schema (an `active` or a `status` column) as before, unless the configuration names one.
    /// - Parameter trusted: the schema of the last run in the history; if `nil`, the one that this process remembers.
    /// - Throws: `schemaChanged`.
    func requireUnchanged(_ survey: Survey, _ trusted: SchemaGeneration?) throws(RunFailure) {
        guard let generation = try survey.generation(for: .deleting) else { return }
        if table.schema == .auto, let trusted, trusted != generation {
            throw .schemaChanged(table.name, from: trusted, to: generation)
        }
        try memory.remember(generation, of: table.name, isConfirmed: table.schema != .auto || trusted != nil)
    }
}

/// What a run would find.
package struct RunPreview: Sendable {
    package let job: String
    package let dueRows: Int
    /// Since when the oldest of them is due; `nil` if there is none, or for a time before the year 1 or after 9999.
    package let oldestDueAt: UTCInstant?
    package let cutoff: UTCInstant
    /// The type of the search plan's top node, as EXPLAIN names it: `Seq Scan`, `Bitmap Heap Scan`, `Append`, ….
    package let plan: String
    /// The first index that the plan uses.
    package let index: String?
}

extension CleanupRun {
    /// Counts what is due and asks for the plan. What stops a run, or makes the server refuse each batch, stops this too.
    func preview(in session: DatabaseSession) async throws(RunFailure) -> RunPreview {
        let survey = try await look(in: session)
        var trusted: SchemaGeneration?
        if try usesHistory(survey), table.schema == .auto {
            trusted = try await session.read(HistorySQL.trustedSchema).reading { result in
                try result.rows.first.flatMap { SchemaGeneration(rawValue: try $0.text("session_schema")) }
            }
        }
        try requireUnchanged(survey, trusted)
        let target = try await target(survey, in: session)
        try await survey.requireDeletePlan(in: session)
        let count = try await session.read(
            SearchSQL.countDue(table.name, target.rule, cutoff: target.cutoff), limit: session.budget.remaining,
            path: target.path, unfiltered: target.unfiltered)
        let plan = try await table.plan(for: target.rule, cutoff: target.cutoff, in: session)
        return try count.reading { result in
            let row = try result.onlyRow()
            return RunPreview(
                job: job.name, dueRows: try row.integer("due"),
                oldestDueAt: try row.instantIfPresent("oldest_due_at"), cutoff: target.cutoff, plan: plan.node,
                index: plan.index)
        }
    }
}

extension SessionTable {
    /// Returns how the server would look for due rows: the type of the plan's top node, and the first index in it.
    func plan(
        for rule: Rule, cutoff: UTCInstant, in session: DatabaseSession
    ) async throws(RunFailure) -> (node: String, index: String?) {
        let explanation = try await session.read(
            SearchSQL.explain(name, rule, cutoff: cutoff), path: rule.condition == nil ? .catalog : .role)
        let document = try explanation.reading { try $0.onlyRow().text("QUERY PLAN") }
        return try await session.read(SearchSQL.readPlan(document)).reading { result in
            let row = try result.onlyRow()
            return (try row.text("node"), try row.textIfPresent("index"))
        }
    }
}

extension Rule {
    /// Requires that the tables which an operator's own condition looks at are tables, and that the role sees all their
    /// rows: a hidden one would make NOT EXISTS true.
    ///
    /// - Returns: the tables without active row security.
    /// - Throws: `tableMissing`, `notATable`, `privilegesMissing`, `rowSecurity`, or what a connection throws.
    func requireVisibleTables(in session: DatabaseSession) async throws(RunFailure) -> [TableName] {
        var open: [TableName] = []
        for table in condition?.tables ?? [] where !open.contains(table) {
            await session.rollBack()
            let survey = try await Survey.make(of: SessionTable(name: table, schema: nil), for: .reading, in: session)
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
            // Syntax, names, types (42); values (22); unsupported (0A). A missing privilege (42501) says so itself.
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
