package import CleanupSchedule

/// How a run ended.
package enum Outcome: String, Hashable, Sendable, CaseIterable {
    case succeeded
    case failed
    case timedOut = "timed_out"
    case canceled
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
