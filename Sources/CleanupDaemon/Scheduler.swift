package import CleanupSchedule
package import SessionCleanup
import TimerWheel

/// Decides which job runs when. Is told the time and what happened, and answers what to do; has no clock, no thread and
/// no connection, so that a test can take it through a year in a second.
package struct Scheduler: ~Copyable {
    /// Both clocks, read together. They are never mixed: the wall clock names fire times, the other one measures waits.
    package struct Now: Hashable, Sendable {
        package var wall: UTCInstant
        /// Time since the process began; goes on while the machine sleeps.
        package var elapsed: Duration

        package init(wall: UTCInstant, elapsed: Duration) {
            self.wall = wall
            self.elapsed = elapsed
        }
    }

    /// One attempt at the run for a fire time.
    package struct Attempt: Hashable, Sendable {
        /// Index into the jobs that the scheduler was made with.
        package let job: Int
        package let scheduledAt: UTCInstant
        package let origin: RunOrigin
        /// Counts from 1.
        package let number: Int
    }

    package enum Action: Hashable, Sendable {
        /// Make these attempts, one after the other, over one connection.
        case start([Attempt])
        /// The attempt failed for a cause that may pass; another one follows.
        case announceRetry(Attempt, after: Duration)
        /// No attempt of this run follows.
        case concludeRun(Attempt)
        /// A fire time came while its job was running: it gets no run.
        case countCoalesced(job: Int, UTCInstant)
        /// So many fire times passed while nobody could answer them.
        case countMissed(job: Int, Int)
        /// The wheel turns, and no attempt is under way longer than it may be: the watchdog is to hear of it.
        case pingWatchdog
    }

    private enum Phase {
        case idle
        case running(Attempt)
        /// Until the next attempt, which is the one that is held here.
        case waiting(Attempt, TimerWheel.Handle)
    }

    private struct JobState {
        let job: Job
        var phase = Phase.idle
        var nextFireTime: UTCInstant?
        var answered = AnsweredFireTimes()
    }

    private var states: [JobState]
    /// Fire times, in microseconds since the Unix epoch; the payload is the job's index.
    private var fireTimes = TimerWheel()
    /// Retries, in microseconds since the process began; the payload is the job's index, or `watchdogPayload`.
    private var retries = TimerWheel()
    private var watchdog: WatchdogTimer?
    private static let watchdogPayload = UInt64.max
    private var lastWall: UTCInstant
    /// Whether `shutDown` was called.
    package private(set) var isShuttingDown = false
    private var generator: SplitMix64

    /// A fire time that is answered later than this was missed: the machine slept, or its clock jumped. Less is a slow
    /// machine's matter.
    private static let punctuality = Duration.seconds(60)

    /// Missed fire times are counted one by one up to here: a day of a schedule with seconds.
    private static let countLimit = 86_400

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together; disabled ones are never due.
    ///   - seed: for the jitter of retries.
    ///   - watchdogInterval: how often to answer `pingWatchdog`; `nil` when nobody watches.
    package init(jobs: [Job], now: Now, seed: UInt64, watchdogInterval: Duration? = nil) {
        states = jobs.map { JobState(job: $0) }
        watchdog = watchdogInterval.map(WatchdogTimer.init)
        lastWall = now.wall
        generator = SplitMix64(state: seed)
        armFireTimes(after: now.wall)
        armWatchdog(after: now.elapsed)
    }

    // MARK: What is known

    /// When to say `clockAdvanced` next because of the wall clock.
    package var nextFireTime: UTCInstant? {
        fireTimes.next.map { UTCInstant(microsecondsSinceEpoch: Int64(clamping: $0)) }
    }

    /// When to say `clockAdvanced` next because of a wait, in time since the process began.
    package var nextRetry: Duration? { retries.next.map { .microseconds(Int64(clamping: $0)) } }

    /// The next fire time of a job; `nil` when it is disabled.
    package func nextFireTime(of job: Int) -> UTCInstant? { states[job].nextFireTime }

    /// Whether any attempt is under way.
    package var isBusy: Bool {
        states.contains { state in
            if case .running = state.phase { return true }
            return false
        }
    }

    // MARK: Events

    /// Time has passed, or the wall clock was set: what is due now?
    ///
    /// - Parameter wasSet: whether the wall clock is known to have been set, or the machine to have slept.
    package mutating func clockAdvanced(to now: Now, wasSet: Bool) -> [Action] {
        var actions: [Action] = []
        var attempts: [Attempt] = []
        if !isShuttingDown, wasSet || now.wall < lastWall { forgetFutureFireTimes(now.wall) }
        lastWall = now.wall
        while let timer = fireTimes.pop(now: Self.ticks(now.wall)) {
            answer(
                UTCInstant(microsecondsSinceEpoch: Int64(timer.deadline)), of: Int(timer.payload), now.wall, &attempts,
                &actions)
        }
        while let timer = retries.pop(now: Self.ticks(now.elapsed)) {
            if timer.payload == Self.watchdogPayload {
                if watchdog?.isWell(at: now.elapsed) ?? false { actions.append(.pingWatchdog) }
                armWatchdog(after: now.elapsed)
                continue
            }
            let job = Int(timer.payload)
            guard case .waiting(let attempt, _) = states[job].phase else { continue }
            states[job].phase = .running(attempt)
            attempts.append(attempt)
        }
        if !attempts.isEmpty {
            attempts.sort { $0.job < $1.job }
            watchdog?.attemptsBegan(attempts.map { ($0.job, states[$0.job].job.deadline) }, at: now.elapsed)
            actions.append(.start(attempts))
        }
        return actions
    }

    /// An attempt has ended.
    ///
    /// - Parameter mayRetry: whether it failed for a cause that may pass.
    package mutating func attemptEnded(job: Int, mayRetry: Bool, now: Now) -> [Action] {
        guard case .running(let attempt) = states[job].phase else { return [] }
        states[job].phase = .idle
        watchdog?.attemptEnded(job: job)
        guard mayRetry, !isShuttingDown, attempt.number < RetryPolicy.maximumAttempts else {
            return [.concludeRun(attempt)]
        }
        let delay = RetryPolicy.delay(after: attempt.number, using: &generator)
        // Inside the interval only: the next fire time's own run is the better retry.
        guard let next = states[job].nextFireTime, now.wall + delay < next else { return [.concludeRun(attempt)] }
        let handle = retries.add(deadline: Self.ticks(now.elapsed + delay), payload: UInt64(job))
        let following = Attempt(
            job: job, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number + 1)
        states[job].phase = .waiting(following, handle)
        return [.announceRetry(attempt, after: delay)]
    }

    /// No attempt starts from now on; the watchdog still hears from those under way.
    package mutating func shutDown() -> [Action] {
        isShuttingDown = true
        fireTimes = TimerWheel()
        var actions: [Action] = []
        for job in states.indices { abandonRetry(of: job, &actions) }
        return actions
    }

    // MARK: Fire times

    private mutating func answer(
        _ fireTime: UTCInstant, of job: Int, _ now: UTCInstant, _ attempts: inout [Attempt], _ actions: inout [Action]
    ) {
        let (schedule, zone) = (states[job].job.schedule, states[job].job.timeZone?.rules)
        // The latest fire time that has come: the earlier ones were missed, and this run answers them too.
        let latest = max(fireTime, schedule.previous(atOrBefore: now, in: zone) ?? fireTime)
        arm(job, after: now)
        guard !states[job].answered.contains(latest) else { return }
        let isPunctual = now - latest <= Self.punctuality
        let missed =
            schedule.count(from: fireTime, before: latest, in: zone, limit: Self.countLimit) + (isPunctual ? 0 : 1)
        if missed > 0 { actions.append(.countMissed(job: job, missed)) }
        let isOnTime = isPunctual && latest == fireTime
        if case .running = states[job].phase {
            states[job].answered.insert(latest, after: schedule.previous(before: latest, in: zone))
            actions.append(.countCoalesced(job: job, latest))
            return
        }
        guard isPunctual || states[job].job.catchUp == .once else { return }
        abandonRetry(of: job, &actions)
        states[job].answered.insert(latest, after: schedule.previous(before: latest, in: zone))
        let attempt = Attempt(job: job, scheduledAt: latest, origin: isOnTime ? .schedule : .catchUp, number: 1)
        states[job].phase = .running(attempt)
        attempts.append(attempt)
    }

    private mutating func abandonRetry(of job: Int, _ actions: inout [Action]) {
        guard case .waiting(let following, let handle) = states[job].phase else { return }
        _ = retries.cancel(handle)
        states[job].phase = .idle
        actions.append(
            .concludeRun(
                Attempt(
                    job: job, scheduledAt: following.scheduledAt, origin: following.origin, number: following.number - 1
                )))
    }

    /// After the clock was set. Fire times that have come meanwhile stay due; those ahead are named anew, since a clock
    /// that went back has others ahead of it. A wheel does not run backward: it is made again.
    private mutating func forgetFutureFireTimes(_ now: UTCInstant) {
        fireTimes = TimerWheel()
        for job in states.indices {
            if let due = states[job].nextFireTime, due <= now {
                _ = fireTimes.add(deadline: Self.ticks(due), payload: UInt64(job))
            } else {
                arm(job, after: now)
            }
        }
    }

    private mutating func armFireTimes(after now: UTCInstant) {
        for job in states.indices { arm(job, after: now) }
    }

    /// Arms the first fire time after the instant that was not answered before.
    private mutating func arm(_ job: Int, after now: UTCInstant) {
        let state = states[job]
        guard state.job.isEnabled else { return }
        var fireTime = state.job.schedule.next(after: now, in: state.job.timeZone?.rules)
        // Ends because each range is left behind once, and there is a bounded number of them.
        while let candidate = fireTime, let end = state.answered.endOfRange(containing: candidate) {
            fireTime = state.job.schedule.next(after: end, in: state.job.timeZone?.rules)
        }
        states[job].nextFireTime = fireTime
        if let fireTime { _ = fireTimes.add(deadline: Self.ticks(fireTime), payload: UInt64(job)) }
    }

    private mutating func armWatchdog(after elapsed: Duration) {
        guard let watchdog else { return }
        _ = retries.add(deadline: Self.ticks(elapsed + watchdog.interval), payload: Self.watchdogPayload)
    }

    /// Before 1970 nothing is scheduled.
    private static func ticks(_ instant: UTCInstant) -> UInt64 { UInt64(clamping: instant.microsecondsSinceEpoch) }

    /// Rounded up, so that nothing is early.
    private static func ticks(_ elapsed: Duration) -> UInt64 {
        let (seconds, attoseconds) = elapsed.components
        return UInt64(clamping: seconds * 1_000_000 + (attoseconds + 999_999_999_999) / 1_000_000_000_000)
    }
}

extension Schedule {
    /// The fire time before this one.
    fileprivate func previous(before fireTime: UTCInstant, in zone: TimeZoneRules?) -> UTCInstant? {
        previous(atOrBefore: fireTime - .microseconds(1), in: zone)
    }

    /// How many fire times there are from the first, itself one, up to but without the end; at most the limit.
    fileprivate func count(from first: UTCInstant, before end: UTCInstant, in zone: TimeZoneRules?, limit: Int) -> Int {
        var count = 0
        var fireTime = first
        while fireTime < end, count < limit, let following = next(after: fireTime, in: zone) {
            count += 1
            fireTime = following
        }
        return count
    }
}

/// A small generator with a seed, so that a test can replay it: Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014.
struct SplitMix64: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
