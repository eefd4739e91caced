import CleanupSchedule
package import Logging
import Postgres
import SessionCleanup
import Synchronization
import Time

/// What an operator reads about the service: one line for each run that did or failed something. A failure that repeats
/// itself is written when it begins, at growing intervals, and when it ends; the rest of it is for debugging.
package final class ServiceLog: Sendable {
    private let logger: Logger
    /// By the job's name.
    private let failures = Mutex<[String: RepeatedFailures]>([:])
    /// The end of the last attempt that another one was to follow, by the job's name.
    private let announced = Mutex<[String: UTCInstant]>([:])

    package init(logger: Logger) { self.logger = logger }

    /// Blocks only where the log itself does. From any thread.
    package func write(_ event: ServiceEvent) {
        switch event {
        case .clockWasSet(let now):
            logger.notice(
                "The clock was set, or the machine slept; it says \(now).", metadata: MessageID.clockWasSet.with([:]))
        case .fireTimeArmed(let job, let fireTime):
            logger.debug("\(fireTime.map { "next at \($0)" } ?? "disabled")", metadata: ["job": "\(job)"])
        case .attemptFailed(let report, let delay):
            guard let failure = report.failure else { return }
            announced.withLock { $0[report.job] = report.finishedAt }
            write(
                failure, of: report, "; another attempt in \(delay.secondsText)", at: .warning,
                MessageID.attemptFailed.with([:]))
        case .runHeldElsewhere(let report, let delay):
            guard let skip = report.skip else { return }
            logger.debug("\(skip); another look in \(delay.secondsText)", metadata: ["job": "\(report.job)"])
        case .runConcluded(let report):
            write(report)
        case .fireTimeCoalesced(let job, let fireTime):
            logger.notice(
                "The fire time \(fireTime) came while the job was running; it gets a run of its own only if that one fails and may be repeated.",
                metadata: ["job": "\(job)"])
        case .fireTimesMissed(let job, let count):
            logger.notice(
                "\(count) fire \(count == 1 ? "time was" : "times were") missed.",
                metadata: MessageID.fireTimesMissed.with(["job": "\(job)"]))
        case .fireTimesPassedOver(let job, let count, let until):
            logger.info(
                "Nothing is due, nor will be soon: \(count) fire \(count == 1 ? "time passes" : "times pass") until \(until).",
                metadata: ["job": "\(job)"])
        case .started(let jobs): write(jobs)
        case .reloading: logger.debug("Reading the configuration again.")
        case .reloaded(let jobs, let waiting):
            logger.notice(
                "The configuration was read again and is in force.", metadata: MessageID.reloaded.with([:]))
            write(jobs)
            if !waiting.isEmpty {
                logger.warning("Changed, and in force only after a restart: \(waiting.joined(separator: ", ")).")
            }
        case .reloadFailed(let why):
            logger.error(
                "The configuration was read again and is wrong; the old one stays in force:\n\(why)",
                metadata: MessageID.reloadFailed.with(["hint": "mcp-cleanupd config checks a file before a reload."]))
        case .stopping: logger.info("Stopping.")
        case .lookBackFailed(let failure):
            var metadata: Logger.Metadata = [:]
            if let hint = failure.hint { metadata["hint"] = "\(hint)" }
            logger.warning(
                "\(failure); missed fire times are not known yet, and the history is read again",
                metadata: metadata)
        case .attemptStarted, .connected, .connectFailed, .batchEnded, .earlierRunsKnown, .foundWell: break
        }
    }

    private func write(_ jobs: [(job: Job, nextFireTime: UTCInstant?)]) {
        for (job, fireTime) in jobs {
            logger.info("\(job.name): \(job.schedule), \(fireTime.map { "next at \($0)" } ?? "disabled")")
        }
    }

    private func write(_ report: RunReport) {
        let duration = report.finishedAt - report.startedAt
        var metadata: Logger.Metadata = [
            "job": "\(report.job)", "outcome": "\(report.outcome.rawValue)", "fire_time": "\(report.scheduledAt)",
            "rows_deleted": "\(report.progress.rowsDeleted)", "rows_skipped": "\(report.progress.rowsSkipped)",
            "batches": "\(report.progress.batches)", "attempts": "\(report.attempts)",
            "duration_usec": "\(duration.microseconds)",
        ]
        if let runID = report.runID { metadata["run_id"] = "\(runID)" }
        if let skip = report.skip {
            logger.debug("\(skip)", metadata: metadata)
            return
        }
        if let failure = report.failure {
            if report.outcome == .canceled {
                logger.info("\(failure)", metadata: metadata)
            } else {
                write(failure, of: report, "", at: .error, MessageID.runFailed.with(metadata))
            }
            return
        }
        if let end = failures.withLock({ $0[report.job]?.runWentWell() }) {
            logger.notice(
                "The job succeeds again, after \(end.attempts) failed \(end.attempts == 1 ? "attempt" : "attempts") since \(end.since).",
                metadata: MessageID.failureEnded.with(["job": "\(report.job)"]))
        }
        let level: Logger.Level = report.progress.rowsDeleted + report.progress.rowsSkipped > 0 ? .info : .debug
        logger.log(
            level: level, "Removed \(report.progress.rowsDeleted) rows in \(duration.secondsText).",
            metadata: MessageID.runEnded.with(metadata))
    }

    private func write(
        _ failure: RunFailure, of report: RunReport, _ whatFollows: String, at level: Logger.Level,
        _ metadata: Logger.Metadata
    ) {
        var metadata = metadata
        metadata["job"] = "\(report.job)"
        if let hint = failure.hint { metadata["hint"] = "\(hint)" }
        // A run that is concluded while it waits for another attempt tells its last attempt again.
        let wasCounted = whatFollows.isEmpty && announced.withLock { $0[report.job] } == report.finishedAt
        let verdict = failures.withLock {
            $0[report.job, default: RepeatedFailures()].attemptFailed(
                cause: "\(failure)", at: report.finishedAt, wasLast: whatFollows.isEmpty, wasCounted: wasCounted)
        }
        switch verdict {
        case .begins:
            logger.log(level: level, "\(failure)\(whatFollows)", metadata: metadata)
        case .goesOn(let attempts, let since):
            logger.log(
                level: level, "\(failure)\(whatFollows); \(attempts) attempts have failed since \(since)",
                metadata: metadata)
        case .isKnown:
            logger.debug("\(failure)\(whatFollows)", metadata: metadata)
        }
    }
}

extension Duration {
    fileprivate var microseconds: Int64 {
        components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    }
}
