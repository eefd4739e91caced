import CleanupDaemon
import CleanupSchedule
import Monitoring
import SessionCleanup
import Synchronization

/// The metrics of a `--once`, on top of what the file has from earlier ones.
final class OnceMetrics: Sendable {
    private let file: MetricsTextfile
    private let registry = PrometheusRegistry()
    private let metrics: Mutex<RunMetrics>

    init(path: String, jobs: [Job]) {
        file = MetricsTextfile(path: path)
        metrics = Mutex(RunMetrics(jobs: jobs, version: RootCommand.version, factory: registry))
        registry.restore(from: file.previous)
        // After the old text: what depends on the settings is as it is now. No fire time is armed here.
        let now = UTCInstant.now
        record(.started(jobs.map { ($0, $0.isEnabled ? $0.schedule.next(after: now, in: $0.timeZone?.rules) : nil) }))
    }

    /// From any thread.
    func record(_ event: ServiceEvent) { metrics.withLock { $0.record(event, at: .now) } }

    func record(_ report: RunReport) {
        if let time = report.lastSuccessAt { record(.successKnown(job: report.job, at: time)) }
        record(.runConcluded(report))
    }

    func write() throws(CannotWriteMetrics) { try file.write(registry.text) }
}
