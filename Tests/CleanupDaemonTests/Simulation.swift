@testable import CleanupDaemon
import CleanupSchedule
import Pseudorandom
@testable import SessionCleanup
import Time

/// A scheduler with a clock that moves only when told to: wakes exactly when it asked to, and lets attempts take as
/// long as the test says.
final class Simulation {
    /// What happened, in the order in which it did.
    enum Happening: Hashable {
        case started(String, UTCInstant, RunOrigin, attempt: Int)
        case concluded(String, UTCInstant, attempts: Int)
        case coalesced(String, UTCInstant)
        case missed(String, Int)
        case passedOver(String, Int)
        /// The watchdog was pinged at this time since the start.
        case pinged(Duration)
    }

    var scheduler: Scheduler
    var now: TwoClocks
    private(set) var happenings: [Happening] = []
    private(set) var wakeUps = 0
    /// How long an attempt takes, and whether it fails for a transient cause.
    var attempt: (Scheduler.Attempt) -> (duration: Duration, fails: Bool) = { _ in (.milliseconds(10), false) }
    /// The failure of each attempt that fails.
    var failure = RunFailure.serverReadOnly
    /// Returns until when a job may rest after an attempt that succeeded at the given instant.
    var rest: ((UTCInstant) -> UTCInstant)?
    private var underWay: [(end: Duration, attempts: [Scheduler.Attempt])] = []

    init(_ jobs: [Job], at start: String, seed: UInt64 = 1, watchdogInterval: Duration? = nil) {
        now = TwoClocks(wall: UTCInstant(rfc3339: start)!, elapsed: .zero)
        scheduler = Scheduler(jobs: jobs, now: now, seed: seed, watchdogInterval: watchdogInterval)
    }

    /// Lets time pass, waking when the scheduler asked to and when attempts end.
    func advance(by duration: Duration) {
        let end = now.elapsed + duration
        while true {
            var next = end
            let wakeUp = scheduler.wakeUp
            if let wall = wakeUp.wall { next = min(next, now.elapsed + max(.zero, wall - now.wall)) }
            if let retry = wakeUp.elapsed { next = min(next, max(retry, now.elapsed)) }
            if let first = underWay.map(\.end).min() { next = min(next, max(first, now.elapsed)) }
            move(to: next)
            if let index = underWay.firstIndex(where: { $0.end <= now.elapsed }) {
                endAttempt(underWay.remove(at: index))
            } else if wakeUp.wall.map({ $0 <= now.wall }) ?? false || wakeUp.elapsed.map({ $0 <= now.elapsed }) ?? false
            {
                wakeUps += 1
                carryOut(scheduler.clockAdvanced(to: now, wasSet: false))
            } else if next == end {
                return
            }
        }
    }

    /// Sets the wall clock, as an administrator does; the process is told at once.
    func stepClock(by duration: Duration) {
        now.wall += duration
        carryOut(scheduler.clockAdvanced(to: now, wasSet: true))
    }

    /// The machine sleeps: both clocks advance, and no timer fires. At wake-up the clock counts as set.
    func suspend(for duration: Duration) {
        move(to: now.elapsed + duration)
        carryOut(scheduler.clockAdvanced(to: now, wasSet: true))
    }

    /// The configuration is read again.
    func reconfigure(_ jobs: [Job]) { carryOut(scheduler.reconfigured(jobs: jobs, now: now)) }

    private func move(to elapsed: Duration) {
        now.wall += elapsed - now.elapsed
        now.elapsed = elapsed
    }

    private func endAttempt(_ ended: (end: Duration, attempts: [Scheduler.Attempt])) {
        let first = ended.attempts[0]
        let fails = attempt(first).fails
        var report = RunReport.ended(
            first, failure: fails ? failure : nil, now: now, job: scheduler.states[first.job].job.name)
        if !fails { report.restsUntil = rest?(now.wall) }
        carryOut(scheduler.attemptEnded(first, report, now: now))
        begin(Array(ended.attempts.dropFirst()))
    }

    private func begin(_ attempts: [Scheduler.Attempt]) {
        guard let first = attempts.first else { return }
        happenings.append(
            .started(scheduler.states[first.job].job.name, first.scheduledAt, first.origin, attempt: first.number))
        underWay.append((now.elapsed + attempt(first).duration, attempts))
    }

    private func carryOut(_ actions: [Scheduler.Action]) {
        for action in actions {
            switch action {
            case .start(let assignments): begin(assignments.map(\.attempt))
            case .tell(let event): note(event)
            case .readHistory, .cancelAttempts: break
            }
        }
    }

    private func note(_ event: ServiceEvent) {
        switch event {
        case .runConcluded(let report):
            happenings.append(.concluded(report.job, report.scheduledAt, attempts: report.attempts))
        case .fireTimeCoalesced(let job, let fireTime): happenings.append(.coalesced(job, fireTime))
        case .fireTimesPassedOver(let job, let count, _): happenings.append(.passedOver(job, count))
        case .fireTimesMissed(let job, let count): happenings.append(.missed(job, count))
        case .foundWell: happenings.append(.pinged(now.elapsed))
        default: break
        }
    }

    var nextFireTime: UTCInstant? { scheduler.wakeUp.wall }
    var isBusy: Bool { scheduler.states.contains { $0.runUnderWay != nil } }
    var isFinished: Bool { scheduler.isFinished }

    /// The fire times of the first attempts of a job's runs.
    func fireTimes(of job: String) -> [UTCInstant] {
        happenings.compactMap {
            if case .started(job, let fireTime, _, 1) = $0 { fireTime } else { nil }
        }
    }
}

extension Scheduler {
    init(jobs: [Job], now: TwoClocks, seed: UInt64, watchdogInterval: Duration? = nil, looksBack: Bool = false) {
        self.init(
            jobs: jobs, now: now, watchdogInterval: watchdogInterval, looksBack: looksBack,
            generator: SplitMix64(seed: seed))
    }
}

extension Job {
    static func named(_ name: String, _ schedule: String, catchUp: CatchUp = .once) throws -> Job {
        Job(
            name: name, shortName: nil, schedule: try Schedule(schedule), catchUp: catchUp, deadline: .seconds(60),
            rule: Job.transientSessions.rule)
    }
}

extension RunReport {
    /// The report of an attempt that ended now.
    static func ended(
        _ attempt: Scheduler.Attempt, _ outcome: Outcome? = nil, failure: RunFailure? = nil, skip: Skip? = nil,
        now: TwoClocks, job: String = "job"
    ) -> RunReport {
        var report = RunReport(
            job: job, outcome: outcome ?? failure.map(Outcome.init) ?? (skip == nil ? .succeeded : .skipped),
            scheduledAt: attempt.scheduledAt, startedAt: now.wall, finishedAt: now.wall)
        report.failure = failure
        report.skip = skip
        return report
    }
}

extension [Scheduler.Action] {
    /// The attempts to make, one element for each connection.
    var starts: [[Scheduler.Assignment]] {
        compactMap { if case .start(let assignments) = $0 { assignments } else { nil } }
    }

    var attempts: [Scheduler.Attempt] { starts.flatMap { $0.map(\.attempt) } }

    /// The events to tell.
    var events: [ServiceEvent] { compactMap { if case .tell(let event) = $0 { event } else { nil } } }

    /// The reports of runs that are concluded.
    var concluded: [RunReport] { events.compactMap { if case .runConcluded(let report) = $0 { report } else { nil } } }

    /// The jobs whose history is to be read.
    var read: [[String]] { compactMap { if case .readHistory(let jobs) = $0 { jobs.map(\.name) } else { nil } } }
}
