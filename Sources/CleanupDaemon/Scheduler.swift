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
        /// As `job(_:)` knows it.
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
    }

    private enum Phase {
        case idle
        case running(Attempt)
        /// Until the next attempt, which is the one that is held here.
        case waiting(Attempt, TimerWheel.Handle)
    }

    private struct JobState {
        var job: Job
        /// The place among jobs that are due together; `nil` for a job that the configuration no longer has.
        var order: Int?
        var phase = Phase.idle
        var nextFireTime: UTCInstant?
        var answered = AnsweredFireTimes()
    }

    /// One for each name that a configuration has had: an index means the same job for as long as the process lives.
    private var states: [JobState]
    /// Fire times, in microseconds since the Unix epoch; the payload is the job's index.
    private var fireTimes = TimerWheel()
    /// Retries, in microseconds since the process began; the payload is the job's index.
    private var retries = TimerWheel()
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
    package init(jobs: [Job], now: Now, seed: UInt64) {
        states = jobs.enumerated().map { JobState(job: $1, order: $0) }
        lastWall = now.wall
        generator = SplitMix64(state: seed)
        armFireTimes(after: now.wall)
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

    /// The job with that index, with the settings for its next attempt.
    package func job(_ index: Int) -> Job { states[index].job }

    /// The indices of the jobs in force, in the order in which they run when they are due together.
    package var jobs: [Int] {
        states.indices.filter { states[$0].order != nil }.sorted { order(of: $0) < order(of: $1) }
    }

    /// Of all jobs that it has known, those included that the configuration no longer has.
    package var indices: Range<Int> { states.indices }

    private func order(of job: Int) -> Int { states[job].order ?? states.count }

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
        guard !isShuttingDown else { return [] }
        var actions: [Action] = []
        var attempts: [Attempt] = []
        if wasSet || now.wall < lastWall { forgetFutureFireTimes(now.wall) }
        lastWall = now.wall
        while let timer = fireTimes.pop(now: Self.ticks(now.wall)) {
            answer(
                UTCInstant(microsecondsSinceEpoch: Int64(timer.deadline)), of: Int(timer.payload), now.wall, &attempts,
                &actions)
        }
        while let timer = retries.pop(now: Self.ticks(now.elapsed)) {
            let job = Int(timer.payload)
            guard case .waiting(let attempt, _) = states[job].phase else { continue }
            states[job].phase = .running(attempt)
            attempts.append(attempt)
        }
        if !attempts.isEmpty { actions.append(.start(attempts.sorted { order(of: $0.job) < order(of: $1.job) })) }
        return actions
    }

    /// An attempt has ended.
    ///
    /// - Parameter mayRetry: whether it failed for a cause that may pass.
    package mutating func attemptEnded(job: Int, mayRetry: Bool, now: Now) -> [Action] {
        guard case .running(let attempt) = states[job].phase else { return [] }
        states[job].phase = .idle
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

    /// The configuration was read again.
    ///
    /// Jobs are known by their names. What has come by now is answered first, by the schedules that were in force. An
    /// attempt under way goes on; one that waits to be repeated keeps its time, unless its job is gone or disabled;
    /// what was answered stays answered.
    package mutating func reconfigure(jobs: [Job], now: Now) -> [Action] {
        guard !isShuttingDown else { return [] }
        var actions = clockAdvanced(to: now, wasSet: false)
        var isNew = states.map { _ in false }
        for index in states.indices { states[index].order = nil }
        for (order, job) in jobs.enumerated() {
            if let index = states.firstIndex(where: { $0.job.name == job.name }) {
                isNew[index] = !states[index].job.firesAsOften(as: job)
                states[index].job = job
                states[index].order = order
            } else {
                states.append(JobState(job: job, order: order))
                isNew.append(true)
            }
        }
        fireTimes = TimerWheel()
        for index in states.indices {
            if states[index].order == nil || !states[index].job.isEnabled {
                states[index].job.isEnabled = false
                states[index].nextFireTime = nil
                abandonRetry(of: index, &actions)
            } else if isNew[index] {
                // This instant included: nobody else would answer it.
                arm(index, after: now.wall - .microseconds(1))
            } else if let fireTime = states[index].nextFireTime {
                _ = fireTimes.add(deadline: Self.ticks(fireTime), payload: UInt64(index))
            }
        }
        return actions
    }

    /// No attempt starts from now on.
    package mutating func shutDown() -> [Action] {
        isShuttingDown = true
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

    /// Before 1970 nothing is scheduled.
    private static func ticks(_ instant: UTCInstant) -> UInt64 { UInt64(clamping: instant.microsecondsSinceEpoch) }

    /// Rounded up, so that nothing is early.
    private static func ticks(_ elapsed: Duration) -> UInt64 {
        let (seconds, attoseconds) = elapsed.components
        return UInt64(clamping: seconds * 1_000_000 + (attoseconds + 999_999_999_999) / 1_000_000_000_000)
    }
}

extension Job {
    fileprivate func firesAsOften(as other: Job) -> Bool {
        isEnabled == other.isEnabled && schedule == other.schedule && timeZone == other.timeZone
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
