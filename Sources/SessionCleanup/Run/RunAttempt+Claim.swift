import Postgres
import Time

/// The run's row in the history: how an attempt becomes the run's owner, and how it closes the row.
extension RunAttempt {
    /// Claims of one attempt, each after something that stood in its way has ended, or after another process was faster.
    private static let mostClaims = 10

    /// Returns the statement that records a run which has found nothing, with its end; see `HistorySQL.record`. `nil` where
    /// the schema of the sessions table is in doubt.
    func recording(_ survey: Survey, _ comparison: ClockComparison) -> String? {
        let schema = schema(of: survey)
        guard schema != nil || run.table.schema == nil else { return nil }
        return HistorySQL.record(
            request, of: run.job.name, schema: schema, token: token, history: run.history, cutoff: comparison.database,
            tolerance: tolerance(comparison))
    }

    private func tolerance(_ comparison: ClockComparison) -> Duration {
        run.limits.maxClockSkew + max(.zero, .zero - comparison.skew)
    }

    /// Claims the run by the attempt's token.
    ///
    /// - Returns: `nil` if there is no run for this process; the report then says why.
    mutating func claim(
        _ survey: Survey, _ comparison: ClockComparison, in session: DatabaseSession
    ) async throws(RunFailure) -> RunClaim? {
        let schema = schema(of: survey)
        let script = HistorySQL.claim(
            request, of: run.job.name, schema: schema, token: token, history: run.history, cutoff: comparison.database,
            tolerance: tolerance(comparison))
        for _ in 1...Self.mostClaims {
            let answers = try await session.write(script)
            let candidates = try answers.read(.candidates) { try $0.rows.map(ClaimCandidate.init) }
            report.earlierRuns = try answers.read(.earlierRuns) { try EarlierRuns($0.onlyRow()) }
            switch ClaimDecision(candidates, token: token, previous: request.previousTokens) {
            case .own(let row): return begin(row)
            case .reopen(let row, let keepsCutoff):
                let reopening = HistorySQL.reopen(
                    row, schema: schema, token: token, isOurs: request.previousTokens.contains(row.claimedBy),
                    keepsCutoff: keepsCutoff, cutoff: comparison.database, history: run.history)
                if let reopened = try await reopen(reopening, in: session) { return begin(reopened) }
            // Another process was faster: look again at once.
            case .claimAgain: break
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
        let sinceEnd = report.earlierRuns?.lastEnd.map { comparison.database - $0 }
        // Without a run that could have stood in the way, something keeps rows from being inserted.
        guard let sinceEnd, sinceEnd < .seconds(60) else {
            throw .historyUnusable(.runs, role: survey.role, .insertVetoed)
        }
        skip(.held(by: "another process", lookAgainAfter: .seconds(1)))
        return nil
    }

    /// Returns the schema for the run's row. Where it is in doubt, the run fails after its claim.
    private func schema(of survey: Survey) -> HistorySQL.TrustedSchema? {
        // Making the target throws the same.
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

    private func reopen(_ script: Script, in session: DatabaseSession) async throws(RunFailure) -> RecordedRun? {
        do {
            return try await session.write(script).read(.reopened) { try $0.rows.first.map(RecordedRun.init) }
        } catch {
            // Another run of the job began in the same instant: unique_violation.
            if error.sqlState == "23505" { return nil }
            throw error
        }
    }

    /// Closes the run's row as the report says, and corrects the report by the row: the database has counted.
    ///
    /// Where the server warns that no standby has confirmed the end, the run has failed.
    /// - Throws: `claimLost` if another process owns the run or has closed it.
    mutating func close(in session: DatabaseSession) async throws(RunFailure) {
        guard report.claimToken != nil else { return }
        guard let warning = try await finish(isCorrection: false, in: session), report.failure == nil else { return }
        report.failure = .notReplicated(warning)
        report.outcome = .failed
        _ = try await finish(isCorrection: true, in: session)
    }

    /// - Returns: a warning at COMMIT.
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
        // The answer to an earlier end was lost: that end counts.
        if outcome == .succeeded || outcome == .capped {
            report.outcome = outcome
            report.failure = nil
        }
        return warning
    }
}

extension EarlierRuns {
    /// Reads a row of `HistorySQL.lookBack`, or the last one of `HistorySQL.claim`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        var success: Success?
        if let at = try row.instantIfPresent("last_success_at") {
            success = Success(at: at, age: .milliseconds(try row.integer("last_success_age_ms")))
        }
        self.init(lastEnd: try row.instantIfPresent("last_end_at"), lastSuccess: success)
    }
}
