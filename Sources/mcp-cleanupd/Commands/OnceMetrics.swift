import CleanupDaemon
import CleanupSchedule
import Monitoring
import SessionCleanup
import Synchronization
import Time

/// The metrics of a `--once`, on top of what the file has from others.
final class OnceMetrics: Sendable {
    private let file: MetricsTextfile
    private let registry = PrometheusRegistry()
    private let metrics: Mutex<RunMetrics>

    init(path: String, jobs: [Job]) {
        file = MetricsTextfile(path: path)
        metrics = Mutex(RunMetrics(jobs: jobs, version: RootCommand.version, factory: registry))
        // What depends on the settings. No fire time is armed here.
        let now = UTCInstant.now
        record(.started(jobs.map { ($0, $0.isEnabled ? $0.schedule.next(after: now, in: $0.timeZone?.rules) : nil) }))
    }

    /// From any thread.
    func record(_ event: ServiceEvent) { metrics.withLock { $0.record(event, at: .now) } }

    func record(_ report: RunReport) {
        if let earlier = report.earlierRuns { record(.earlierRunsKnown(job: report.job, earlier)) }
        record(.runConcluded(report))
    }

    /// From any thread.
    func recordNotifyFailure() { metrics.withLock { $0.recordNotifyFailure() } }

    /// Once: what the file has is added to ours.
    func write() throws(CannotWriteMetrics) {
        try file.update { previous in
            registry.merge(previous, at: .now)
            return registry.text
        }
    }
}
