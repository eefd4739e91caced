import CleanupDaemon
import CleanupSchedule
import Monitoring
import SessionCleanup

/// The metrics of a `--once`, on top of what the file has from earlier ones.
struct OnceMetrics {
    private let file: MetricsTextfile
    private let registry = PrometheusRegistry()
    private var metrics: RunMetrics

    init(path: String, jobs: [Job]) {
        file = MetricsTextfile(path: path)
        metrics = RunMetrics(jobs: jobs, version: RootCommand.version, factory: registry)
        registry.restore(from: file.previous)
        // After the old text: what depends on the settings is as it is now. No fire time is armed here.
        let now = UTCInstant.now
        metrics.record(
            .started(jobs.map { ($0, $0.isEnabled ? $0.schedule.next(after: now, in: $0.timeZone?.rules) : nil) }),
            at: now)
    }

    mutating func record(_ report: RunReport) { metrics.record(.runConcluded(report), at: .now) }

    func write() throws(CannotWriteMetrics) { try file.write(registry.text) }
}
