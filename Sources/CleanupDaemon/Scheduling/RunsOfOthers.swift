import SessionCleanup
import Synchronization
import Time

/// Tells when the history has runs of a job that this process has not seen: another process made them.
final class RunsOfOthers: Sendable {
    private struct Known {
        /// The end of the last run that this process knows, as its row has it; `nil` where that is not known.
        var lastEnd: UTCInstant?
        var readAt: ContinuousClock.Instant?
    }

    private let known = Mutex<[String: Known]>([:])

    /// The shortest time between two reads for a job that runs every second: a read looks at its runs of a day.
    private static let shortestPause = Duration.seconds(60)

    /// True if the job's recent runs are to be read after this attempt. Costs nothing in a process that is alone: its claim has
    /// read when the last run ended, and that was its own.
    func areUnknown(after report: RunReport, now: ContinuousClock.Instant = .now) -> Bool {
        guard let earlier = report.earlierRuns else { return false }
        return known.withLock { known in
            let job = known[report.job]
            if let lastEnd = job?.lastEnd, lastEnd == earlier.lastEnd {
                if report.outcome != .skipped { known[report.job]?.lastEnd = report.recordedEnd }
                return false
            }
            return job?.readAt.map { now - $0 >= Self.shortestPause } ?? true
        }
    }

    /// They were read.
    func became(_ runs: RecentRuns, of job: String, now: ContinuousClock.Instant = .now) {
        known.withLock { $0[job] = Known(lastEnd: runs.lastEnd, readAt: now) }
    }
}
