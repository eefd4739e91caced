import CleanupSchedule
import Pseudorandom
package import SessionCleanup
package import Time
import TimerWheel

/// Decides which job runs when. It is told both clocks and each event, and answers with actions; it has no clock, no
/// thread and no connection, so that a test can take it through a year in a second.
///
/// The two wheels keep the instants of fire times and waits; a state holds at most the handle of its timer.
package struct Scheduler: ~Copyable {
    /// The state of one job.
    enum Phase {
        /// No attempt is under way and none is to come before the next fire time. Leaves to: running; waiting, for a
        /// run of an earlier process whose next attempt lies ahead.
        case idle
        /// An attempt is under way. The successor is for the latest fire time that came meanwhile, and is made only if
        /// the attempt fails or finds that there is no run to make. Leaves to: running, for the successor; waiting;
        /// idle.
        case running(Run, successor: Attempt?)
        /// The next attempt begins when the timer comes. Leaves to: running; idle, when the run's interval ends, its
        /// job is disabled or the service stops.
        case waiting(Run, TimerWheel.Handle)
    }

    /// A run between its first attempt and its end.
    struct Run {
        /// The attempt under way, or the next one.
        var attempt: Attempt
        /// The report of the attempts before it, taken together; nil where there was none.
        var report: RunReport?
        /// The wait before another attempt, should this one fail for a transient cause.
        var retryDelay = RetryPolicy.shortest
    }

    struct ScheduledJob {
        var job: Job
        /// The place among jobs that are due together; nil for a job that the configuration no longer has.
        var order: Int?
        var phase = Phase.idle
        /// The timer of the next fire time; nil while the job is disabled.
        var fireTimer: TimerWheel.Handle?
        var answered = AnsweredFireTimes()
        /// True while fire times before the armed one are passed over, since nothing will be due.
        var isResting = false
    }

    /// The read of the history after the start.
    enum LookBack {
        /// Leaves to: waiting, blocked, done.
        case reading(attempt: Int)
        /// The read failed and is repeated when the timer comes. Leaves to: reading; done.
        case waiting(attempt: Int, TimerWheel.Handle)
        /// The read failed for a cause that does not pass by itself. Leaves to: reading, when a run has succeeded;
        /// done.
        case blocked(attempt: Int)
        /// The history was read, or there is nothing to read it for.
        case done
    }

    /// The owner of a timer among the waits, as the timer's payload has it.
    enum WaitOwner {
        case job(Int)
        case watchdog
        case lookBack

        init(payload: UInt64) {
            switch payload {
            case .max: self = .watchdog
            case .max - 1: self = .lookBack
            default: self = .job(Int(payload))
            }
        }

        var payload: UInt64 {
            switch self {
            case .job(let index): UInt64(index)
            case .watchdog: .max
            case .lookBack: .max - 1
            }
        }
    }

    /// One for each name that a configuration has had: an index means the same job for as long as the process lives.
    var states: [ScheduledJob]
    /// Fire times, in microseconds since the Unix epoch; the payload is the job's index.
    var fireTimes = TimerWheel()
    /// Waits, in microseconds since the process began; the payload is a `WaitOwner`.
    var waits = TimerWheel()
    var watchdog: WatchdogTimer?
    var lookBack: LookBack
    /// The wall clock at the start.
    let start: UTCInstant
    private var lastWall: UTCInstant
    /// True once `stopRequested` was called.
    var isStopping = false
    var generator: SplitMix64
    /// The actions that the event at hand has led to so far.
    var actions: [Action] = []

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together; disabled ones are never due.
    ///   - seed: for the jitter of retries.
    ///   - watchdogInterval: the time between two pings; nil without a watchdog.
    ///   - looksBack: true if `started` is to ask for the history.
    package init(
        jobs: [Job], now: TwoClocks, seed: UInt64, watchdogInterval: Duration? = nil, looksBack: Bool = false
    ) {
        states = jobs.enumerated().map { ScheduledJob(job: $1, order: $0) }
        watchdog = watchdogInterval.map(WatchdogTimer.init)
        lookBack = looksBack ? .reading(attempt: 1) : .done
        (start, lastWall) = (now.wall, now.wall)
        generator = SplitMix64(seed: seed)
        for job in states.indices { arm(job, after: now.wall) }
        armWatchdog(after: now.elapsed)
        // Nothing is told before `started`.
        actions = []
    }

    // MARK: State

    /// The instants to say `clockAdvanced` at.
    package var wakeUp: WakeUp {
        WakeUp(wall: nextFireTime, elapsed: nextWait, mayBeLate: !isAwaitingAnything)
    }

    /// The next fire time of any job.
    var nextFireTime: UTCInstant? { fireTimes.next.map(Self.instant) }

    /// The end of the next wait, in time since the process began.
    var nextWait: Duration? { waits.next.map { .microseconds(Int64(clamping: $0)) } }

    /// The next fire time of a job; nil while it is disabled.
    func nextFireTime(of job: Int) -> UTCInstant? {
        states[job].fireTimer.flatMap { fireTimes.deadline(of: $0) }.map(Self.instant)
    }

    /// The job with that index, with the settings for its next attempt.
    func job(_ index: Int) -> Job { states[index].job }

    /// The indices of the jobs in force, in the order in which they run when they are due together.
    var jobs: [Int] {
        states.indices.filter { states[$0].order != nil }.sorted { order(of: $0) < order(of: $1) }
    }

    func order(of job: Int) -> Int { states[job].order ?? states.count }

    /// True while an attempt is under way.
    var isBusy: Bool {
        states.contains { state in
            if case .running = state.phase { return true }
            return false
        }
    }

    /// True when the service was asked to stop and its last attempt has ended.
    package var isFinished: Bool { isStopping && !isBusy }

    /// True while a wait has to end on time: any but the watchdog's.
    private var isAwaitingAnything: Bool {
        if case .waiting = lookBack { return true }
        return states.contains { state in
            if case .waiting = state.phase { return true }
            return false
        }
    }

    // MARK: Events

    /// The service has started. Said once, before any other event.
    package mutating func started() -> [Action] {
        for job in states.indices { tellFireTime(of: job) }
        tell(.started(armedJobs))
        if case .reading = lookBack { readHistory(attempt: 1) }
        return takeActions()
    }

    /// Time has passed, or the wall clock was set.
    ///
    /// - Parameter wasSet: true if the wall clock is known to have been set, or the machine to have slept.
    package mutating func clockAdvanced(to now: TwoClocks, wasSet: Bool) -> [Action] {
        if wasSet { tell(.clockWasSet(to: now.wall)) }
        answerAllThatCame(by: now, wasSet: wasSet)
        return takeActions()
    }

    /// The configuration was read again.
    ///
    /// Jobs are known by their names. Fire times that have come by now are answered first, by the schedules that were
    /// in force. An attempt under way continues; one that waits keeps its time, unless its job is removed or disabled;
    /// fire times that were answered stay answered.
    ///
    /// - Parameter waitingForRestart: keys that have changed and are not in force.
    package mutating func reconfigured(
        jobs: [Job], waitingForRestart: [String] = [], now: TwoClocks
    ) -> [Action] {
        guard !isStopping else { return [] }
        answerAllThatCame(by: now, wasSet: false)
        var hasNewTimes = states.map { _ in false }
        for index in states.indices { states[index].order = nil }
        for (order, job) in jobs.enumerated() {
            if let index = states.firstIndex(where: { $0.job.name == job.name }) {
                hasNewTimes[index] = !states[index].job.firesAsOften(as: job) || states[index].isResting
                states[index].job = job
                states[index].order = order
            } else {
                states.append(ScheduledJob(job: job, order: order))
                hasNewTimes.append(true)
            }
        }
        for index in states.indices {
            if states[index].order == nil || !states[index].job.isEnabled {
                disable(index)
            } else if hasNewTimes[index] {
                disarm(index)
                // The instant itself included: the schedule before did not have it.
                arm(index, after: now.wall - .microseconds(1))
            }
        }
        // First, so that no other event names a job that the receivers do not know yet.
        actions.insert(.tell(.reloaded(armedJobs, waitingForRestart: waitingForRestart)), at: 0)
        return takeActions()
    }

    /// The service is to stop: no attempt starts from now on; the watchdog is still pinged while attempts end.
    package mutating func stopRequested() -> [Action] {
        guard !isStopping else { return [] }
        isStopping = true
        tell(.stopping)
        for job in states.indices {
            disarm(job)
            endWait(of: job)
        }
        endLookBack()
        actions.append(.cancelAttempts)
        return takeActions()
    }

    // MARK: Time

    private mutating func answerAllThatCame(by now: TwoClocks, wasSet: Bool) {
        if !isStopping, wasSet || now.wall < lastWall { nameFireTimesAgain(after: now.wall) }
        lastWall = now.wall
        var runs: [Run] = []
        while let timer = fireTimes.pop(now: Self.ticks(now.wall)) {
            let fireTime = Self.instant(timer.deadline)
            if let attempt = answer(fireTime, of: Int(timer.payload), at: now.wall) {
                runs.append(Run(attempt: attempt))
            }
        }
        while let timer = waits.pop(now: Self.ticks(now.elapsed)) {
            switch WaitOwner(payload: timer.payload) {
            case .job(let job):
                guard case .waiting(let run, _) = states[job].phase else {
                    preconditionFailure("a wait ended that no run had begun")
                }
                runs.append(run)
            case .watchdog:
                if watchdog?.isOnTime(at: now.elapsed) ?? false { tell(.foundWell) }
                armWatchdog(after: now.elapsed)
            case .lookBack:
                guard case .waiting(let attempt, _) = lookBack else {
                    preconditionFailure("a wait for the history ended that had not begun")
                }
                repeatLookBack(after: attempt)
            }
        }
        begin(runs, at: now)
    }

    mutating func disable(_ job: Int) {
        states[job].job.isEnabled = false
        if states[job].fireTimer != nil {
            disarm(job)
            tellFireTime(of: job)
        }
        if case .running(let run, _) = states[job].phase { states[job].phase = .running(run, successor: nil) }
        endWait(of: job)
    }

    mutating func addWait(_ owner: WaitOwner, until elapsed: Duration) -> TimerWheel.Handle {
        waits.add(deadline: Self.ticks(elapsed), payload: owner.payload)
    }

    private mutating func armWatchdog(after elapsed: Duration) {
        guard let watchdog else { return }
        _ = addWait(.watchdog, until: elapsed + watchdog.interval)
    }

    mutating func tell(_ event: ServiceEvent) { actions.append(.tell(event)) }
    mutating func takeActions() -> [Action] {
        defer { actions = [] }
        return actions
    }
}

extension Scheduler {
    static func instant(_ ticks: UInt64) -> UTCInstant {
        UTCInstant(microsecondsSinceEpoch: Int64(clamping: ticks))
    }

    /// Nothing is scheduled before 1970.
    static func ticks(_ instant: UTCInstant) -> UInt64 { UInt64(clamping: instant.microsecondsSinceEpoch) }

    /// Rounded up, so that nothing is early.
    static func ticks(_ elapsed: Duration) -> UInt64 {
        let (seconds, attoseconds) = elapsed.components
        return UInt64(clamping: seconds * 1_000_000 + (attoseconds + 999_999_999_999) / 1_000_000_000_000)
    }
}
