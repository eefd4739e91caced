import Postgres
import Time

/// The run's row in the history: how a run becomes its owner, and how it closes the row.
extension CleanupRun {
    /// Claims of one attempt, each after something that stood in its way has ended, or after another process was faster.
    private static let mostClaims = 10

    /// Returns the statement that records a run which has found nothing, with its end; see `HistorySQL.record`. `nil` where
    /// the schema of the sessions table is in doubt.
    func recording(
        _ request: RunRequest, _ survey: Survey, _ comparison: ClockComparison, token: String?
    ) -> String? {
        let schema = schema(of: survey)
        guard let token, schema != nil || table.schema == nil else { return nil }
        return HistorySQL.record(
            request, of: job.name, schema: schema, token: token, history: history, cutoff: comparison.database,
            tolerance: tolerance(comparison))
    }

    private func tolerance(_ comparison: ClockComparison) -> Duration {
        limits.maxClockSkew + max(.zero, .zero - comparison.skew)
    }

    /// Claims the run by the report's token.
    ///
    /// - Returns: `nil` if there is no run for this process; the report then says why.
    func claim(
        _ request: RunRequest, _ survey: Survey, _ comparison: ClockComparison, in session: DatabaseSession,
        report: inout RunReport
    ) async throws(RunFailure) -> RunClaim? {
        // Known to the report before it is sent: the answer may be lost.
        let token = report.claimToken ?? History.token()
        report.claimToken = token
        let schema = schema(of: survey)
        let script = HistorySQL.claim(
            request, of: job.name, schema: schema, token: token, history: history, cutoff: comparison.database,
            tolerance: tolerance(comparison))
        for _ in 1...Self.mostClaims {
            let answers = try await session.write(script)
            let candidates = try answers.read(.candidates) { try $0.rows.map(ClaimCandidate.init) }
            report.earlierRuns = try answers.read(.earlierRuns) { try EarlierRuns($0.onlyRow()) }
            switch ClaimDecision(candidates, token: token, previous: request.previousTokens) {
            case .own(let run): return begin(RunClaim(run: run, token: token), &report)
            case .reopen(let run, let keepsCutoff):
                let reopening = HistorySQL.reopen(
                    run, schema: schema, token: token, isOurs: request.previousTokens.contains(run.claimedBy),
                    keepsCutoff: keepsCutoff, cutoff: comparison.database, history: history)
                if let claim = try await reopen(reopening, token: token, in: session) { return begin(claim, &report) }
            // Another process was faster: look again at once.
            case .claimAgain: break
            case .ended(let run, let outcome):
                begin(run, &report)
                report.outcome = outcome
                report.cutoff = run.cutoff
                return nil
            case .skip(let reason): return skip(reason, &report)
            }
        }
        let sinceEnd = report.earlierRuns?.lastEnd.map { comparison.database - $0 }
        // Without a run that could have stood in the way, something keeps rows from being inserted.
        guard let sinceEnd, sinceEnd < .seconds(60) else {
            throw .historyUnusable(.runs, role: survey.role, .insertVetoed)
        }
        return skip(.held(by: "another process", lookAgainAfter: .seconds(1)), &report)
    }

    /// Returns the schema for the run's row. Where it is in doubt, the run fails after its claim.
    private func schema(of survey: Survey) -> HistorySQL.TrustedSchema? {
        do {
            return try survey.generation(for: .deleting).map { generation in
                HistorySQL.TrustedSchema(found: generation, isConfigured: table.schema != .auto)
            }
        } catch {
            return nil
        }
    }

    private func skip(_ reason: RunReport.Skip, _ report: inout RunReport) -> RunClaim? {
        report.skip = reason
        report.claimToken = nil
        report.outcome = .skipped
        return nil
    }

    private func begin(_ claim: RunClaim, _ report: inout RunReport) -> RunClaim {
        begin(claim.run, &report)
        return claim
    }

    /// Corrects the report by the row: the database has counted.
    private func begin(_ run: RecordedRun, _ report: inout RunReport) {
        report.runID = Int64(run.runID)
        report.attempts = run.attempts
        report.recordedEnd = run.finishedAt
        report.progress.rowsDeleted = run.rowsDeleted
        report.progress.batches = run.batches
    }

    private func reopen(
        _ script: Script, token: String, in session: DatabaseSession
    ) async throws(RunFailure) -> RunClaim? {
        let answers: Script.Answers
        do {
            answers = try await session.write(script)
        } catch {
            // Another run of the job began in the same instant: unique_violation.
            if error.sqlState == "23505" { return nil }
            throw error
        }
        return try answers.read(.reopened) { result in
            try result.rows.first.map { RunClaim(run: try RecordedRun($0), token: token) }
        }
    }

    /// Closes the run's row as the report says, and corrects the report by the row: the database has counted.
    ///
    /// Where the server warns that no standby has confirmed the end, the run has failed.
    /// - Throws: `claimLost` if another process owns the run or has closed it.
    func close(
        _ request: RunRequest, _ report: inout RunReport, in session: DatabaseSession
    ) async throws(RunFailure) {
        guard let token = report.claimToken else { return }
        let warning = try await close(request, token, &report, in: session)
        guard let warning, report.failure == nil else { return }
        report.failure = .notReplicated(warning)
        report.outcome = .failed
        _ = try await close(request, token, &report, isCorrection: true, in: session)
    }

    /// - Returns: a warning at COMMIT.
    private func close(
        _ request: RunRequest, _ token: String, _ report: inout RunReport, isCorrection: Bool = false,
        in session: DatabaseSession
    ) async throws(RunFailure) -> ServerMessage? {
        let script = HistorySQL.finish(
            report.scheduledAt, of: job.name, token: token, outcome: report.outcome, progress: report.progress,
            failure: report.failure, nextAttemptIn: request.waitAfter(report.failure, at: hostClock()),
            history: history, isCorrection: isCorrection)
        let (answers, warning) = try await session.writeFinally(script)
        let row = try answers.read(.closed) { result in try result.rows.first.map(RecordedRun.init) }
        guard let row, let outcome = row.status.outcome, outcome != .abandoned else { throw .claimLost }
        begin(row, &report)
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
