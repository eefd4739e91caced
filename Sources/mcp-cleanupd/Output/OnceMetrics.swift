import CleanupDaemon
import Monitoring
import SessionCleanup
import Time

/// The metrics of a `--once`, added to those that its file has from other processes.
final class OnceMetrics: Sendable {
    private let file: MetricsTextfile
    private let service: ServiceRecord

    init(path: String, jobs: [Job]) {
        file = MetricsTextfile(path: path)
        service = ServiceRecord(jobs: jobs, version: RootCommand.version)
    }

    /// From any thread.
    func record(_ event: ServiceEvent) { service.record(event) }

    func record(_ report: RunReport) {
        if let earlier = report.earlierRuns { record(.earlierRunsKnown(job: report.job, earlier)) }
        record(.runConcluded(report))
    }

    /// From any thread.
    func recordNotifyFailure() { service.recordNotifyFailure() }

    /// Adds what the file has, and replaces it. Call it once. The families about the process are left out: they would be the
    /// collector's own, twice.
    func write() throws(CannotWriteMetrics) {
        try file.update { previous in
            var metrics = service.metrics(process: nil)
            metrics.merge(previous, at: .now)
            return metrics.text
        }
    }
}
