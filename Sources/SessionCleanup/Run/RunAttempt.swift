import Postgres
import Time

/// One attempt of a run: claims it, finds the rows that are due at one cutoff, deletes them in bounded batches and accounts
/// for them.
struct RunAttempt: Sendable {
    let run: CleanupRun
    let request: RunRequest
    /// Makes this attempt the owner of the run. Known before it is sent: the answer may be lost.
    let token = History.token()
    /// What the attempt has done up to now; right after an error too.
    var report: RunReport

    init(_ run: CleanupRun, _ request: RunRequest) {
        self.run = run
        self.request = request
        let now = run.hostClock()
        report = RunReport(
            job: run.job.name, outcome: .succeeded, scheduledAt: request.scheduledAt, startedAt: now, finishedAt: now)
    }

    /// Executes all of it over one connection; with history, the end of the run's row included.
    ///
    /// - Parameter known: the survey that a run made over this connection a moment ago; becomes this run's.
    mutating func execute(in session: DatabaseSession, survey known: inout Survey?) async throws(RunFailure) {
        let (survey, comparison) = try await run.look(in: session, known: known)
        report.clockSkew = comparison.skew
        guard try run.usesHistory(survey) else {
            let target = try await run.target(survey, comparison, in: session)
            report.cutoff = target.cutoff
            known = survey
            return try await delete(target, try await search(target, in: session), claim: nil, in: session)
        }
        report.claimTokens = [token]
        let ahead = try await lookAhead(survey, comparison, in: session)
        if case .success((let target, .all(let found))) = ahead, let runID = found.recordedRunID {
            report.runID = runID
            known = survey
            return try await delete(target, .all(found), claim: nil, in: session)
        }
        guard let claim = try await claim(survey, comparison, in: session) else { return }
        report.cutoff = claim.run.cutoff
        // What stands in the way of the run is in its row, now that there is one.
        var (target, first) = try ahead.get()
        try run.requireUnchanged(survey, claim.run.sessionSchema)
        known = survey
        if target.cutoff != claim.run.cutoff {
            target.cutoff = claim.run.cutoff
            first = .many
        }
        try await delete(target, first, claim: claim, in: session)
        try await close(in: session)
    }

    /// The rows that a run without much to do has to do with.
    private static let fewRows = 1000

    /// Looks for due rows before the run is claimed: where there are none, the run is recorded together with its end.
    ///
    /// - Returns: what to delete; or a failure, to be thrown once the run has a row.
    /// - Throws: a failure after which the run can have no row.
    private func lookAhead(
        _ survey: Survey, _ comparison: ClockComparison, in session: DatabaseSession
    ) async throws(RunFailure) -> Result<(Target, CleanupRun.FirstSearch), RunFailure> {
        do {
            let target = try await run.target(survey, comparison, in: session, checksSchema: false)
            // Policies are looked at once more after the search; an operator's own condition runs in a read-only transaction.
            let canRecord =
                request.previousTokens.isEmpty && !survey.isRowSecurityActive && target.rule.condition == nil
                && target.recording == nil
            let record = canRecord ? recording(survey, comparison) : nil
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
    ) async throws(RunFailure) -> CleanupRun.FirstSearch {
        let sql = SearchSQL.first(
            run.table.name, target.rule, cutoff: target.cutoff, limit: Self.fewRows + 1, record: record)
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

    private mutating func delete(
        _ target: Target, _ first: CleanupRun.FirstSearch, claim: RunClaim?, in session: DatabaseSession
    ) async throws(RunFailure) {
        report.cutoff = target.cutoff
        // With a record of removed sessions, its old rows go with each run.
        if case .all(let found) = first, found.rows.isEmpty, target.recording == nil {
            report.progress.isSearchComplete = true
            run.onProgress(report.progress)
        } else {
            var target = target
            if target.parts.isEmpty { target.parts = try await target.survey.parts(in: session) }
            // The report of this attempt leaves out the rows of earlier ones.
            let before = claim == nil ? request.rowsDeletedBefore : 0
            var progress = report.progress
            progress.rowsDeleted += before
            var deletion = Deletion(run, target, claim: claim, progress: progress, in: session)
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
            try await Survey.make(of: run.table, for: .reading, in: session)
                .requireNoHiddenRows(for: .deleting, in: session)
        }
        _ = try await target.rule.requireVisibleTables(in: session)
        if let limit = run.job.maxStaleness, request.origin != .once, report.progress.rowsFound == 0 {
            report.restsUntil = await idleUntil(target, limit: limit, in: session)
        }
    }

    /// Returns until when nothing will be due, or the end of the limit if that comes first. A question whose answer takes
    /// too long does not fail a run that has done its work.
    private func idleUntil(_ target: Target, limit: Duration, in session: DatabaseSession) async -> UTCInstant? {
        do {
            let sql = SearchSQL.firstPending(run.table.name, target.rule, cutoff: target.cutoff)
            let due = try await session.read(sql).reading { try $0.onlyRow().instantIfPresent("due_at") }
            return min(due ?? target.cutoff + limit, target.cutoff + limit)
        } catch {
            return nil
        }
    }
}

extension CleanupRun {
    /// The result of the search that a run begins with.
    enum FirstSearch: Sendable {
        /// All rows that are due.
        case all(FoundRows)
        /// More rows than such a search returns.
        case many
        /// The server could not find them in time.
        case tooSlow
    }
}
