import SessionCleanup
import Synchronization
import Time

/// Tells when the history has runs of a job that this process has not seen: another process made them.
final class RunsOfOthers: Sendable {
    /// By job: the end of the last run that this process knows, as its row has it, if known; and when it was read.
    private let known = Mutex<[String: (lastEnd: UTCInstant?, readAt: ContinuousClock.Instant)]>([:])

    /// The shortest time between two reads for a job that runs every second: a read looks at its runs of a day.
    private static let shortestPause = Duration.seconds(60)

    /// True if the job's recent runs are to be read after this attempt. Costs nothing in a process that is alone: its claim has
    /// read when the last run ended, and that was its own.
    func areUnknown(after report: RunReport, now: ContinuousClock.Instant = .now) -> Bool {
        guard let earlier = report.earlierRuns else { return false }
        return known.withLock { known in
            guard let job = known[report.job] else { return true }
            guard let lastEnd = job.lastEnd, lastEnd == earlier.lastEnd else {
                return now - job.readAt >= Self.shortestPause
            }
            if report.outcome != .skipped { known[report.job]?.lastEnd = report.recordedEnd }
            return false
        }
    }

    func became(_ runs: RecentRuns, of job: String, now: ContinuousClock.Instant = .now) {
        known.withLock { $0[job] = (runs.lastEnd, now) }
    }
}
