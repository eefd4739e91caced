import CleanupSchedule
package import Logging
import Postgres
import SessionCleanup

/// What an operator reads about the service: one line for each run that did or failed something.
package struct ServiceLog: Sendable {
    private let logger: Logger

    package init(logger: Logger) { self.logger = logger }

    package func write(_ event: ServiceEvent) {
        switch event {
        case .clockWasSet(let now):
            logger.notice("The clock was set, or the machine slept; it says \(now).")
        case .fireTimeArmed(let job, let fireTime):
            logger.debug("\(fireTime.map { "next at \($0)" } ?? "disabled")", metadata: ["job": "\(job)"])
        case .attemptFailed(let report, let delay):
            guard let failure = report.failure else { return }
            logger.warning("\(failure); another attempt in \(delay.inSeconds)", metadata: ["job": "\(report.job)"])
        case .runConcluded(let report):
            write(report)
        case .fireTimeCoalesced(let job, let fireTime):
            logger.notice(
                "The fire time \(fireTime) came while the job was running; it gets a run of its own only if that fails.",
                metadata: ["job": "\(job)"])
        case .fireTimesMissed(let job, let count):
            logger.notice(
                "\(count) fire \(count == 1 ? "time was" : "times were") missed.", metadata: ["job": "\(job)"])
        case .fireTimesPassedOver(let job, let count, let until):
            logger.info(
                "Nothing is due, nor will be soon: \(count) fire \(count == 1 ? "time passes" : "times pass") until \(until).",
                metadata: ["job": "\(job)"])
        case .started(let jobs): write(jobs)
        case .reloading: logger.debug("Reading the configuration again.")
        case .reloaded(let jobs, let waiting):
            logger.notice("The configuration was read again and is in force.")
            write(jobs)
            if !waiting.isEmpty {
                logger.warning("Changed, and in force only after a restart: \(waiting.joined(separator: ", ")).")
            }
        case .reloadFailed(let why):
            logger.error(
                "The configuration was read again and is wrong; the old one stays in force:\n\(why)",
                metadata: ["hint": "mcp-cleanupd config checks a file before a reload."])
        case .stopping: logger.info("Stopping.")
        case .attemptStarted, .connected, .connectFailed, .batchEnded, .successKnown, .nothingMissed: break
        }
    }

    private func write(_ jobs: [(job: Job, nextFireTime: UTCInstant?)]) {
        for (job, fireTime) in jobs {
            logger.info("\(job.name): \(job.schedule), \(fireTime.map { "next at \($0)" } ?? "disabled")")
        }
    }

    private func write(_ report: RunReport) {
        var metadata: Logger.Metadata = [
            "job": "\(report.job)", "outcome": "\(report.outcome.rawValue)", "fire_time": "\(report.scheduledAt)",
            "rows_deleted": "\(report.progress.rowsDeleted)", "rows_skipped": "\(report.progress.rowsSkipped)",
            "batches": "\(report.progress.batches)", "attempts": "\(report.attempts)",
        ]
        if let skip = report.skip {
            logger.debug("\(skip)", metadata: metadata)
        } else if let failure = report.failure {
            if let hint = failure.hint { metadata["hint"] = "\(hint)" }
            let level: Logger.Level = report.outcome == .canceled ? .info : .error
            logger.log(level: level, "\(failure)", metadata: metadata)
        } else {
            let level: Logger.Level = report.progress.rowsDeleted + report.progress.rowsSkipped > 0 ? .info : .debug
            let duration = (report.finishedAt - report.startedAt).inSeconds
            logger.log(
                level: level, "Removed \(report.progress.rowsDeleted) rows in \(duration).", metadata: metadata)
        }
    }
}
