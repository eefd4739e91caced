import Postgres
package import Time

/// One execution of a job: claims it, finds the rows that are due at one cutoff, deletes them in bounded batches and
/// accounts for them.
package struct CleanupRun: Sendable {
    package let job: Job
    package let table: SessionTable
    package let limits: RunLimits
    package let history: History
    /// The host's wall clock, compared with the database's.
    package let hostClock: @Sendable () -> UTCInstant
    /// Called after each search and each batch.
    package let onProgress: @Sendable (RunProgress) -> Void
    /// Called after each batch, with its cost on the server and the number of rows that it deleted.
    package let onBatch: @Sendable (Duration, Int) -> Void
    /// Called with the difference when the database's clock is behind the host's by more than the limit.
    package let onSlowDatabaseClock: @Sendable (Duration) -> Void

    package init(
        job: Job, table: SessionTable, limits: RunLimits, history: History = History(),
        hostClock: @escaping @Sendable () -> UTCInstant,
        onProgress: @escaping @Sendable (RunProgress) -> Void = { _ in },
        onBatch: @escaping @Sendable (Duration, Int) -> Void = { _, _ in },
        onSlowDatabaseClock: @escaping @Sendable (Duration) -> Void = { _ in }
    ) {
        self.job = job
        self.table = table
        self.limits = limits
        self.history = history
        self.hostClock = hostClock
        self.onProgress = onProgress
        self.onBatch = onBatch
        self.onSlowDatabaseClock = onSlowDatabaseClock
    }

    /// Executes the whole run over one connection; with history, the end of its row included.
    ///
    /// - Parameters:
    ///   - known: the survey that a run made over this connection a moment ago; becomes this run's.
    ///   - report: becomes what the run did; right after an error too.
    func execute(
        _ request: RunRequest, in session: DatabaseSession, survey known: inout Survey?, report: inout RunReport
    ) async throws(RunFailure) {
        let (survey, comparison) = try await look(in: session, known: known)
        report.clockSkew = comparison.skew
        guard try history.isUsed(survey.history, by: survey.role) else {
            let target = try await target(survey, comparison, in: session)
            report.cutoff = target.cutoff
            known = survey
            let first = try await search(target, in: session)
            try await delete(target, first, claim: nil, before: request.rowsDeletedBefore, in: session, &report)
            return report.restsUntil = await restsUntil(target, request, report, in: session)
        }
        report.claimToken = History.token()
        let ahead = try await lookAhead(request, survey, comparison, report, in: session)
        if case .success((let target, .all(let found))) = ahead, let runID = found.recordedRunID {
            report.runID = runID
            known = survey
            try await delete(target, .all(found), claim: nil, before: 0, in: session, &report)
            return report.restsUntil = await restsUntil(target, request, report, in: session)
        }
        guard let claim = try await claim(request, survey, comparison, in: session, report: &report) else { return }
        report.cutoff = claim.run.cutoff
        // What stands in the way of the run is in its row, now that there is one.
        var (target, first) = try ahead.get()
        try requireUnchanged(survey, claim.run.sessionSchema)
        known = survey
        if target.cutoff != claim.run.cutoff {
            target.cutoff = claim.run.cutoff
            first = .many
        }
        try await delete(target, first, claim: claim, before: 0, in: session, &report)
        report.restsUntil = await restsUntil(target, request, report, in: session)
        try await close(request, &report, in: session)
    }

    /// The result of the search that a run begins with.
    enum FirstSearch: Sendable {
        /// All rows that are due.
        case all(FoundRows)
        /// More rows than such a search returns.
        case many
        /// The server could not find them in time.
        case tooSlow
    }

    /// The rows that a run without much to do has to do with.
    private static let fewRows = 1000

    /// Looks for due rows before the run is claimed: where there are none, the run is recorded together with its end.
    ///
    /// - Returns: what to delete; or a failure, to be thrown once the run has a row.
    /// - Throws: a failure after which the run can have no row.
    private func lookAhead(
        _ request: RunRequest, _ survey: Survey, _ comparison: ClockComparison, _ report: RunReport,
        in session: DatabaseSession
    ) async throws(RunFailure) -> Result<(Target, FirstSearch), RunFailure> {
        do {
            let target = try await target(survey, comparison, in: session, checksSchema: false)
            // Policies are looked at once more after the search; an operator's own condition runs in a read-only transaction.
            let canRecord =
                request.previousTokens.isEmpty && !survey.isRowSecurityActive && target.rule.condition == nil
                && target.recording == nil
            let record = canRecord ? recording(request, survey, comparison, token: report.claimToken) : nil
            return .success((target, try await search(target, recording: record, in: session)))
        } catch {
            await session.rollBack()
            guard await session.connection.isAlive(), error.kind != .canceled else { throw error }
            return .failure(error)
        }
    }

    /// - Parameter record: see `SearchSQL.first`.
    private func search(
        _ target: Target, recording record: String? = nil, in session: DatabaseSession
    ) async throws(RunFailure) -> FirstSearch {
        let sql = SearchSQL.first(
            table.name, target.rule, cutoff: target.cutoff, limit: Self.fewRows + 1, record: record)
        // The other half is for the rest of the run.
        let limit = try session.budget.limit(min(session.budget.transactionLimit, session.budget.remaining / 2))
        let sent = ContinuousClock.now
        do {
            let result = try await session.search(
                sql, limit: limit, path: target.path, unfiltered: target.unfiltered, records: record != nil)
            var found = try result.reading(FoundRows.init)
            found.rows.sort()
            return found.rows.count > Self.fewRows ? .many : .all(found)
        } catch {
            guard error.sqlState == "57014", sent.duration(to: .now) >= limit * 9 / 10 else { throw error }
            return .tooSlow
        }
    }

    /// - Parameter before: rows of earlier attempts, which the report of this attempt leaves out.
    private func delete(
        _ target: Target, _ first: FirstSearch, claim: RunClaim?, before: Int, in session: DatabaseSession,
        _ report: inout RunReport
    ) async throws(RunFailure) {
        report.cutoff = target.cutoff
        // With a record of removed sessions, its old rows go with each run.
        if case .all(let found) = first, found.rows.isEmpty, target.recording == nil {
            report.progress.isSearchComplete = true
            onProgress(report.progress)
        } else {
            var target = target
            if target.parts.isEmpty { target.parts = try await target.survey.parts(in: session) }
            var progress = report.progress
            if claim == nil { progress.rowsDeleted = before }
            var deletion = Deletion(self, target, claim: claim, progress: progress, in: session)
            defer {
                report.progress = deletion.progress
                report.progress.rowsDeleted -= before
            }
            let oldest = try await deletion.execute(after: first)
            report.oldestOverdue = oldest.map { target.cutoff - $0 }
            if deletion.isCapped { report.outcome = .capped }
        }
        // A policy that has been narrowed since hides rows without an error.
        if target.survey.isRowSecurityActive {
            try await Survey.make(of: table, for: .reading, in: session)
                .requireNoHiddenRows(for: .deleting, in: session)
        }
        _ = try await target.rule.requireVisibleTables(in: session)
    }

    private func restsUntil(
        _ target: Target, _ request: RunRequest, _ report: RunReport, in session: DatabaseSession
    ) async -> UTCInstant? {
        guard let limit = job.maxStaleness, request.origin != .once, report.progress.rowsFound == 0 else { return nil }
        return await idleUntil(target, limit: limit, in: session)
    }

    /// Returns until when nothing will be due, or the end of the limit if that comes first. A question whose answer takes
    /// too long does not fail a run that has done its work.
    private func idleUntil(_ target: Target, limit: Duration, in session: DatabaseSession) async -> UTCInstant? {
        do {
            let sql = SearchSQL.firstPending(table.name, target.rule, cutoff: target.cutoff)
            let due = try await session.read(sql).reading { try $0.onlyRow().instantIfPresent("due_at") }
            return min(due ?? target.cutoff + limit, target.cutoff + limit)
        } catch {
            await session.rollBack()
            return nil
        }
    }

    // MARK: Looking

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
        let rule = job.rules.rule(for: generation)
        let others = try await rule.requireVisibleTables(in: session)
        try await rule.requireStableCondition(of: job, on: table.name, in: session)
        return Target(
            table: table.name, cutoff: cutoff ?? comparison.database, rule: rule, survey: survey,
            parts: survey.hasChildren ? try await survey.parts(in: session) : [], others: others,
            recording: try await history.recording(survey, in: session))
    }
}

extension CleanupRun {
    /// Requires that the sessions table has the schema that it had before, unless the configuration names it.
    ///
    /// - Parameter trusted: the schema that the history has; without it, what this process remembers counts.
    /// - Throws: `schemaChanged`.
    private func requireUnchanged(_ survey: Survey, _ trusted: SchemaGeneration?) throws(RunFailure) {
        guard let generation = try survey.generation(for: .deleting) else { return }
        guard table.schema == .auto else { return history.memory.trust(generation, of: table.name) }
        guard let trusted else { return try history.memory.require(generation, of: table.name) }
        guard trusted == generation else { throw .schemaChanged(table.name, from: trusted, to: generation) }
        history.memory.trust(generation, of: table.name)
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
