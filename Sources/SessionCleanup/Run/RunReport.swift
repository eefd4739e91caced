import Postgres
package import Time

/// A run to make, or to resume.
package struct RunRequest: Sendable {
    /// The fire time, or, for `--once`, the instant at which the run was asked for.
    package var scheduledAt: UTCInstant
    package var origin: RunOrigin
    /// `RunReport.claimTokens` of the attempts before this one, in this process.
    package var previousTokens: [String]
    /// Rows that the attempts before this one deleted, where no history has counted them: `max-rows` is per run.
    package var rowsDeletedBefore: Int
    /// The wait before the next attempt if this one fails for a transient cause, and the instant, by the host's clock,
    /// from which no attempt begins; nil where none follows. It may join another job's retry at about that time.
    package var retry: (delay: Duration, end: UTCInstant)?

    package init(
        scheduledAt: UTCInstant, origin: RunOrigin, previousTokens: [String] = [], rowsDeletedBefore: Int = 0,
        retry: (delay: Duration, end: UTCInstant)? = nil
    ) {
        self.scheduledAt = scheduledAt
        self.origin = origin
        self.previousTokens = previousTokens
        self.rowsDeletedBefore = rowsDeletedBefore
        self.retry = retry
    }

    /// Returns the wait until the next attempt, for the run's row; nil where none follows.
    func waitAfter(_ failure: RunFailure?, at now: UTCInstant) -> Duration? {
        guard let failure, failure.mayPass, let retry, now + retry.delay < retry.end else { return nil }
        return retry.delay
    }
}

/// How a run ended.
package enum Outcome: String, Hashable, Sendable, CaseIterable {
    case succeeded
    case failed
    case timedOut = "timed_out"
    /// Ended at the job's `max-rows`; the next run goes on.
    case capped
    case canceled
    /// Its owner renewed no heartbeat within the lease, and another process closed the row or took the run over.
    case abandoned
    /// No run took place: see `RunReport.Skip`.
    case skipped

    init(_ failure: RunFailure) {
        switch failure {
        case .claimLost: self = .abandoned
        case .deadlinePassed, .database(.timedOut): self = .timedOut
        default: self = failure.kind == .canceled ? .canceled : .failed
        }
    }
}

/// What a run did.
package struct RunReport: Sendable {
    package let job: String
    package var outcome: Outcome
    /// The request's `scheduledAt`.
    package var scheduledAt: UTCInstant
    /// By the host's clock.
    package var startedAt: UTCInstant
    package var finishedAt: UTCInstant
    /// By the database's clock; `nil` when the run did not get that far.
    package var cutoff: UTCInstant?
    /// With history, the sum of the run's attempts by all processes.
    package var progress = RunProgress()
    package var attempts = 1
    package var failure: RunFailure?
    /// Why there was no run; `nil` unless the outcome is `skipped`.
    package var skip: Skip?
    /// The run's row in the history; `nil` where there is none.
    package var runID: Int64?
    /// The claim tokens of this run's attempts in this process, those whose claim got no answer included. Empty where
    /// there is no history, or no run.
    package var claimTokens: [String] = []
    package var claimToken: String? { claimTokens.last }
    /// The `finished_at` of the run's row, by the database's clock; `nil` where there is none.
    package var recordedEnd: UTCInstant?
    /// What the history knew of the job when this attempt began, if it was asked.
    package var earlierRuns: EarlierRuns?
    /// From the start of the run to that of its last attempt in this process.
    package var untilLastAttempt = Duration.zero
    /// How far the database's clock is ahead of the host's, if it was read.
    package var clockSkew: Duration?
    /// The instant until which the job may skip fire times; `nil` unless the run found nothing.
    package var restsUntil: UTCInstant?
    /// The time for which the oldest due row had been due at the cutoff; `nil` if none was found or that is not known.
    package var oldestOverdue: Duration?

    /// How long the last attempt took, without those before it and the waits between them.
    package var lastAttemptDuration: Duration { finishedAt - startedAt - untilLastAttempt }

    /// Why no run took place.
    package enum Skip: Hashable, Sendable, CustomStringConvertible {
        /// Another process has a run of the job, or waits to retry one. Its row is looked at again after this time.
        case held(by: String, lookAgainAfter: Duration)
        case answered

        package var description: String {
            switch self {
            case .held(let owner, _): "\(owner) is at a run of the job; there is none here"
            case .answered: "the fire time was answered before"
            }
        }
    }

    /// A run may have attempts for months. The row has the token of the last claim that the server took, so an older one
    /// than these counts only where as many answers in a row were lost.
    private static let mostClaimTokens = 16

    /// Returns this attempt's report; where no history has counted them, with what the run's earlier attempts did.
    package func following(_ earlier: RunReport) -> RunReport {
        var report = self
        // One that only looked at another process's run began nothing.
        let tries = earlier.attempts - (earlier.skip == nil ? 0 : 1)
        if tries > 0 {
            report.startedAt = earlier.startedAt
            report.untilLastAttempt = startedAt - earlier.startedAt
        }
        report.cutoff = cutoff ?? earlier.cutoff
        report.runID = runID ?? earlier.runID
        report.claimTokens = (earlier.claimTokens + claimTokens).suffix(Self.mostClaimTokens)
        guard runID == nil else { return report }
        report.attempts = tries + attempts
        report.progress.rowsDeleted += earlier.progress.rowsDeleted
        report.progress.batches += earlier.progress.batches
        return report
    }
}

/// The ends of a job's earlier runs as the history has them, by any process.
package struct EarlierRuns: Hashable, Sendable {
    /// When the last of them ended, by the database's clock.
    package var lastEnd: UTCInstant?
    /// The last run that did all that it was allowed to: it succeeded or was capped.
    package var lastSuccess: Success?

    package struct Success: Hashable, Sendable {
        /// By the database's clock.
        package let at: UTCInstant
        /// The time since then, by the database's clock too: a host's wrong clock cannot make it shorter.
        package var age: Duration
    }
}

extension EarlierRuns {
    /// Reads a row of `HistorySQL.lookBack`, or the one that `HistorySQL.claim` names `earlierRuns`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        lastEnd = try row.instantIfPresent("last_end_at")
        if let at = try row.instantIfPresent("last_success_at") {
            lastSuccess = Success(at: at, age: .milliseconds(try row.integer("last_success_age_ms")))
        }
    }
}

/// How far a run has come.
package struct RunProgress: Hashable, Sendable {
    /// Rows deleted in committed batches.
    package var rowsDeleted = 0
    /// Due rows that another transaction had locked, or was moving, when this run looked last.
    package var rowsSkipped = 0
    /// Due rows that the database would not delete: a foreign key, or a trigger that raises or vetoes.
    package var rowsRefused = 0
    package var batches = 0
    /// Due rows found so far.
    package var rowsFound = 0
    /// True once `rowsFound` counts all that there is to find.
    package var isSearchComplete = false
}
