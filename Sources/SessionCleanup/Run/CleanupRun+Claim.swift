import Postgres
import Time

/// The run's row in the history: how a run becomes its owner, and how it closes the row.
extension CleanupRun {
    /// How often a claim is repeated that inserted no row and met none: two runs of a job that end just then are rare.
    private static let claims = 3

    /// Claims the run, in the transaction that is open, and ends that.
    ///
    /// - Returns: `nil` if there is no run for this process; the report then says why.
    func claim(
        _ request: RunRequest, _ comparison: ClockComparison, in session: DatabaseSession, report: inout RunReport
    ) async throws(RunFailure) -> RunClaim? {
        let token = History.token()
        // Known to the report before it is sent: the answer may be lost.
        report.claimToken = token
        let script = HistorySQL.claim(
            request, of: job.name, token: token, history: history, cutoff: comparison.database,
            tolerance: limits.maxClockSkew + max(.zero, .zero - comparison.skew))
        var answers = try await session.finish(script)
        var candidates = try answers.read(.candidates) { try $0.rows.map(ClaimCandidate.init) }
        for _ in 0..<Self.claims where candidates.isEmpty {
            // A run that stood in the way has ended between the INSERT and the SELECT.
            answers = try await session.write(script)
            candidates = try answers.read(.candidates) { try $0.rows.map(ClaimCandidate.init) }
        }
        if candidates.isEmpty { throw .historyUnusable(role: "", .insertVetoed) }
        report.earlierRuns = try answers.read(.earlierRuns) { try EarlierRuns($0.onlyRow()) }
        switch ClaimDecision(candidates, token: token, previous: request.previousTokens) {
        case .own(let row):
            return begin(row.claim(token: token), &report)
        case .reopen(let row, let keepsCutoff):
            let reopening = HistorySQL.reopen(
                row, token: token, isOurs: request.previousTokens.contains(row.claimedBy), keepsCutoff: keepsCutoff,
                cutoff: comparison.database, history: history)
            if let claim = try await reopen(reopening, token: token, in: session) { return begin(claim, &report) }
            // Another process was faster, and will be seen at the next look.
            report.skip = .held(by: row.claimedBy, lookAgainAfter: history.lease)
        case .ended(let row):
            guard let outcome = Outcome(rawValue: row.status) else {
                throw .database(.unexpectedAnswer("a run that is \(row.status)"))
            }
            report.runID = row.runID
            report.outcome = outcome
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
        return try answers.read(.reopened) { result in try result.rows.first.map { try RunClaim($0, token: token) } }
    }

    /// Closes the run's row as the report says, and corrects the report by the row: the database has counted.
    ///
    /// - Throws: `claimLost` if another process owns the run or has closed it.
    func close(
        _ request: RunRequest, _ report: inout RunReport, in session: DatabaseSession
    ) async throws(RunFailure) {
        guard let token = report.claimToken else { return }
        let script = HistorySQL.finish(
            report.scheduledAt, of: job.name, token: token, outcome: report.outcome, progress: report.progress,
            failure: report.failure, nextAttemptIn: request.waitAfter(report.failure, at: hostClock()), history: history
        )
        let answers = try await session.writeFinally(script)
        let row = try answers.read(.closed) { result in try result.rows.first.map(ClosedRun.init) }
        guard let row, row.outcome != .abandoned else { throw .claimLost }
        report.runID = row.runID
        report.attempts = row.attempts
        report.progress.rowsDeleted = row.rowsDeleted
        report.progress.batches = row.batches
        // The answer to an earlier end was lost: that end counts.
        if row.outcome == .succeeded || row.outcome == .capped {
            report.outcome = row.outcome
            report.failure = nil
        }
    }
}

/// The columns of a run's row that `HistorySQL.finish` shows.
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

extension EarlierRuns {
    /// Reads a row of `HistorySQL.claim` or `HistorySQL.lookBack`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        var success: Success?
        if let at = try row.instantIfPresent("last_success_at") {
            success = Success(at: at, age: .milliseconds(try row.integer("last_success_age_ms")))
        }
        self.init(lastEnd: try row.instantIfPresent("last_end_at"), lastSuccess: success)
    }
}

extension RunClaim {
    /// Reads a row of `HistorySQL.reopen`.
    fileprivate init(_ row: QueryResult.Row, token: String) throws(PostgresError) {
        self.init(
            runID: Int64(try row.integer("run_id")), token: token, cutoff: try row.instant("cutoff_at"),
            attempts: try row.integer("attempts"), rowsDeleted: try row.integer("rows_deleted"),
            batches: try row.integer("batches"))
    }
}
