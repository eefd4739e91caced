import Postgres
import Time

/// One attempt of a run: claims it, finds the rows that are due at one cutoff, deletes them in batches and accounts for them.
struct RunAttempt: Sendable {
    let run: CleanupRun
    let request: RunRequest
    /// The claim token of this attempt. It is made before it is sent, since the answer may be lost.
    let token = History.token()
    /// What the attempt has done so far; correct after an error too.
    var report: RunReport
    /// When `report.earlierRuns` was read.
    private(set) var claimedAt = ContinuousClock.now

    init(_ run: CleanupRun, _ request: RunRequest) {
        self.run = run
        self.request = request
        let now = run.hostClock()
        report = RunReport(
            job: run.job.name, outcome: .succeeded, scheduledAt: request.scheduledAt, startedAt: now, finishedAt: now)
    }

    /// Runs on the connection's own queue, so that no message costs a change of thread.
    ///
    /// - Parameter known: the survey that a run made over this connection a moment ago; becomes this run's.
    mutating func execute(
        over connection: isolated Connection, _ budget: RunBudget, survey known: inout Survey?
    ) async throws(RunFailure) {
        let session = DatabaseSession(connection: connection, budget: budget)
        let survey = try await run.look(in: session, known: known)
        known = survey
        report.clockSkew = survey.clocks.skew
        guard try run.usesHistory(survey) else {
            try run.requireUnchanged(survey, nil)
            let target = try await run.target(survey, in: session)
            report.cutoff = target.cutoff
            return try await delete(target, try await search(target, in: session), claim: nil, in: session)
        }
        report.claimTokens = [token]
        let ahead = try await lookAhead(survey, in: session)
        if case .success((let target, .all(let found))) = ahead, let runID = found.recordedRunID {
            report.runID = runID
            return try await delete(target, .all(found), claim: nil, in: session)
        }
        guard let claim = try await claim(survey, in: session) else { return }
        report.cutoff = claim.run.cutoff
        // What stands in the way of the run is in its row, now that there is one.
        var (target, first) = try ahead.get()
        try run.requireUnchanged(survey, claim.run.sessionSchema)
        if target.cutoff != claim.run.cutoff {
            target.cutoff = claim.run.cutoff
            first = .many
        }
        try await delete(target, first, claim: claim, in: session)
        try await close(in: session)
    }

    /// Up to this many due rows, the first search finds them all; where more are due, a larger search follows.
    private static let fewRows = 1000

    /// Looks for due rows before the run is claimed: where there are none, the run is recorded together with its end.
    /// - Returns: what to delete; or a failure, to be thrown once the run has a row.
    /// - Throws: the failure, if the connection is lost or the run was canceled: it cannot be claimed then.
    private func lookAhead(
        _ survey: Survey, in session: DatabaseSession
    ) async throws(RunFailure) -> Result<(Target, CleanupRun.FirstSearch), RunFailure> {
        do {
            let target = try await run.target(survey, in: session)
            return .success((target, try await search(target, recording: recording(of: target), in: session)))
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
        // Half of the time that is left, at most: the other half is for the rest of the run.
        let limit = try session.budget.limit(min(session.budget.transactionLimit, session.budget.remaining / 2))
        let sent = ContinuousClock.now
        do {
            let result = try await session.read(
                sql, limit: limit, path: target.path, prefersIndexes: target.rule.condition == nil,
                unfiltered: target.unfiltered, records: record != nil)
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
        // With `history.removed`, each run deletes old records of removed sessions too, even where no row is due.
        if case .all(let found) = first, found.rows.isEmpty, target.recording == nil {
            report.progress.isSearchComplete = true
            run.onProgress(report.progress)
        } else {
            var target = target
            if target.parts.isEmpty { target.parts = try await target.survey.parts(in: session) }
            // Without a claim, `max-rows` includes the rows of earlier attempts; the report leaves them out.
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
        // A policy that was narrowed after the survey hides rows without an error.
        if target.survey.isRowSecurityActive {
            try await Survey.make(of: run.table, for: .reading, in: session)
                .requireNoHiddenRows(for: .deleting, in: session)
            await session.rollBack()
        }
        _ = try await target.rule.requireVisibleTables(in: session)
        if let limit = run.job.maxStaleness, request.origin != .once, report.progress.rowsFound == 0 {
            report.restsUntil = await idleUntil(target, limit: limit, in: session)
        }
    }

    /// Returns the instant until which no row becomes due, at most `limit` after the cutoff; `nil` if the search fails.
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
        /// More rows are due than such a search returns.
        case many
        /// The server could not find them in time.
        case tooSlow
    }
}

// MARK: The run's row in the history

extension RunAttempt {
    /// The most claims of one attempt, which claims again after another run ended or another process was faster.
    private static let mostClaims = 10

    /// Returns the statement that records a run which has found nothing, with its end; see `HistorySQL.record`.
    private func recording(of target: Target) -> String? {
        // Active policies are checked again after the search; an operator's own condition is searched for read-only.
        guard request.previousTokens.isEmpty, !target.survey.isRowSecurityActive, target.rule.condition == nil,
            target.recording == nil
        else { return nil }
        return HistorySQL.record(
            request, of: run.job.name, schema: schema(of: target.survey), token: token, history: run.history,
            cutoff: target.cutoff, tolerance: tolerance(target.survey))
    }

    private func tolerance(_ survey: Survey) -> Duration {
        run.limits.maxClockSkew + max(.zero, .zero - survey.clocks.skew)
    }

    /// - Returns: `nil` if there is no run for this process; the report then says why.
    private mutating func claim(_ survey: Survey, in session: DatabaseSession) async throws(RunFailure) -> RunClaim? {
        var blocked: RunFailure?
        for _ in 1...Self.mostClaims {
            let script = HistorySQL.claim(
                request, of: run.job.name, schema: schema(of: survey), token: token, history: run.history,
                cutoff: survey.clock, tolerance: tolerance(survey), inserts: blocked == nil)
            let answers: Script.Answers
            do {
                answers = try await session.write(script)
            } catch {
                // lock_not_available: a long batch holds a run's row. Whose, is read without a wait.
                guard error.sqlState == "55P03", blocked == nil else { throw error }
                blocked = error
                continue
            }
            claimedAt = .now
            let candidates = try answers.read(.candidates) { try $0.rows.map(ClaimCandidate.init) }
            report.earlierRuns = try answers.read(.earlierRuns) { try EarlierRuns($0.onlyRow()) }
            switch ClaimDecision(candidates, token: token, previous: request.previousTokens) {
            case .own(let row): return begin(row)
            case .reopen(let row, let keepsCutoff):
                if let reopened = try await reopen(row, keepsCutoff: keepsCutoff, survey, in: session) {
                    return begin(reopened)
                }
            // Another process was faster: look again at once.
            case .claimAgain: if let blocked { throw blocked }
            case .ended(let row, let outcome):
                _ = begin(row)
                report.outcome = outcome
                report.cutoff = row.cutoff
                return nil
            case .skip(let reason):
                skip(reason)
                return nil
            }
        }
        // If no run that could have stood in the way ended in the last 60 s, something keeps rows from being inserted.
        guard let lastEnd = report.earlierRuns?.lastEnd, survey.clock - lastEnd < .seconds(60) else {
            throw .historyUnusable(.runs, role: survey.role, .insertVetoed)
        }
        skip(.held(by: "another process", lookAgainAfter: .seconds(1)))
        return nil
    }

    /// Returns the schema for the run's row; `nil` for an operator's own job, or in doubt, which fails the claimed run.
    private func schema(of survey: Survey) -> HistorySQL.TrustedSchema? {
        // The error is not lost: making the target throws the same one.
        guard let generation = try? survey.generation(for: .deleting) else { return nil }
        return HistorySQL.TrustedSchema(found: generation, isConfigured: run.table.schema != .auto)
    }

    private mutating func skip(_ reason: RunReport.Skip) {
        report.skip = reason
        report.claimTokens = []
        report.outcome = .skipped
    }

    /// Corrects the report by the run's row: the database has counted.
    private mutating func begin(_ row: RecordedRun) -> RunClaim {
        report.runID = Int64(row.runID)
        report.attempts = row.attempts
        report.recordedEnd = row.finishedAt
        report.progress.rowsDeleted = row.rowsDeleted
        report.progress.batches = row.batches
        return RunClaim(run: row, token: token)
    }

    /// - Returns: `nil` if the row has changed since it was read, or another run of the job has begun.
    private func reopen(
        _ row: RecordedRun, keepsCutoff: Bool, _ survey: Survey, in session: DatabaseSession
    ) async throws(RunFailure) -> RecordedRun? {
        let script = HistorySQL.reopen(
            row, schema: schema(of: survey), token: token, isOurs: request.previousTokens.contains(row.claimedBy),
            keepsCutoff: keepsCutoff, cutoff: survey.clock, history: run.history)
        do {
            return try await session.write(script).read(.reopened) { try $0.rows.first.map(RecordedRun.init) }
        } catch {
            // unique_violation
            if error.sqlState == "23505" { return nil }
            throw error
        }
    }

    /// Closes the run's row as the report says, and corrects the report by the row. Where the server warns that no standby has
    /// confirmed the end, the run has failed.
    /// - Throws: `claimLost` if another process owns the run or has closed it.
    mutating func close(in session: DatabaseSession) async throws(RunFailure) {
        guard report.claimToken != nil else { return }
        guard let warning = try await finish(isCorrection: false, in: session), report.failure == nil else { return }
        report.failure = .notReplicated(warning)
        report.outcome = .failed
        _ = try await finish(isCorrection: true, in: session)
    }

    /// - Returns: the warning at COMMIT that no standby has confirmed it; `nil` if there was none.
    private mutating func finish(
        isCorrection: Bool, in session: DatabaseSession
    ) async throws(RunFailure) -> ServerMessage? {
        let script = HistorySQL.finish(
            report.scheduledAt, of: run.job.name, token: token, outcome: report.outcome, progress: report.progress,
            failure: report.failure, nextAttemptIn: request.waitAfter(report.failure, at: run.hostClock()),
            history: run.history, isCorrection: isCorrection)
        let (answers, warning) = try await session.writeFinally(script)
        let row = try answers.read(.closed) { result in try result.rows.first.map(RecordedRun.init) }
        guard let row, let outcome = row.outcome, outcome != .abandoned else { throw .claimLost }
        _ = begin(row)
        // The row may have been closed before, by a statement whose answer was lost: that outcome counts.
        if outcome == .succeeded || outcome == .capped {
            report.outcome = outcome
            report.failure = nil
        }
        return warning
    }
}
