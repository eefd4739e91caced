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
            log(.notice, "The clock was set, or the machine slept; it is \(now) now.", .clockWasSet)
        case .fireTimeArmed(let job, let fireTime):
            log(.debug, of: job, fireTime.map { "next at \($0)" } ?? "disabled")
        case .attemptFailed(let report, let delay):
            guard let failure = report.failure else { return }
            announced.withLock { $0[report.job] = report.finishedAt }
            write(failure, of: report, retryingAfter: delay)
        case .runHeldElsewhere(let report, let delay):
            guard let skip = report.skip else { return }
            log(.debug, of: report.job, "\(skip); looking again in \(delay.secondsText)")
        case .runConcluded(let report): write(report)
        case .fireTimeCoalesced(let job, let fireTime):
            log(
                .notice, of: job,
                "still running at the scheduled time \(fireTime), which gets a run of its own only if this one fails.")
        case .fireTimesMissed(let job, let count):
            let runs = "\(count) scheduled \(count == 1 ? "run" : "runs")"
            log(.notice, of: job, "missed \(runs).", .fireTimesMissed, ["count": count])
        case .fireTimesPassedOver(let job, let count, let until):
            let runs = "\(count) scheduled \(count == 1 ? "run is" : "runs are")"
            log(.info, of: job, "nothing is due before \(until); \(runs) left out.", nil, ["count": count])
        case .started(let jobs): write(jobs)
        case .reloading: log(.debug, "Reading the configuration again.")
        case .reloaded(let jobs, let waiting):
            log(.notice, "Reloaded the configuration.", .reloaded)
            write(jobs)
            if !waiting.isEmpty { log(.warning, "These changes need a restart: \(waiting.joined(separator: ", ")).") }
        case .reloadFailed(let why):
            let hint = "Correct the file, check it with mcp-cleanupd config, and reload."
            let text = "Reload failed: invalid configuration; keeping the previous one. \(hint)\n\(why)"
            log(.error, text, .reloadFailed, ["hint": hint])
        case .stopping: log(.info, "Stopping.")
        case .lookBackFailed(let failure):
            let consequence = "missed fire times are not known yet, and the history is read again"
            log(.warning, "\(failure); \(consequence)", nil, failure.hint.map { ["hint": $0] } ?? [:])
        case .attemptStarted, .databaseNamed, .connectionTried, .batchEnded, .earlierRunsKnown, .recentRunsKnown,
            .foundWell:
            break
        }
    }

    private typealias Facts = [String: any CustomStringConvertible & Sendable]

    /// - Parameter job: its name begins the message.
    private func log(
        _ level: Logger.Level, of job: String? = nil, _ text: String, _ id: MessageID? = nil, _ facts: Facts = [:]
    ) {
        var metadata = facts.mapValues { fact in
            (fact as? String).map(Logger.MetadataValue.string) ?? .stringConvertible(fact)
        }
        if let id { metadata[MessageID.metadataKey] = "\(id.rawValue)" }
        if let job { metadata["job"] = "\(job)" }
        let name = job.map { "\(Self.builtIn($0)?.displayName ?? $0): " } ?? ""
        logger.log(level: level, "\(name)\(text)", metadata: metadata)
    }

    private func write(_ jobs: [(job: Job, nextFireTime: UTCInstant?)]) {
        for (job, fireTime) in jobs {
            log(.info, of: job.name, "\(job.schedule), \(fireTime.map { "next at \($0)" } ?? "disabled")")
        }
    }

    private func write(_ report: RunReport) {
        let (job, progress) = (report.job, report.progress)
        var facts: Facts = [
            "outcome": report.outcome.rawValue, "fire_time": "\(report.scheduledAt)",
            "rows_deleted": progress.rowsDeleted, "rows_skipped": progress.rowsSkipped,
            "rows_refused": progress.rowsRefused, "batches": progress.batches, "attempts": report.attempts,
            "duration_usec": report.finishedAt.microsecondsSinceEpoch - report.startedAt.microsecondsSinceEpoch,
        ]
        if let runID = report.runID { facts["run_id"] = runID }
        if let skip = report.skip { return log(.debug, of: job, "\(skip)", nil, facts) }
        let removed = Self.removed(progress, by: job)
        if let failure = report.failure {
            if report.outcome != .canceled { return write(failure, of: report, retryingAfter: nil, facts) }
            return log(.info, of: job, "\(failure); \(removed)", nil, facts)
        }
        for subject in [Subject.job(job), .connecting] {
            guard let end = failures.withLock({ $0[subject]?.runWentWell() }) else { continue }
            let attempts = "\(end.attempts) failed \(end.attempts == 1 ? "attempt" : "attempts") since \(end.since)"
            if subject == .connecting {
                let text = "The database can be reached again, after \(attempts)."
                log(.notice, text, .failureEnded, ["job": job, "attempts": end.attempts])
            } else {
                log(.notice, of: job, "succeeds again, after \(attempts).", .failureEnded, ["attempts": end.attempts])
            }
        }
        let isIdle = progress.rowsDeleted + progress.rowsSkipped + progress.rowsRefused == 0
        let left = report.outcome == .capped ? "; more is due: the limit of a run is reached" : ""
        let time = (report.finishedAt - report.startedAt).secondsText
        log(isIdle ? .debug : .info, of: job, "\(removed) in \(time)\(left)", .runEnded, facts)
    }

    /// - Parameter delay: `nil` where no attempt of the run follows.
    private func write(
        _ failure: RunFailure, of report: RunReport, retryingAfter delay: Duration?, _ facts: Facts = [:]
    ) {
        var facts = facts
        facts["hint"] = failure.hint
        // A run that is concluded while it waits for another attempt tells its last attempt again.
        let wasCounted = delay == nil && announced.withLock { $0[report.job] == report.finishedAt }
        let verdict = failures.withLock {
            $0[failure.isOfConnecting ? .connecting : .job(report.job), default: RepeatedFailures()].attemptFailed(
                cause: "\(failure)", at: report.finishedAt, wasLast: delay == nil, wasCounted: wasCounted)
        }
        var text = "\(failure)"
        if report.progress.rowsDeleted > 0 { text += "; \(Self.removed(report.progress, by: report.job)) before" }
        if let delay { text += "; retrying in \(delay.secondsText)" }
        if case .goesOn(let attempts, let since) = verdict {
            text += "; \(attempts) attempts have failed since \(since)"
        }
        log(
            verdict == .isKnown ? .debug : delay == nil ? .error : .warning, of: report.job,
            text.followed(byHintOf: failure), delay == nil ? .runFailed : .attemptFailed,
            facts)
    }

    /// A built-in job has a short name, which operators know.
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
