import SessionCleanup
import Time

extension ServiceState {
    /// One line for `systemctl status`, with what is wrong at its end: `next: transient 12:05:00Z, dormant 00:00:00Z; last: …;
    /// wrong: …`. Empty until the schedule is armed. Names instants and no ages, since it is sent when it changes.
    package var statusLine: String {
        guard isArmed, !jobs.isEmpty else { return "" }
        let names = { (isIncluded: (JobState) -> Bool) in
            jobs.filter(isIncluded).map(\.job.displayName).joined(separator: ", ")
        }
        let running = names { $0.underWay != nil && $0.retryAt == nil }
        let held = names(\.isHeldElsewhere)
        let last = jobs.compactMap(\.lastRunInWords).joined(separator: ", ")
        let faults =
            (failedReload.map { ["configuration, the old one is in force: \($0.why)"] } ?? [])
            + jobs.compactMap(\.failureInWords)
        var parts: [String] = []
        if isStopping { parts.append("stopping") }
        if !running.isEmpty { parts.append("running: \(running)") }
        if !held.isEmpty { parts.append("running in another process: \(held)") }
        if !isStopping { parts.append("next: \(nextInWords)") }
        if !last.isEmpty { parts.append("last: \(last)") }
        if !faults.isEmpty { parts.append("wrong: \(faults.joined(separator: ", "))") }
        return parts.joined(separator: "; ")
    }

    private var nextInWords: String {
        let times = jobs.compactMap { job in job.nextFireTime.map { (job.job.displayName, $0) } }
        guard let first = times.map(\.1).min() else { return "nothing, every job is disabled" }
        return times.map { name, time in
            // Less than a day after the first: the time of day is enough to name it.
            "\(name) \(time - first < .seconds(86_400) ? time.timeOfDay : "\(time)")"
        }.joined(separator: ", ")
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
        failing.map { failing in
            let retry = isHeldElsewhere ? nil : retryAt.map { "; retrying at \($0.wall.toTheSecond.timeOfDay)" }
            return "\(job.displayName): \(failing.failure)\(retry ?? "")"
        }
    }
}

extension UTCInstant {
    /// `12:05:00Z`.
    fileprivate var timeOfDay: String { String("\(self)".split(separator: "T")[1]) }
}
