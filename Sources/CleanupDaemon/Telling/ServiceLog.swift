import CleanupSchedule
package import Logging
import Postgres
import SessionCleanup
import Synchronization
import Time

/// Writes the service's log: one message for each run that did or failed something.
///
/// A message says by itself which job it is about, what happened and what to do; its metadata repeats the facts for machines,
/// numbers as numbers. A failure that repeats itself is written when it begins, at growing intervals, and when it ends; the
/// rest of it is at level debug.
package final class ServiceLog: Sendable {
    private let logger: Logger
    private let failures = Mutex<[Subject: RepeatedFailures]>([:])
    /// The end of the last attempt that another one was to follow, by the job's name.
    private let announced = Mutex<[String: UTCInstant]>([:])

    /// What fails. A database that cannot be connected to is one subject for all jobs.
    private enum Subject: Hashable {
        case job(String)
        case connecting
    }

    package init(logger: Logger) { self.logger = logger }

    /// Blocks only where the log itself does. From any thread.
    package func record(_ event: ServiceEvent) {
        switch event {
        case .clockWasSet(let now):
            logger.notice(
                "The clock was set, or the machine slept; it is \(now) now.", metadata: MessageID.clockWasSet.with([:]))
        case .fireTimeArmed(let job, let fireTime):
            logger.debug(
                "\(Self.named(job)): \(fireTime.map { "next at \($0)" } ?? "disabled")", metadata: ["job": "\(job)"]
            )
        case .attemptFailed(let report, let delay):
            guard let failure = report.failure else { return }
            announced.withLock { $0[report.job] = report.finishedAt }
            write(failure, of: report, retryingAfter: delay, at: .warning, MessageID.attemptFailed.with([:]))
        case .runHeldElsewhere(let report, let delay):
            guard let skip = report.skip else { return }
            logger.debug(
                "\(Self.named(report.job)): \(skip); looking again in \(delay.secondsText)",
                metadata: ["job": "\(report.job)"])
        case .runConcluded(let report): write(report)
        case .fireTimeCoalesced(let job, let fireTime):
            logger.notice(
                "\(Self.named(job)): still running at the scheduled time \(fireTime), which gets a run of its own only if this one fails.",
                metadata: ["job": "\(job)"])
        case .fireTimesMissed(let job, let count):
            logger.notice(
                "\(Self.named(job)): missed \(count) scheduled \(count == 1 ? "run" : "runs").",
                metadata: MessageID.fireTimesMissed.with(["job": "\(job)", "count": .stringConvertible(count)]))
        case .fireTimesPassedOver(let job, let count, let until):
            logger.info(
                "\(Self.named(job)): nothing is due before \(until); \(count) scheduled \(count == 1 ? "run is" : "runs are") left out.",
                metadata: ["job": "\(job)", "count": .stringConvertible(count)])
        case .started(let jobs): write(jobs)
        case .reloading: logger.debug("Reading the configuration again.")
        case .reloaded(let jobs, let waiting):
            logger.notice("Reloaded the configuration.", metadata: MessageID.reloaded.with([:]))
            write(jobs)
            if !waiting.isEmpty {
                logger.warning("These changes need a restart: \(waiting.joined(separator: ", ")).")
            }
        case .reloadFailed(let why):
            let hint = "Correct the file, check it with mcp-cleanupd config, and reload."
            logger.error(
                "Reload failed: invalid configuration; keeping the previous one. \(hint)\n\(why)",
                metadata: MessageID.reloadFailed.with(["hint": "\(hint)"]))
        case .stopping: logger.info("Stopping.")
        case .lookBackFailed(let failure):
            var metadata: Logger.Metadata = [:]
            if let hint = failure.hint { metadata["hint"] = "\(hint)" }
            logger.warning(
                "\(failure); missed fire times are not known yet, and the history is read again", metadata: metadata)
        case .attemptStarted, .databaseNamed, .connected, .connectFailed, .batchEnded, .earlierRunsKnown,
            .recentRunsKnown,
            .foundWell:
            break
        }
    }

    private func write(_ jobs: [(job: Job, nextFireTime: UTCInstant?)]) {
        for (job, fireTime) in jobs {
            logger.info(
                "\(job.displayName): \(job.schedule), \(fireTime.map { "next at \($0)" } ?? "disabled")",
                metadata: ["job": "\(job.name)"])
        }
    }

    private func write(_ report: RunReport) {
        let (duration, progress) = (report.finishedAt - report.startedAt, report.progress)
        var metadata: Logger.Metadata = [
            "job": "\(report.job)", "outcome": "\(report.outcome.rawValue)", "fire_time": "\(report.scheduledAt)",
            "rows_deleted": .stringConvertible(progress.rowsDeleted),
            "rows_skipped": .stringConvertible(progress.rowsSkipped),
            "rows_refused": .stringConvertible(progress.rowsRefused),
            "batches": .stringConvertible(progress.batches), "attempts": .stringConvertible(report.attempts),
            "duration_usec": .stringConvertible(duration.microseconds),
        ]
        if let runID = report.runID { metadata["run_id"] = .stringConvertible(runID) }
        let name = Self.named(report.job)
        if let skip = report.skip {
            logger.debug("\(name): \(skip)", metadata: metadata)
            return
        }
        if let failure = report.failure {
            if report.outcome == .canceled {
                logger.info("\(name): \(failure); \(Self.removed(progress, by: report.job))", metadata: metadata)
            } else {
                write(failure, of: report, retryingAfter: nil, at: .error, MessageID.runFailed.with(metadata))
            }
            return
        }
        for subject in [Subject.job(report.job), .connecting] {
            guard let end = failures.withLock({ $0[subject]?.runWentWell() }) else { continue }
            let what = subject == .connecting ? "The database can be reached again" : "\(name): succeeds again"
            logger.notice(
                "\(what), after \(end.attempts) failed \(end.attempts == 1 ? "attempt" : "attempts") since \(end.since).",
                metadata: MessageID.failureEnded.with([
                    "job": "\(report.job)", "attempts": .stringConvertible(end.attempts),
                ]))
        }
        let level: Logger.Level =
            progress.rowsDeleted + progress.rowsSkipped + progress.rowsRefused > 0 ? .info : .debug
        let left = report.outcome == .capped ? "; more is due: the limit of a run is reached" : ""
        logger.log(
            level: level, "\(name): \(Self.removed(progress, by: report.job)) in \(duration.secondsText)\(left)",
            metadata: MessageID.runEnded.with(metadata))
    }

    /// - Parameter delay: `nil` where no attempt of the run follows.
    private func write(
        _ failure: RunFailure, of report: RunReport, retryingAfter delay: Duration?, at level: Logger.Level,
        _ metadata: Logger.Metadata
    ) {
        var metadata = metadata
        metadata["job"] = "\(report.job)"
        if let hint = failure.hint { metadata["hint"] = "\(hint)" }
        // A run that is concluded while it waits for another attempt tells its last attempt again.
        let wasCounted = delay == nil && announced.withLock { $0[report.job] } == report.finishedAt
        let subject = failure.isOfConnecting ? Subject.connecting : .job(report.job)
        let verdict = failures.withLock {
            $0[subject, default: RepeatedFailures()].attemptFailed(
                cause: "\(failure)", at: report.finishedAt, wasLast: delay == nil, wasCounted: wasCounted)
        }
        var text = "\(Self.named(report.job)): \(failure)"
        let rows = report.progress
        if rows.rowsDeleted > 0 { text += "; \(Self.removed(rows, by: report.job)) before" }
        if let delay { text += "; retrying in \(delay.secondsText)" }
        if case .goesOn(let attempts, let since) = verdict {
            text += "; \(attempts) attempts have failed since \(since)"
        }
        if let hint = failure.hint { text += "\(text.sentenceEnd) \(hint)" }
        logger.log(level: verdict == .isKnown ? .debug : level, "\(text)", metadata: metadata)
    }

    // MARK: Words

    /// A built-in job's short name, which operators know; another job's own.
    private static func named(_ job: String) -> String { builtIn(job)?.displayName ?? job }

    private static func builtIn(_ job: String) -> Job? {
        [Job.transientSessions, .dormantSessions()].first { $0.name == job }
    }

    /// `removed 1,200 expired sessions, skipped 7 locked by others`; rows where the job is one of the operator's own.
    private static func removed(_ progress: RunProgress, by job: String) -> String {
        let rows = progress.rowsDeleted
        let noun = builtIn(job) == nil ? "row" : "expired session"
        var text = "removed \(rows.groupedText) \(noun)\(rows == 1 ? "" : "s")"
        if progress.rowsSkipped > 0 { text += ", skipped \(progress.rowsSkipped.groupedText) locked by others" }
        if progress.rowsRefused > 0 { text += ", the database refused to delete \(progress.rowsRefused.groupedText)" }
        return text
    }
}

extension RunFailure {
    /// True if no connection was opened, which hits every job alike.
    fileprivate var isOfConnecting: Bool {
        switch self {
        case .databaseURL, .database(.invalidParameters), .database(.unreachable), .database(.server(_, .connecting)),
            .database(.timedOut(.connecting, _)), .database(.connectionLost(.connecting, _)):
            true
        default: false
        }
    }
}

extension Duration {
    fileprivate var microseconds: Int64 {
        components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    }
}
