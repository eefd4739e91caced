import Pseudorandom
import SessionCleanup
import Time
import TimerWheel

/// Decides which job runs when. It is told both clocks and each event, and answers with actions; it has no clock, no
/// thread and no connection, so that a test can take it through a year in a second.
///
/// The two wheels keep the instants of fire times and waits; a state holds at most the handle of its timer.
struct Scheduler: ~Copyable {
    /// One attempt at the run for a fire time.
    struct Attempt: Hashable, Sendable {
        /// An index in `states`.
        let job: Int
        let scheduledAt: UTCInstant
        let origin: RunOrigin
        /// Counts from 1.
        var number = 1

        var next: Attempt { Attempt(job: job, scheduledAt: scheduledAt, origin: origin, number: number + 1) }
    }

    struct Assignment: Sendable {
        let attempt: Attempt
        let job: Job
        let request: RunRequest
    }

    enum Action: Sendable {
        /// Make these attempts, one after the other, over one connection, and report each end as `attemptEnded`.
        case start([Assignment])
        /// Read the history of these jobs, and report it as `historyRead` or `historyReadFailed`.
        case readHistory(of: [Job])
        case tell(ServiceEvent)
        /// Cancel the attempts under way; each still reports its end.
        case cancelAttempts
    }

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
        var attempt: Attempt
        /// The report of the attempts before it, taken together; nil where there was none.
        var report: RunReport?
        /// The wait before another attempt, should this one fail for a transient cause.
        var retryDelay = RetryPolicy.shortest
        /// When the attempt under way must have ended, in time since the process began.
        var limit = Duration.zero
    }

    struct ScheduledJob {
        var job: Job
        var phase = Phase.idle
        /// The timer of the next fire time; nil while the job is disabled.
        var fireTimer: TimerWheel.Handle?
        var answered = AnsweredFireTimes()
        /// True while fire times before the armed one are passed over, since nothing will be due.
        var isResting = false

        var runUnderWay: Run? { if case .running(let run, _) = phase { run } else { nil } }
        var retryTimer: TimerWheel.Handle? { if case .waiting(_, let timer) = phase { timer } else { nil } }
    }

    /// The read of the history after the start.
    enum LookBack {
        /// Leaves to: failed; done.
        case reading(attempt: Int)
        /// The read is repeated when the timer comes. Where the cause does not pass by itself there is none, and the
        /// read is repeated when a run has succeeded. Leaves to: reading; done.
        case failed(attempt: Int, TimerWheel.Handle?)
        /// The history was read, or there is nothing to read it for.
        case done
    }

    /// One for each name that a configuration has had: an index means the same job for as long as the process lives.
    var states: [ScheduledJob]
    /// The indices of the jobs in force, in the order in which they run when they are due together.
    private(set) var jobs: [Int]
    /// Fire times, in microseconds since the Unix epoch; the payload is the job's index.
    var fireTimes = TimerWheel()
    /// Waits, in microseconds since the process began; the payload is the job's index, or one of the next two.
    var waits = TimerWheel()
    private static let watchdogPayload = UInt64.max
    static let lookBackPayload = UInt64.max - 1
    private let watchdogInterval: Duration?
    var lookBack: LookBack
    let start: UTCInstant
    private var lastWall: UTCInstant
    private(set) var isStopping = false
    var generator: SplitMix64
    var actions: [Action] = []

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - watchdogInterval: half of the time after which the service manager ends a service without a ping:
    ///     sd_watchdog_enabled(3). Nil without a watchdog.
    ///   - looksBack: true if `started` is to ask for the history.
    init(jobs: [Job], now: TwoClocks, seed: UInt64, watchdogInterval: Duration? = nil, looksBack: Bool = false) {
        states = jobs.map { ScheduledJob(job: $0) }
        self.jobs = Array(jobs.indices)
        self.watchdogInterval = watchdogInterval
        lookBack = looksBack ? .reading(attempt: 1) : .done
        (start, lastWall) = (now.wall, now.wall)
        generator = SplitMix64(seed: seed)
        for job in states.indices { arm(job, after: now.wall) }
        armWatchdog(after: now.elapsed)
        // Nothing is told before `started`.
        actions = []
    }

    /// The instants to say `clockAdvanced` at.
    var wakeUp: WakeUp {
        // Any wait but the watchdog's has to end on time.
        var mayBeLate = states.allSatisfy { $0.retryTimer == nil }
        if case .failed(_, _?) = lookBack { mayBeLate = false }
        return WakeUp(wall: nextFireTime, elapsed: nextWait, mayBeLate: mayBeLate)
    }

    /// The next fire time of any job.
    var nextFireTime: UTCInstant? { fireTimes.next.map(Self.instant) }

    /// The end of the next wait, in time since the process began.
    var nextWait: Duration? { waits.next.map { .microseconds(Int64(clamping: $0)) } }

    /// The next fire time of a job; nil while it is disabled.
    func nextFireTime(of job: Int) -> UTCInstant? {
        states[job].fireTimer.flatMap { fireTimes.deadline(of: $0) }.map(Self.instant)
    }

    var isBusy: Bool { states.contains { $0.runUnderWay != nil } }

    /// True when the service was asked to stop and its last attempt has ended.
    var isFinished: Bool { isStopping && !isBusy }

    // MARK: Events

    /// The service has started. Said once, before any other event.
    mutating func started() -> [Action] {
        for job in states.indices { tellFireTime(of: job) }
        tell(.started(armedJobs))
        if case .reading = lookBack { readHistory(attempt: 1) }
        return takeActions()
    }

    /// - Parameter wasSet: true if the wall clock is known to have been set, or the machine to have slept.
    mutating func clockAdvanced(to now: TwoClocks, wasSet: Bool) -> [Action] {
        if wasSet { tell(.clockWasSet(to: now.wall)) }
        answerAllThatCame(by: now, wasSet: wasSet)
        return takeActions()
    }

    /// The configuration was read again.
    ///
    /// Jobs are known by their names. Fire times that have come by now are answered first, by the schedules that were
    /// in force. An attempt under way continues; one that waits keeps its time, unless its job is removed or disabled.
    mutating func reconfigured(jobs: [Job], waitingForRestart: [String] = [], now: TwoClocks) -> [Action] {
        guard !isStopping else { return [] }
        answerAllThatCame(by: now, wasSet: false)
        self.jobs = []
        var changed: Set<Int> = []
        for job in jobs {
            let index = states.firstIndex { $0.job.name == job.name } ?? states.endIndex
            if index == states.endIndex { states.append(ScheduledJob(job: job)) }
            let state = states[index]
            // A new job has no timer yet.
            if state.fireTimer == nil || state.isResting || !state.job.firesAsOften(as: job) { changed.insert(index) }
            states[index].job = job
            self.jobs.append(index)
        }
        for index in states.indices {
            if !self.jobs.contains(index) || !states[index].job.isEnabled {
                disable(index)
            } else if changed.contains(index) {
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
    mutating func stopRequested() -> [Action] {
        guard !isStopping else { return [] }
        isStopping = true
        tell(.stopping)
        for job in states.indices {
            disarm(job)
            endWait(of: job)
        }
        if case .failed(_, let timer?) = lookBack { _ = waits.cancel(timer) }
        lookBack = .done
        actions.append(.cancelAttempts)
        return takeActions()
    }

    private mutating func answerAllThatCame(by now: TwoClocks, wasSet: Bool) {
        if !isStopping, wasSet || now.wall < lastWall { nameFireTimesAgain(after: now.wall) }
        lastWall = now.wall
        var runs: [Run] = []
        while let timer = fireTimes.pop(now: Self.ticks(now.wall)) {
            let attempt = answer(Self.instant(timer.deadline), of: Int(timer.payload), at: now.wall)
            if let attempt { runs.append(Run(attempt: attempt)) }
        }
        while let timer = waits.pop(now: Self.ticks(now.elapsed)) {
            switch timer.payload {
            case Self.watchdogPayload:
                // A stuck wheel, or an attempt that is past its limit, sends no ping.
                if states.allSatisfy({ $0.runUnderWay.map { now.elapsed <= $0.limit } ?? true }) { tell(.foundWell) }
                armWatchdog(after: now.elapsed)
            case Self.lookBackPayload: repeatLookBack()
            default:
                guard case .waiting(let run, _) = states[Int(timer.payload)].phase else {
                    preconditionFailure("a wait ended that no run had begun")
                }
                runs.append(run)
            }
        }
        begin(runs, at: now)
    }

    private mutating func disable(_ job: Int) {
        states[job].job.isEnabled = false
        if states[job].fireTimer != nil {
            disarm(job)
            tellFireTime(of: job)
        }
        if let run = states[job].runUnderWay { states[job].phase = .running(run, successor: nil) }
        endWait(of: job)
    }

    private mutating func armWatchdog(after elapsed: Duration) {
        if let watchdogInterval { _ = addWait(Self.watchdogPayload, until: elapsed + watchdogInterval) }
    }

    mutating func addWait(_ payload: UInt64, until elapsed: Duration) -> TimerWheel.Handle {
        waits.add(deadline: Self.ticks(elapsed), payload: payload)
    }

    mutating func tell(_ event: ServiceEvent) { actions.append(.tell(event)) }

    mutating func takeActions() -> [Action] {
        defer { actions = [] }
        return actions
    }

    static func instant(_ ticks: UInt64) -> UTCInstant { UTCInstant(microsecondsSinceEpoch: Int64(clamping: ticks)) }

    /// Nothing is scheduled before 1970.
    static func ticks(_ instant: UTCInstant) -> UInt64 { UInt64(clamping: instant.microsecondsSinceEpoch) }

    /// Rounded up, so that nothing is early.
    static func ticks(_ elapsed: Duration) -> UInt64 {
        let (seconds, attoseconds) = elapsed.components
        return UInt64(clamping: seconds * 1_000_000 + (attoseconds + 999_999_999_999) / 1_000_000_000_000)
    }
}
