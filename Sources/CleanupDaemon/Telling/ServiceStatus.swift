import Postgres
import SessionCleanup
import Time

/// What a colleague reads in `systemctl status`: what runs next, how the last runs ended, and what is wrong.
///
/// Is told what happens, and has no clock.
package struct ServiceStatus: Sendable {
    private struct JobStatus {
        let name: String
        let shortName: String
        var nextFireTime: UTCInstant?
        var isRunning = false
        /// Another process is at a run of the job, and this one looks again when that should be over.
        var isHeldElsewhere = false
        var lastRun: String?
        var fault: String?

        mutating func begin() { (isRunning, isHeldElsewhere) = (true, false) }
        mutating func end() { (isRunning, isHeldElsewhere) = (false, false) }
    }

    private var jobs: [JobStatus] = []
    private var isStopping = false
    /// Why the configuration that was read last is not in force.
    private var configurationFault: String?

    package init() {}

    package mutating func hear(_ event: ServiceEvent) {
        switch event {
        case .started(let jobs): take(jobs)
        case .reloaded(let jobs, _):
            take(jobs)
            configurationFault = nil
        case .reloadFailed(let why): configurationFault = "configuration, the old one is in force: \(why)"
        case .fireTimeArmed(let name, let fireTime): change(name) { $0.nextFireTime = fireTime }
        case .attemptStarted(let name, _, _, _): change(name) { $0.begin() }
        case .attemptFailed(let report, let delay):
            change(report.job) { job in
                job.end()
                job.fault = report.failure.map { "\($0); another attempt in \(delay.secondsText)" }
            }
        case .runHeldElsewhere(let report, _):
            change(report.job) { job in
                job.end()
                job.isHeldElsewhere = true
            }
        case .runConcluded(let report):
            change(report.job) { job in
                job.end()
                switch report.skip {
                case .held:
                    job.lastRun = "left to another process"
                    return
                case .answered: return
                case nil: break
                }
                job.lastRun = "\(report.outcome.rawValue), \(report.progress.rowsDeleted.groupedText) removed"
                if report.outcome != .canceled { job.fault = report.failure.map { "\($0)" } }
            }
        case .stopping: isStopping = true
        case .clockWasSet, .connected, .connectFailed, .batchEnded, .fireTimeCoalesced, .fireTimesMissed,
            .earlierRunsKnown, .lookBackFailed, .fireTimesPassedOver, .foundWell, .reloading:
            break
        }
    }

    private mutating func take(_ present: [(job: Job, nextFireTime: UTCInstant?)]) {
        jobs = present.map { job, fireTime in
            var status = JobStatus(name: job.name, shortName: job.shortName ?? job.name)
            if let known = jobs.first(where: { $0.name == job.name }) { status = known }
            status.nextFireTime = fireTime
            return status
        }
    }

    private mutating func change(_ name: String, _ body: (inout JobStatus) -> Void) {
        guard let index = jobs.firstIndex(where: { $0.name == name }) else { return }
        body(&jobs[index])
    }

    /// One line, with what is wrong at its end: `next: transient 12:05:00Z, dormant 00:00:00Z; last: …; wrong: …`.
    /// Empty until the service has started.
    package var text: String {
        guard !jobs.isEmpty else { return "" }
        let running = jobs.filter(\.isRunning).map(\.shortName)
        let held = jobs.filter(\.isHeldElsewhere).map(\.shortName)
        let last = jobs.compactMap { job in job.lastRun.map { "\(job.shortName) \($0)" } }
        var faults = jobs.compactMap { job in job.fault.map { "\(job.shortName): \($0)" } }
        if let configurationFault { faults.insert(configurationFault, at: 0) }
        var parts: [String] = []
        if isStopping { parts.append("stopping") }
        if !running.isEmpty { parts.append("running: \(running.joined(separator: ", "))") }
        if !held.isEmpty { parts.append("running in another process: \(held.joined(separator: ", "))") }
        if !isStopping { parts.append("next: \(next)") }
        if !last.isEmpty { parts.append("last: \(last.joined(separator: ", "))") }
        if !faults.isEmpty { parts.append("wrong: \(faults.joined(separator: ", "))") }
        return parts.joined(separator: "; ")
    }

    private var next: String {
        let times = jobs.compactMap { job in job.nextFireTime.map { (job.shortName, $0) } }
        guard let first = times.map(\.1).min() else { return "nothing, every job is disabled" }
        return times.map { name, time in
            // Less than a day after the first: the time of day is enough to name it.
            let text = time - first < .seconds(86_400) ? String("\(time)".split(separator: "T")[1]) : "\(time)"
            return "\(name) \(text)"
        }.joined(separator: ", ")
    }
}
