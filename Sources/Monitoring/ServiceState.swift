package import CleanupDaemon
import CleanupSchedule
package import SessionCleanup
package import Time

/// What is known of the service from what was told about it: a value, which health checks and pages are answered from.
/// Nothing here asks the database.
package struct ServiceState: Sendable {
    /// In the order in which they run.
    package private(set) var jobs: [JobState]
    package let startedAt: Scheduler.Now
    package private(set) var isStopping = false
    /// Why the configuration that was read last is not in force; `nil` when it is.
    package private(set) var reloadFailure: String?

    package init(jobs: [Job], startedAt: Scheduler.Now) {
        self.jobs = jobs.map { JobState(job: $0) }
        self.startedAt = startedAt
    }

    package mutating func hear(_ event: ServiceEvent, at now: Scheduler.Now) {
        switch event {
        case .started(let started), .reloaded(let started, _):
            reloadFailure = nil
            jobs = started.map { job, fireTime in
                var state = jobs.first { $0.job.name == job.name } ?? JobState(job: job, changedAt: now.elapsed)
                state.take(job, at: now)
                state.nextFireTime = fireTime
                return state
            }
        case .fireTimeArmed(let name, let fireTime): change(name) { $0.nextFireTime = fireTime }
        case .attemptStarted(let name, let scheduledAt, let origin, let number):
            let startedAt = startedAt.wall
            change(name) { job in
                // Whether an earlier one was answered is what a look back finds out.
                if origin == .schedule || scheduledAt >= startedAt { job.dueSince = job.dueSince ?? now.elapsed }
                job.begin(scheduledAt, origin, number, at: now)
            }
        case .attemptFailed(let report, let delay):
            change(report.job) { job in
                job.fail(report.failure, at: now)
                job.retryAt = now.elapsed + delay
            }
        case .runHeldElsewhere(let report, let delay):
            change(report.job) { job in
                job.isHeldElsewhere = true
                job.retryAt = now.elapsed + delay
            }
        case .runConcluded(let report): change(report.job) { $0.conclude(report, at: now) }
        case .earlierRunsKnown(let name, let earlier):
            guard let success = earlier.lastSuccess else { return }
            change(name) { $0.succeeded(at: success.at, ago: success.age, now) }
        case .fireTimeCoalesced(let name, _): change(name) { $0.coalescedFires += 1 }
        case .fireTimesMissed(let name, let count): change(name) { $0.missedFires += count }
        case .reloadFailed(let why): reloadFailure = why
        case .stopping: isStopping = true
        case .reloading, .fireTimesPassedOver, .clockWasSet, .connected, .connectFailed, .batchEnded, .lookBackFailed,
            .foundWell:
            break
        }
    }

    private mutating func change(_ name: String, _ body: (inout JobState) -> Void) {
        guard let index = jobs.firstIndex(where: { $0.job.name == name }) else { return }
        body(&jobs[index])
    }
}

/// What is known of a job.
package struct JobState: Sendable {
    package fileprivate(set) var job: Job
    /// `nil` while it is disabled.
    package fileprivate(set) var nextFireTime: UTCInstant?
    package fileprivate(set) var underWay: RunUnderWay?
    /// Whether the run under way is another process's, at which this one looks again.
    package fileprivate(set) var isHeldElsewhere = false
    /// When the next attempt of the run under way begins, in time since the process began; `nil` during an attempt.
    package fileprivate(set) var retryAt: Duration?
    /// Why the last attempt or run failed; `nil` after one that did not, here or elsewhere.
    package fileprivate(set) var failure: RunFailure?
    fileprivate var failedAt: Duration?
    package fileprivate(set) var lastSuccess: Success?
    /// Since when a fire time has come that the job has to answer, in time since the process began.
    fileprivate(set) var dueSince: Duration?
    /// Whether a run for such a fire time has ended, here or elsewhere.
    fileprivate(set) var wasAnswered = false
    /// When a reload made its fire times what they are, in time since the process began; `nil` where none did.
    fileprivate var changedAt: Duration?
    /// The last runs, the oldest first.
    package fileprivate(set) var recent: [FinishedRun] = []
    package fileprivate(set) var coalescedFires = 0
    package fileprivate(set) var missedFires = 0

    /// As many as fit side by side on a phone.
    package static let recentLimit = 40

    package struct RunUnderWay: Sendable {
        package let scheduledAt: UTCInstant
        /// In time since the process began.
        package let startedAt: Duration
        package let startDelay: Duration
        package let origin: RunOrigin
        package let attempt: Int
    }

    package struct Success: Sendable {
        package let at: UTCInstant
        /// In time since the process began; negative when it was before. Unlike `at`, no setting of the clock makes it old.
        package let elapsed: Duration
        /// How old it may become before the job counts as overdue.
        package let budget: Duration
    }

    package struct FinishedRun: Sendable {
        package let report: RunReport
        package let origin: RunOrigin?
        package let startDelay: Duration?
    }

    fileprivate mutating func begin(
        _ scheduledAt: UTCInstant, _ origin: RunOrigin, _ number: Int, at now: Scheduler.Now
    ) {
        retryAt = nil
        isHeldElsewhere = false
        underWay = RunUnderWay(
            scheduledAt: scheduledAt, startedAt: number > 1 ? underWay?.startedAt ?? now.elapsed : now.elapsed,
            startDelay: number > 1 ? underWay?.startDelay ?? .zero : now.wall - scheduledAt, origin: origin,
            attempt: number)
    }

    fileprivate mutating func conclude(_ report: RunReport, at now: Scheduler.Now) {
        recent.append(FinishedRun(report: report, origin: underWay?.origin, startDelay: underWay?.startDelay))
        if recent.count > Self.recentLimit { recent.removeFirst() }
        if case .held = report.skip {} else { wasAnswered = dueSince != nil }
        endRun()
        // A run that was canceled, or that another process has made, says nothing of why this one's failed.
        if report.outcome != .canceled, report.outcome != .skipped { fail(report.failure, at: now) }
        if report.isSuccess { succeeded(at: report.finishedAt, ago: now.wall - report.finishedAt, now) }
    }

    fileprivate mutating func endRun() {
        underWay = nil
        retryAt = nil
        isHeldElsewhere = false
    }

    fileprivate mutating func fail(_ failure: RunFailure?, at now: Scheduler.Now) {
        self.failure = failure
        failedAt = now.elapsed
    }

    fileprivate mutating func succeeded(at time: UTCInstant, ago: Duration, _ now: Scheduler.Now) {
        let elapsed = now.elapsed - max(ago, .zero)
        guard elapsed >= lastSuccess?.elapsed ?? elapsed else { return }
        lastSuccess = Success(at: time, elapsed: elapsed, budget: budget(after: elapsed, at: now))
        if let failedAt, elapsed > failedAt { failure = nil }
    }

    /// Takes over settings, which may be the same. Where fire times change, successes are expected by the new ones from now
    /// on, and what came before says nothing of a job that was disabled.
    fileprivate mutating func take(_ new: Job, at now: Scheduler.Now) {
        guard new != job else { return }
        if !job.isExpected(like: new) { changedAt = now.elapsed }
        if !job.isEnabled { (dueSince, wasAnswered, failure) = (nil, false, nil) }
        job = new
        if let success = lastSuccess {
            let budget = budget(after: success.elapsed, at: now)
            lastSuccess = Success(at: success.at, elapsed: success.elapsed, budget: budget)
        }
    }

    private func budget(after success: Duration, at now: Scheduler.Now) -> Duration {
        // By the wall clock as it is now, which names the fire times to come.
        let wall = { now.wall - (now.elapsed - $0) }
        return job.budget(after: wall(success), changedAt: changedAt.map(wall))
    }
}
