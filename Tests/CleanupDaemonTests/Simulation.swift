@testable import CleanupDaemon
import CleanupSchedule
import SessionCleanup
import Time

/// A scheduler with a clock that moves only when told to: wakes exactly when it asked to, and lets attempts take as long
/// as the test says.
final class Simulation {
    /// What happened, in the order in which it did.
    enum Happening: Hashable {
        case started(String, UTCInstant, RunOrigin, attempt: Int)
        case concluded(String, UTCInstant, attempts: Int)
        case coalesced(String, UTCInstant)
        case missed(String, Int)
        case passedOver(String, Int)
        /// At this time since the start.
        case pinged(Duration)
    }

    struct Connection: Hashable {
        let openedAt: UTCInstant
        let fireTime: UTCInstant
    }

    var scheduler: Scheduler
    var now: Scheduler.Now
    private(set) var happenings: [Happening] = []
    private(set) var wakeUps = 0
    /// Those that were opened before a fire time.
    private(set) var connections: [Connection] = []
    /// How long an attempt takes, and whether it fails for a cause that may pass.
    var attempt: (Scheduler.Attempt) -> (duration: Duration, fails: Bool) = { _ in (.milliseconds(10), false) }
    /// Until when a job may rest after an attempt that ended well.
    var rest: ((UTCInstant) -> UTCInstant)?
    private var underWay: [(end: Duration, attempts: [Scheduler.Attempt])] = []

    init(_ jobs: [Job], at start: String, seed: UInt64 = 1, watchdogInterval: Duration? = nil) {
        now = Scheduler.Now(wall: UTCInstant(rfc3339: start)!, elapsed: .zero)
        scheduler = Scheduler(jobs: jobs, now: now, seed: seed, watchdogInterval: watchdogInterval)
    }

    /// Lets time pass, waking when the scheduler asked to and when attempts end.
    func advance(by duration: Duration) {
        let end = now.elapsed + duration
        while true {
            var next = end
            if let wakeUp = scheduler.nextWakeUp { next = min(next, now.elapsed + max(.zero, wakeUp - now.wall)) }
            if let retry = scheduler.nextRetry { next = min(next, max(retry, now.elapsed)) }
            if let first = underWay.map(\.end).min() { next = min(next, max(first, now.elapsed)) }
            move(to: next)
            if let index = underWay.firstIndex(where: { $0.end <= now.elapsed }) {
                endAttempt(underWay.remove(at: index))
            } else if scheduler.nextWakeUp.map({ $0 <= now.wall }) ?? false
                || scheduler.nextRetry.map({ $0 <= now.elapsed }) ?? false
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

    /// The machine sleeps: both clocks go on, and nobody is awake to see it. At wake-up the clock counts as set.
    func suspend(for duration: Duration) {
        move(to: now.elapsed + duration)
        carryOut(scheduler.clockAdvanced(to: now, wasSet: true))
    }

    /// The configuration is read again.
    func reconfigure(_ jobs: [Job]) { carryOut(scheduler.reconfigure(jobs: jobs, now: now)) }

    private func move(to elapsed: Duration) {
        now.wall += elapsed - now.elapsed
        now.elapsed = elapsed
    }

    private func endAttempt(_ ended: (end: Duration, attempts: [Scheduler.Attempt])) {
        let first = ended.attempts[0]
        let rest = Array(ended.attempts.dropFirst())
        if let instant = self.rest?(now.wall), !attempt(first).fails {
            carryOut(scheduler.rest(job: first.job, until: instant, now: now))
        }
        carryOut(scheduler.attemptEnded(job: first.job, attempt(first).fails ? .mayRetry : .ended, now: now))
        begin(rest)
    }

    private func begin(_ attempts: [Scheduler.Attempt]) {
        guard let first = attempts.first else { return }
        happenings.append(
            .started(scheduler.job(first.job).name, first.scheduledAt, first.origin, attempt: first.number))
        underWay.append((now.elapsed + attempt(first).duration, attempts))
    }

    private func carryOut(_ actions: [Scheduler.Action]) {
        for action in actions {
            switch action {
            case .connect(let fireTime): connections.append(Connection(openedAt: now.wall, fireTime: fireTime))
            case .start(let attempts): begin(attempts)
            case .announceRetry: break
            case .concludeRun(let last):
                happenings.append(.concluded(scheduler.job(last.job).name, last.scheduledAt, attempts: last.number))
            case .countCoalesced(let job, let fireTime):
                happenings.append(.coalesced(scheduler.job(job).name, fireTime))
            case .countPassedOver(let job, let count, _): happenings.append(.passedOver(scheduler.job(job).name, count))
            case .countMissed(let job, let count): happenings.append(.missed(scheduler.job(job).name, count))
            case .pingWatchdog: happenings.append(.pinged(now.elapsed))
            }
        }
    }

    var nextFireTime: UTCInstant? { scheduler.nextFireTime }
    var isBusy: Bool { scheduler.isBusy }

    /// The fire times of the first attempts of a job's runs.
    func fireTimes(of job: String) -> [UTCInstant] {
        happenings.compactMap {
            if case .started(job, let fireTime, _, 1) = $0 { fireTime } else { nil }
        }
    }
}

extension Job {
    static func named(_ name: String, _ schedule: String, catchUp: CatchUp = .once) throws -> Job {
        Job(
            name: name, shortName: nil, schedule: try Schedule(schedule), catchUp: catchUp, deadline: .seconds(60),
            rules: Job.transientSessions.rules)
    }
}
