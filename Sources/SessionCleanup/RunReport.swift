package import CleanupSchedule

/// How a run ended.
package enum Outcome: String, Hashable, Sendable, CaseIterable {
    case succeeded
    case failed
    case timedOut = "timed_out"
    /// Ended at the job's `max-rows`; the next run goes on.
    case capped
    case canceled
    /// Its owner died and nobody finished it.
    case abandoned
    /// No run took place: another process holds it, or has answered the fire time.
    case skipped
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
    package var progress: RunProgress
    package var attempts: Int
    package var failure: RunFailure?
    /// The run's row in the history; `nil` where there is none.
    package var runID: Int64?
    /// The job's last success that the history knew of when this run began, whichever process had it.
    package var lastSuccessAt: UTCInstant?
    /// How far the database's clock is ahead of the host's; negative when it is behind, `nil` when it was not read.
    package var clockSkew: Duration?
    /// For how long the oldest row that was due at the cutoff had been due; `nil` when there was none.
    package var oldestOverdue: Duration?

    /// This attempt's report, with what the run's earlier attempts did.
    package func following(_ earlier: RunReport) -> RunReport {
        var report = self
        report.startedAt = earlier.startedAt
        report.attempts = earlier.attempts + attempts
        report.progress.rowsDeleted += earlier.progress.rowsDeleted
        report.progress.batches += earlier.progress.batches
        report.cutoff = cutoff ?? earlier.cutoff
        return report
    }
}

/// How far a run has come.
package struct RunProgress: Hashable, Sendable {
    /// Rows deleted in committed batches.
    package var rowsDeleted = 0
    /// Due rows that another transaction held, at the last time that this run looked.
    package var rowsSkipped = 0
    package var batches = 0
    /// Due rows found so far.
    package var rowsFound = 0
    /// Whether `rowsFound` is all there is to find.
    package var isSearchComplete = false
}

/// Whether runs are recorded, and claimed, in `mcp_cleanup.runs`.
package enum HistoryMode: String, Hashable, Sendable, CaseIterable {
    /// Where the table is there at start.
    case auto
    /// Always: without the table a run fails.
    case required
    /// Never.
    case off
}
