import SessionCleanup
import Time

extension ServiceState {
    /// One line for `systemctl status`: `next: transient 12:05:00Z, dormant 00:00:00Z; last: …; wrong: …`. Empty until the
    /// schedule is armed. Names instants and no ages, since it is sent when it changes.
    package var statusLine: String {
        guard isArmed, !jobs.isEmpty else { return "" }
        let running = jobs.filter { $0.underWay != nil && $0.retryAt == nil }.map(\.job.displayName)
        let held = jobs.filter(\.isHeldElsewhere).map(\.job.displayName)
        let reload = failedReload.map { "configuration, the old one is in force: \($0.why)" }
        let parts = [
            ("running", running), ("running in another process", held), ("next", isStopping ? [] : nextInWords),
            ("last", jobs.compactMap(\.lastRunInWords)),
            ("wrong", [reload].compactMap(\.self) + jobs.compactMap(\.failureInWords)),
        ]
        let lines = parts.filter { !$0.1.isEmpty }.map { "\($0): \($1.joined(separator: ", "))" }
        return ((isStopping ? ["stopping"] : []) + lines).joined(separator: "; ")
    }

    private var nextInWords: [String] {
        guard let first = jobs.compactMap(\.nextFireTime).min() else { return ["nothing, every job is disabled"] }
        return jobs.compactMap { job in
            job.nextFireTime.map { time in
                // Less than a day after the first: the time of day is enough to name it.
                "\(job.job.displayName) \(time - first < .seconds(86_400) ? time.timeOfDay : "\(time)")"
            }
        }
    }
}

extension JobState {
    fileprivate var lastRunInWords: String? {
        if wasLeftToAnother { return "\(job.displayName) left to another process" }
        return lastRun.map { run in
            "\(job.displayName) \(run.report.outcome.rawValue), \(run.report.progress.rowsDeleted.groupedText) removed"
        }
    }

    fileprivate var failureInWords: String? {
        let retry = isHeldElsewhere ? nil : retryAt.map { "; retrying at \($0.toTheSecond.timeOfDay)" }
        return failing.map { "\(job.displayName): \($0.failure)\(retry ?? "")" }
    }
}

extension UTCInstant {
    /// `12:05:00Z`.
    fileprivate var timeOfDay: String { String("\(self)".split(separator: "T")[1]) }
}
