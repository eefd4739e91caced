import CleanupSchedule
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
    /// Called after each batch, with how long it held its locks and how many rows it deleted.
    package let onBatch: @Sendable (Duration, Int) -> Void
    /// Called when the database's clock is behind the host's by more than the limit, with the difference.
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

    /// What the run works on.
    package struct Target: Sendable {
        package let cutoff: UTCInstant
        package let rule: Rule
        /// Whether row security that became active since would be an error, rather than hide rows.
        var refusesFilters = false
        /// Whether the table has partitions or heirs.
        let hasParts: Bool
    }

    /// Does the whole run over one connection; with history, up to and with the end of its row.
    ///
    /// - Parameters:
    ///   - shape: what an inspection over this connection found a moment ago; becomes what this one found.
    ///   - report: becomes what the run did; right after an error too.
    func execute(
        _ request: RunRequest, over connection: isolated Connection, clock: RunClock,
        shape known: inout SessionTable.Shape?, report: inout RunReport
    ) async throws(RunFailure) {
        let look = try await look(over: connection, clock: clock, known: known)
        report.clockSkew = look.comparison.skew
        var claim: RunClaim?
        if look.usesHistory {
            claim = try await self.claim(request, look, over: connection, clock: clock, report: &report)
            guard claim != nil else { return }
        }
        report.cutoff = claim?.cutoff
        let target = try await target(look, cutoff: claim?.cutoff, over: connection, clock: clock, shape: &known)
        report.cutoff = target.cutoff
        var deletion = Deletion(self, target, claim: claim, clock: clock)
        let oldest = try await deletion.execute(over: connection, progress: &report.progress)
        if !target.refusesFilters {
            try await table.judgeRowSecurityAgain(for: .deleting, over: connection, clock: clock)
        }
        report.oldestOverdue = oldest.map { target.cutoff - $0 }
        report.outcome = deletion.isCapped ? .capped : .succeeded
        if let limit = job.maxStaleness, request.origin != .once, report.progress.rowsFound == 0 {
            report.restsUntil = await rest(target, limit: limit, over: connection, clock: clock)
        }
        if claim != nil { try await close(request, &report, over: connection, clock: clock) }
    }

    /// Until when nothing will be due, or the limit if that comes first. A question whose answer takes too long is no
    /// failure of a run that has done its work.
    private func rest(
        _ target: Target, limit: Duration, over connection: isolated Connection, clock: RunClock
    ) async -> UTCInstant? {
        do {
            let found = try await connection.finishTransaction(
                clock, Statements.firstPending(in: table.name, rule: target.rule), [.timestamp("\(target.cutoff)")])
            let due = try found.reading { try $0.onlyRow().instantIfPresent("due_at") }
            return min(due ?? target.cutoff + limit, target.cutoff + limit)
        } catch {
            await connection.rollBack(clock)
            return nil
        }
    }

    // MARK: Looking

    /// What a run finds before it does anything.
    struct Look: Sendable {
        let comparison: ClockComparison
        /// `nil` when what was found a moment ago still counts.
        let inspection: Inspection?
        let usesHistory: Bool
    }

    /// Reads the database's clock and, unless that is known, what there is. Leaves its transaction open.
    func look(
        over connection: isolated Connection, clock: RunClock, known: SessionTable.Shape?
    ) async throws(RunFailure) -> Look {
        let sent = hostClock()
        if let known, known.isFresh(for: table) {
            let database = try await table.clock(over: connection, clock: clock)
            return Look(
                comparison: ClockComparison(database: database, sent: sent, received: hostClock()), inspection: nil,
                usesHistory: known.usesHistory)
        }
        var found = try await table.look(for: .deleting, over: connection, clock: clock)
        let received = hostClock()
        if found.isInRecovery { throw .serverReadOnly }
        if history.mode != .off { try await found.readHistoryStructure(over: connection, clock: clock) }
        return Look(
            comparison: ClockComparison(database: found.clock, sent: sent, received: received), inspection: found,
            usesHistory: try history.isUsed(found.history, by: found.role))
    }

    /// Finds out whether the run can do its work. Deletes nothing.
    ///
    /// - Parameter cutoff: of the claim, never later than the clock of the look; without one that is the cutoff.
    func target(
        _ look: Look, cutoff: UTCInstant? = nil, over connection: isolated Connection, clock: RunClock,
        shape known: inout SessionTable.Shape?
    ) async throws(RunFailure) -> Target {
        var shape = known
        if let inspection = look.inspection {
            shape = try await table.shape(
                inspection, for: .deleting, usesHistory: look.usesHistory, over: connection, clock: clock)
        }
        guard let shape else { preconditionFailure("a look without an inspection relies on what is known") }
        known = shape
        try look.comparison.refuseAhead(by: limits.maxClockSkew)
        let skew = look.comparison.skew
        if skew < .zero - limits.maxClockSkew { onSlowDatabaseClock(.zero - skew) }
        let rule = job.rules.rule(for: shape.generation)
        try await rule.refuseVolatileCalls(of: job, over: connection, clock: clock)
        return Target(
            cutoff: cutoff ?? look.comparison.database, rule: rule, refusesFilters: !shape.isRowSecurityActive,
            hasParts: shape.hasParts)
    }

    // MARK: The run's row

    /// How often a claim is repeated that found nobody in its way and yet no row: two runs of a job that end just then
    /// are rare, three do not happen.
    private static let claims = 3

    /// Claims the run, in the transaction that is open, and ends that.
    ///
    /// - Returns: `nil` when there is no run for us; the report then says why.
    private func claim(
        _ request: RunRequest, _ look: Look, over connection: isolated Connection, clock: RunClock,
        report: inout RunReport
    ) async throws(RunFailure) -> RunClaim? {
        let token = History.token()
        // Known to the report before it is sent: its answer may be lost.
        report.claimToken = token
        let script = HistoryStatements.claim(
            request, of: job.name, token: token, history: history, cutoff: look.comparison.database,
            tolerance: limits.maxClockSkew + max(.zero, .zero - look.comparison.skew))
        var results = try await connection.finishTransaction(clock, script: script)
        var candidates = try results.reading(at: 2) { try $0.rows.map(ClaimCandidate.init) }
        for _ in 0..<Self.claims where candidates.isEmpty {
            // A run that stood in the way has ended between our INSERT and our look.
            results = try await connection.transaction(clock, script)
            candidates = try results.reading(at: 2) { try $0.rows.map(ClaimCandidate.init) }
        }
        if candidates.isEmpty { throw .historyUnusable(role: "", .insertVetoed) }
        report.earlierRuns = try results.reading(at: 3) { try EarlierRuns($0.onlyRow()) }
        switch ClaimDecision(candidates, token: token, previous: request.previousTokens) {
        case .own(let row):
            return begin(row.claim(token: token), &report)
        case .reopen(let row, let keepsCutoff):
            let reopening = HistoryStatements.reopen(
                row, token: token, isOurs: request.previousTokens.contains(row.claimedBy), keepsCutoff: keepsCutoff,
                cutoff: look.comparison.database, history: history)
            if let claim = try await reopen(reopening, token: token, over: connection, clock: clock) {
                return begin(claim, &report)
            }
            // Somebody was faster, and will be seen at the next look.
            report.skip = .held(by: row.claimedBy, lookAgainAfter: history.lease)
        case .ended(let row):
            report.runID = row.runID
            report.outcome = Outcome(rawValue: row.status) ?? .succeeded
            report.attempts = row.attempts
            report.progress.rowsDeleted = row.rowsDeleted
            report.progress.batches = row.batches
            report.cutoff = row.cutoff
            return nil
        case .skip(let reason):
            report.skip = reason
        }
        report.claimToken = nil
        report.outcome = .skipped
        return nil
    }

    private func begin(_ claim: RunClaim, _ report: inout RunReport) -> RunClaim {
        report.runID = claim.runID
        report.attempts = claim.attempts
        report.progress.rowsDeleted = claim.rowsDeleted
        report.progress.batches = claim.batches
        return claim
    }

    private func reopen(
        _ script: String, token: String, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) -> RunClaim? {
        let results: [QueryResult]
        do {
            results = try await connection.transaction(clock, script)
        } catch {
            // Another run of the job began in the same instant: unique_violation.
            if error.sqlState == "23505" { return nil }
            throw error
        }
        return try results.reading(at: 0) { result in try result.rows.first.map { try RunClaim($0, token: token) } }
    }

    /// Ends the run's row as the report says, and lets the report say what the row does: the database has counted.
    ///
    /// - Throws: `claimLost` when somebody else owns or has closed the run.
    func close(
        _ request: RunRequest, _ report: inout RunReport, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) {
        guard let token = report.claimToken else { return }
        let script = HistoryStatements.finish(
            report.scheduledAt, of: job.name, token: token, outcome: report.outcome,
            skipped: report.progress.rowsSkipped, failure: report.failure,
            nextAttemptIn: request.waitAfter(report.failure, at: hostClock()), history: history)
        let results = try await connection.lastWords(clock, script)
        let row = try results.reading(at: 2) { result in try result.rows.first.map(ClosedRun.init) }
        guard let row, row.outcome != .abandoned else { throw .claimLost }
        report.runID = row.runID
        report.attempts = row.attempts
        report.progress.rowsDeleted = row.rowsDeleted
        report.progress.batches = row.batches
        // The answer to an earlier end was lost: it counts.
        if row.outcome == .succeeded || row.outcome == .capped {
            report.outcome = row.outcome
            report.failure = nil
        }
    }
}

/// What `HistoryStatements.finish` shows of a run's row.
private struct ClosedRun {
    let runID: Int64
    let outcome: Outcome
    let rowsDeleted: Int
    let batches: Int
    let attempts: Int

    init(_ row: QueryResult.Row) throws(PostgresError) {
        runID = Int64(try row.integer("run_id"))
        let status = try row.text("status")
        guard let outcome = Outcome(rawValue: status) else { throw .unexpectedAnswer("a run that is \(status)") }
        self.outcome = outcome
        rowsDeleted = try row.integer("rows_deleted")
        batches = try row.integer("batches")
        attempts = try row.integer("attempts")
    }
}

extension Rule {
    /// A row has to be due at the search, at the lock and at the delete alike: a function that answers otherwise each time
    /// would make it due at random. Goes on in the transaction that is open, and may end it.
    ///
    /// - Throws: `volatileFunction`.
    func refuseVolatileCalls(
        of job: Job, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) {
        guard let calls = condition?.calls, !calls.isEmpty else { return }
        let found = try await connection.finishTransaction(clock, Statements.volatileFunction(of: calls), [])
        if let name = try found.reading({ try $0.onlyRow().textIfPresent("name") }) {
            throw .volatileFunction(job: job.name, function: name)
        }
    }
}

extension EarlierRuns {
    /// Reads the last row of `HistoryStatements.claim`.
    fileprivate init(_ row: QueryResult.Row) throws(PostgresError) {
        var success: Success?
        if let at = try row.instantIfPresent("last_success_at") {
            success = Success(at: at, age: .milliseconds(try row.integer("last_success_age_ms")))
        }
        self.init(lastEnd: try row.instantIfPresent("last_end_at"), lastSuccess: success)
    }
}

extension RunClaim {
    /// Reads a row of `HistoryStatements.reopen`.
    fileprivate init(_ row: QueryResult.Row, token: String) throws(PostgresError) {
        self.init(
            runID: Int64(try row.integer("run_id")), token: token, cutoff: try row.instant("cutoff_at"),
            attempts: try row.integer("attempts"), rowsDeleted: try row.integer("rows_deleted"),
            batches: try row.integer("batches"))
    }
}

extension RunFailure {
    /// Wraps what a mixed `do` block throws.
    init(_ error: any Error) {
        switch error {
        case let failure as RunFailure: self = failure
        case PostgresError.canceled: self = .canceled
        case let error as PostgresError: self = .database(error)
        default: self = .database(.unexpectedAnswer("\(error)"))
        }
    }
}
