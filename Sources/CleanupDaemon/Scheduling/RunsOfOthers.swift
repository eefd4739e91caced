import SessionCleanup
import Synchronization
import Time

/// Detects that the history has runs of a job that this process has not seen, since another process made them.
final class RunsOfOthers: Sendable {
    /// By job name: the recorded end of the last run that this process knows, if any; and when the runs were read.
    private let known = Mutex<[String: (lastEnd: UTCInstant?, readAt: ContinuousClock.Instant)]>([:])

    /// The shortest time between two reads of a job's runs, which may come every second: a read covers those of a day.
    private static let shortestPause = Duration.seconds(60)

    /// True if the job's recent runs are to be read after this attempt. A process that is alone needs no read after its
    /// first: the claim returns the end of the last run, which is the process's own.
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
