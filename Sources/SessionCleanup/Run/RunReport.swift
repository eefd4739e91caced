package import Time

/// How a run ended.
package enum Outcome: String, Hashable, Sendable, CaseIterable {
    case succeeded
    case failed
    case timedOut = "timed_out"
    /// Ended at the job's `max-rows`; the next run goes on.
    case capped
    case canceled
    /// Its owner was silent for longer than its lease, and another process closed or took the run.
    case abandoned
    /// No run took place: see `RunReport.Skip`.
    case skipped

    init(_ failure: RunFailure) {
        if case .claimLost = failure {
            self = .abandoned
        } else if failure.kind == .canceled {
            self = .canceled
        } else {
            self = failure.isTimeout ? .timedOut : .failed
        }
    }
}

/// What one run did.
package struct RunReport: Sendable {
    package let job: String
    package var outcome: Outcome
    /// The fire time, or, for `--once`, when the run was asked for.
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
    /// Why there was no run; with the outcome `skipped`, and only then.
    package var skip: Skip?
    /// The run's row in the history; `nil` where there is none.
    package var runID: Int64?
    /// What this run's attempts in this process own it by, or tried to, one each at the most: an answer that was lost leaves
    /// it open which of them the run's row has. Empty where there is no history, or no run.
    package var claimTokens: [String] = []
    package var claimToken: String? { claimTokens.last }
    /// The end that the run's row has, by the database's clock; `nil` where there is none.
    package var recordedEnd: UTCInstant?
    /// What the history knew of the job when this attempt began; `nil` where it was not asked.
    package var earlierRuns: EarlierRuns?
    /// From the start of the run to that of its last attempt in this process.
    package var untilLastAttempt = Duration.zero
    /// How far the database's clock is ahead of the host's; negative when it is behind, `nil` when it was not read.
    package var clockSkew: Duration?
    /// The run found nothing, and until this instant its job may let fire times pass.
    package var restsUntil: UTCInstant?
    /// For how long the oldest row that was due at the cutoff had been due; `nil` when there was none.
    package var oldestOverdue: Duration?

    /// How long the last attempt took, without those before it and the waits between them.
    package var lastAttemptDuration: Duration { finishedAt - startedAt - untilLastAttempt }

    /// Why no run took place.
    package enum Skip: Hashable, Sendable, CustomStringConvertible {
        /// Another process has a run of the job; it counts as dead after this time without a heartbeat.
        case held(by: String, lookAgainAfter: Duration)
        /// The fire time was answered before.
        case answered

        package var description: String {
            switch self {
            case .held(let owner, _): "\(owner) is at a run of the job; there is none here"
            case .answered: "the fire time was answered before"
            }
        }
    }

    /// This attempt's report, with what the run's earlier attempts did where no history has counted it.
    package func following(_ earlier: RunReport) -> RunReport {
        var report = self
        report.startedAt = earlier.startedAt
        report.untilLastAttempt = startedAt - earlier.startedAt
        report.cutoff = cutoff ?? earlier.cutoff
        report.runID = runID ?? earlier.runID
        report.claimTokens = earlier.claimTokens + claimTokens
        guard runID == nil else { return report }
        report.attempts = earlier.attempts + attempts
        report.progress.rowsDeleted += earlier.progress.rowsDeleted
        report.progress.batches += earlier.progress.batches
        return report
    }
}

/// What the history knows of a job's runs that have ended, whichever process made them.
package struct EarlierRuns: Hashable, Sendable {
    /// When the last of them ended, by the database's clock.
    package var lastEnd: UTCInstant?
    /// The last that did all that it was allowed to.
    package var lastSuccess: Success?
    var asOf = ContinuousClock.now

    package struct Success: Hashable, Sendable {
        /// By the database's clock.
        package let at: UTCInstant
        /// How long ago that was, by the database's clock too: no host's clock that is wrong makes it young.
        package var age: Duration
    }

    /// Lets ages grow by the time that has passed since they were read.
    mutating func grow(to now: ContinuousClock.Instant = .now) {
        lastSuccess?.age += asOf.duration(to: now)
        asOf = now
    }
}

/// How far a run has come.
package struct RunProgress: Hashable, Sendable {
    /// Rows deleted in committed batches.
    package var rowsDeleted = 0
    /// Due rows that another transaction had locked when this run looked last.
    package var rowsSkipped = 0
    /// Due rows that the database would not delete: a foreign key, or a trigger that raises or vetoes.
    package var rowsRefused = 0
    package var batches = 0
    /// Due rows found so far.
    package var rowsFound = 0
    /// Whether `rowsFound` is all there is to find.
    package var isSearchComplete = false
}
