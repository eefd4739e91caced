package import Logging
import Postgres
import SessionCleanup
import Synchronization
import Time

/// Writes the service's log: one message for each run that did or failed something.
///
/// A message says by itself which job it is about, what happened and what to do; its metadata repeats the facts for
/// machines, numbers as numbers. A failure that repeats itself is written when it begins, at growing intervals, and
/// when it ends; its other attempts are logged at level debug.
package final class ServiceLog: Sendable {
    private let logger: Logger
    /// By the job's name. A failure to connect to the database concerns all jobs, and is under nil.
    private let failures = Mutex<[String?: RepeatedFailures]>([:])
    /// The end of the last attempt that another one was to follow, by the job's name.
    private let announced = Mutex<[String: UTCInstant]>([:])

    package init(logger: Logger) { self.logger = logger }

    /// Blocks only where the log itself does. From any thread.
    package func record(_ event: ServiceEvent) {
        switch event {
        case .clockWasSet(let now):
            log(.notice, "The clock was set, or the machine slept; it is \(now) now.", .clockWasSet)
        case .fireTimeArmed(let job, let fireTime):
            log(.debug, of: job, fireTime.map { "next at \($0)" } ?? "disabled")
        case .attemptEnded(let report, let delay):
            if let skip = report.skip {
                return log(.debug, of: report.job, "\(skip); looking again in \(delay.secondsText)")
            }
            announced.withLock { $0[report.job] = report.finishedAt }
            if let failure = report.failure { write(failure, of: report, retryingAfter: delay) }
        case .runConcluded(let report): write(report)
        case .fireTimeCoalesced(let job, let fireTime):
            let consequence = "which gets a run of its own only if it fails."
            log(.notice, of: job, "the run before has not ended at the scheduled time \(fireTime), \(consequence)")
        case .fireTimesMissed(let job, let count):
            let runs = "\(count) scheduled \(count == 1 ? "run" : "runs")"
            log(.notice, of: job, "missed \(runs).", .fireTimesMissed, ["count": .stringConvertible(count)])
        case .fireTimesPassedOver(let job, let count, let until):
            let runs = "\(count) scheduled \(count == 1 ? "run is" : "runs are")"
            let text = "nothing is due before \(until); \(runs) left out."
            log(.info, of: job, text, nil, ["count": .stringConvertible(count)])
        case .started(let jobs): write(jobs)
        case .reloading: log(.debug, "Reading the configuration again.")
        case .reloaded(let jobs, let waiting):
            log(.notice, "Reloaded the configuration.", .reloaded)
            write(jobs)
            if !waiting.isEmpty { log(.warning, "These changes need a restart: \(waiting.joined(separator: ", ")).") }
        case .reloadFailed(let why):
            let hint = "Correct the file, check it with mcp-cleanupd config, and reload."
            let text = "Reload failed: invalid configuration; keeping the previous one. \(hint)\n\(why)"
            log(.error, text, .reloadFailed, ["hint": "\(hint)"])
        case .stopping: log(.info, "Stopping.")
        case .lookBackFailed(let failure):
            let consequence = "missed fire times are not known yet, and the history is read again"
            log(.warning, "\(failure); \(consequence)", nil, Self.hint(failure))
        case .attemptStarted, .databaseNamed, .connectionTried, .batchEnded, .earlierRunsKnown, .recentRunsKnown,
            .foundWell:
            break
        }
    }

    /// - Parameter job: its name begins the message.
    private func log(
        _ level: Logger.Level, of job: String? = nil, _ text: String, _ id: MessageID? = nil,
        _ facts: Logger.Metadata = [:]
    ) {
        var metadata = facts
        if let id { metadata[MessageID.metadataKey] = "\(id.rawValue)" }
        if let job { metadata["job"] = "\(job)" }
        let name = job.map { "\(Self.builtIn($0)?.displayName ?? $0): " } ?? ""
        logger.log(level: level, "\(name)\(text)", metadata: metadata)
    }

    private func write(_ jobs: ServiceEvent.ArmedJobs) {
        for (job, fireTime) in jobs {
            log(.info, of: job.name, "\(job.schedule), \(fireTime.map { "next at \($0)" } ?? "disabled")")
        }
    }

    private func write(_ report: RunReport) {
        let (job, progress) = (report.job, report.progress)
        let duration = report.finishedAt.microsecondsSinceEpoch - report.startedAt.microsecondsSinceEpoch
        var facts: Logger.Metadata = [
            "outcome": "\(report.outcome.rawValue)", "fire_time": "\(report.scheduledAt)",
            "rows_deleted": .stringConvertible(progress.rowsDeleted),
            "rows_skipped": .stringConvertible(progress.rowsSkipped),
            "rows_refused": .stringConvertible(progress.rowsRefused), "batches": .stringConvertible(progress.batches),
            "attempts": .stringConvertible(report.attempts), "duration_usec": .stringConvertible(duration),
        ]
        facts["run_id"] = report.runID.map { .stringConvertible($0) }
        if let skip = report.skip { return log(.debug, of: job, "\(skip)", nil, facts) }
        let removed = Self.removed(progress, by: job)
        if let failure = report.failure {
            if report.outcome != .canceled { return write(failure, of: report, retryingAfter: nil, facts) }
            return log(.info, of: job, "\(failure); \(removed)", nil, facts)
        }
        for subject in [job, nil] {
            guard let end = failures.withLock({ $0[subject]?.runWentWell() }) else { continue }
            let attempts = "\(end.attempts) failed \(end.attempts == 1 ? "attempt" : "attempts") since \(end.since)"
            let text =
                subject == nil
                ? "The database can be reached again, after \(attempts)." : "succeeds again, after \(attempts)."
            log(
                .notice, of: subject, text, .failureEnded,
                ["job": "\(job)", "attempts": .stringConvertible(end.attempts)])
        }
        let isIdle = progress.rowsDeleted + progress.rowsSkipped + progress.rowsRefused == 0
        let left = report.outcome == .capped ? "; more is due: the limit of a run is reached" : ""
        let time = (report.finishedAt - report.startedAt).secondsText
        log(isIdle ? .debug : .info, of: job, "\(removed) in \(time)\(left)", .runEnded, facts)
    }

    /// - Parameter delay: `nil` where no attempt of the run follows.
    private func write(
        _ failure: RunFailure, of report: RunReport, retryingAfter delay: Duration?, _ facts: Logger.Metadata = [:]
    ) {
        // A run that is concluded while it waits for another attempt reports its last attempt again.
        let wasCounted = delay == nil && announced.withLock { $0[report.job] == report.finishedAt }
        let series = failures.withLock {
            $0[failure.isOfConnecting ? nil : report.job, default: RepeatedFailures()].attemptFailed(
                cause: "\(failure)", at: report.finishedAt, wasLast: delay == nil, wasCounted: wasCounted)
        }
        var text = "\(failure)"
        if report.progress.rowsDeleted > 0 { text += "; \(Self.removed(report.progress, by: report.job)) before" }
        if let delay { text += "; retrying in \(delay.secondsText)" }
        if let series, series.attempts > 1 {
            text += "; \(series.attempts) attempts have failed since \(series.since)"
        }
        log(
            series == nil ? .debug : delay == nil ? .error : .warning, of: report.job,
            text.followed(byHintOf: failure), delay == nil ? .runFailed : .attemptFailed,
            facts.merging(Self.hint(failure)) { $1 })
    }

    private static func hint(_ failure: RunFailure) -> Logger.Metadata {
        failure.hint.map { ["hint": "\($0)"] } ?? [:]
    }

    /// A built-in job has a short name, which operators know.
    private static func builtIn(_ job: String) -> Job? {
        [Job.transientSessions, .dormantSessions()].first { $0.name == job }
    }

    /// `removed 1,200 expired sessions, skipped 7 locked by others`; for a job of the operator's own it says rows.
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
