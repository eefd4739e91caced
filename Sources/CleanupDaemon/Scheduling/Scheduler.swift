import SessionCleanup
import Time
import TimerWheel

/// Decides which job runs when. It is told both clocks and each event, and answers with actions; it has no clock, no thread and
/// no connection. The two wheels keep the instants of fire times and waits; a state holds at most the handle of its timer.
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

    typealias Assignment = (attempt: Attempt, job: Job, request: RunRequest)

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
        /// No attempt is to come before the next fire time. Leaves to: running; waiting, for a run of an earlier process.
        case idle
        /// An attempt is under way. The successor is for the latest fire time that came meanwhile, and is made only if the
        /// attempt fails or finds that there is no run to make. Leaves to: running, for the successor; waiting; idle.
        case running(Run, successor: Attempt?)
        /// The next attempt begins when the timer fires. Leaves to: running; idle, when the run's interval ends, its
        /// job is disabled or the service stops.
        case waiting(Run, TimerWheel.Handle)
    }

    /// A run between its first attempt and its end.
    struct Run {
        var attempt: Attempt
        /// How many of the attempts before this one found only that another process has the run.
        var looks = 0
        /// The combined report of the attempts before this one; nil if there was none.
        var report: RunReport?
        /// The wait before another attempt, should this one fail for a transient cause.
        var retryDelay = RetryPolicy.shortest
        /// When the attempt under way must have ended, in time since the process began.
        var limit = Duration.zero
        /// The number of the attempts that follow each other over one connection, this one included.
        var series = 0

        /// The number of attempts at the run's work, this one included: a retry waits by it.
        var tries: Int { attempt.number - looks }
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
        /// The read is repeated when the timer fires. The timer is nil if the cause does not pass by itself: then the
        /// read is repeated when a run has succeeded. Leaves to: reading; done.
        case failed(attempt: Int, TimerWheel.Handle?)
        /// The history was read, or there is nothing to read it for.
        case done
    }

    /// One for each job name of any configuration so far: an index means the same job while the process lives.
    var states: [ScheduledJob]
    /// The indices of the jobs in force, in the order in which they run when they are due together.
    private(set) var jobs: [Int]
    /// Fire times, in microseconds since the Unix epoch; the payload is the job's index.
    var fireTimes = TimerWheel()
    /// Waits, in microseconds since the process began; the payload is the job's index, or one of the two below.
    private(set) var waits = TimerWheel()
    private static let watchdogPayload = UInt64.max
    static let lookBackPayload = UInt64.max - 1
    private let watchdogInterval: Duration?
    var lookBack: LookBack
    let start: UTCInstant
    private var lastWall: UTCInstant
    private(set) var isStopping = false
    /// The number of the last attempts that were begun together.
    var lastSeries = 0
    var generator: any RandomNumberGenerator & Sendable
    var actions: [Action] = []

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - watchdogInterval: the time between two `foundWell`; nil without a watchdog.
    ///   - looksBack: true if `started` is to ask for the history.
    init(
        jobs: [Job], now: TwoClocks, watchdogInterval: Duration?, looksBack: Bool,
        generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        states = jobs.map { ScheduledJob(job: $0) }
        self.jobs = Array(jobs.indices)
        self.watchdogInterval = watchdogInterval
        lookBack = looksBack ? .reading(attempt: 1) : .done
        (start, lastWall) = (now.wall, now.wall)
        self.generator = generator
        for job in states.indices { arm(job, after: now.wall) }
        armWatchdog(after: now.elapsed)
        // Nothing is told before `started`.
        actions = []
    }

    /// The instants to call `clockAdvanced` at: the next fire time, and the end of the next wait.
    var wakeUp: (wall: UTCInstant?, elapsed: Duration?) {
        (fireTimes.next.map(Self.instant), waits.next.map(Self.elapsed))
    }

    /// The next fire time of a job; nil while it is disabled.
    func nextFireTime(of job: Int) -> UTCInstant? {
        states[job].fireTimer.flatMap { fireTimes.deadline(of: $0) }.map(Self.instant)
    }

    /// True when the service was asked to stop and its last attempt has ended.
    var isFinished: Bool { isStopping && states.allSatisfy { $0.runUnderWay == nil } }

    // MARK: Events

    /// The service has started. Called once, before any other event.
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

    /// The configuration was read again. Jobs are known by their names. Fire times that have come by now are answered first, by
    /// the schedules that were in force. An attempt under way continues; one that waits keeps its time, unless its job is removed
    /// or disabled.
    mutating func reconfigured(jobs: [Job], waitingForRestart: [String] = [], now: TwoClocks) -> [Action] {
        guard !isStopping else { return [] }
        answerAllThatCame(by: now, wasSet: false)
        let known = Set(states.map(\.job.name))
        states += jobs.filter { !known.contains($0.name) }.map { ScheduledJob(job: $0) }
        self.jobs = jobs.compactMap { job in states.firstIndex { $0.job.name == job.name } }
        for index in states.indices {
            let old = states[index]
            let job = jobs.first { $0.name == old.job.name }
            states[index].job = job ?? old.job
            if !(job?.isEnabled ?? false) {
                disable(index)
            } else if old.fireTimer == nil || old.isResting || !old.job.firesAsOften(as: states[index].job) {
                // `now` included: a fire time of the schedule before was answered above, or passed over.
                disarm(index)
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
            switch (timer.payload, lookBack) {
            case (Self.watchdogPayload, _):
                // No ping is sent while the wheel is stuck, or while an attempt is past its limit.
                if states.allSatisfy({ $0.runUnderWay.map { now.elapsed <= $0.limit } ?? true }) { tell(.foundWell) }
                armWatchdog(after: now.elapsed)
            case (Self.lookBackPayload, .failed(let attempt, _)): readHistory(attempt: attempt + 1)
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

    /// Ends a run that waits for its next attempt. Before its first attempt a run has nothing to conclude.
    mutating func endWait(of job: Int) {
        guard case .waiting(let run, let timer) = states[job].phase else { return }
        _ = waits.cancel(timer)
        states[job].phase = .idle
        if let report = run.report { tell(.runConcluded(report)) }
    }

    private mutating func armWatchdog(after now: Duration) {
        if let watchdogInterval { _ = addWait(Self.watchdogPayload, until: now + watchdogInterval) }
    }

    mutating func addWait(_ payload: UInt64, until elapsed: Duration) -> TimerWheel.Handle {
        waits.add(deadline: Self.ticks(elapsed), payload: payload)
    }

    mutating func tell(_ event: ServiceEvent) { actions.append(.tell(event)) }

    mutating func takeActions() -> [Action] {
        defer { actions = [] }
        return actions
    }

    private static func instant(_ ticks: UInt64) -> UTCInstant {
        UTCInstant(microsecondsSinceEpoch: Int64(clamping: ticks))
    }

    static func elapsed(_ ticks: UInt64) -> Duration { .microseconds(Int64(clamping: ticks)) }

    /// Instants before 1970 become 0: nothing is scheduled then.
    static func ticks(_ instant: UTCInstant) -> UInt64 { UInt64(clamping: instant.microsecondsSinceEpoch) }

    private static func ticks(_ elapsed: Duration) -> UInt64 {
        UInt64(clamping: elapsed.attoseconds / 1_000_000_000_000)
    }
}
