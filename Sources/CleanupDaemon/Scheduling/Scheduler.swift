import CleanupSchedule
import Pseudorandom
package import SessionCleanup
package import Time
import TimerWheel

/// Decides which job runs when. Is told the time and what happened, and answers what to do; has no clock, no thread and
/// no connection, so that a test can take it through a year in a second.
package struct Scheduler: ~Copyable {
    private enum Phase {
        case idle
        case running(Attempt)
        /// Until the next attempt, which is the one that is held here, and starts after so much of the process's time.
        case waiting(Attempt, TimerWheel.Handle, until: Duration)
    }

    private struct JobState {
        var job: Job
        /// The place among jobs that are due together; `nil` for a job that the configuration no longer has.
        var order: Int?
        var phase = Phase.idle
        var nextFireTime: UTCInstant?
        var answered = AnsweredFireTimes()
        /// Whether its last attempt failed.
        var hasFailed = false
        /// Fire times before it pass: nothing will be due.
        var restsUntil: UTCInstant?
        /// For the latest fire time that came during the attempt under way: made only if that one fails.
        var successor: Attempt?
    }

    /// One for each name that a configuration has had: an index means the same job for as long as the process lives.
    private var states: [JobState]
    /// Fire times, in microseconds since the Unix epoch; the payload is the job's index.
    private var fireTimes = TimerWheel()
    /// Retries, in microseconds since the process began; the payload is the job's index, or `watchdogPayload`.
    private var retries = TimerWheel()
    private var watchdog: WatchdogTimer?
    private static let watchdogPayload = UInt64.max
    private var lastWall: UTCInstant
    /// The last fire time that a connection was asked for.
    private var connectedFor: UTCInstant?
    /// Whether `shutDown` was called.
    package private(set) var isShuttingDown = false
    private var generator: SplitMix64

    /// A fire time that is answered later than this was missed: the machine slept, or its clock jumped. Less is a slow
    /// machine's matter.
    private static let punctuality = Duration.seconds(60)

    /// How long before a fire time its connection is opened. Long enough for a handshake over an ocean, or for most of a
    /// serverless database's wake-up; short against the minutes for which such a database stays awake after each run, and is
    /// billed.
    static let connectionLead = Duration.seconds(1)

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together; disabled ones are never due.
    ///   - seed: for the jitter of retries.
    ///   - watchdogInterval: how often to answer `pingWatchdog`; `nil` when nobody watches.
    package init(jobs: [Job], now: Now, seed: UInt64, watchdogInterval: Duration? = nil) {
        states = jobs.enumerated().map { JobState(job: $1, order: $0) }
        watchdog = watchdogInterval.map(WatchdogTimer.init)
        lastWall = now.wall
        generator = SplitMix64(seed: seed)
        armFireTimes(after: now.wall)
        armWatchdog(after: now.elapsed)
    }

    // MARK: What is known

    /// When to say `clockAdvanced` next because of the wall clock.
    package var nextWakeUp: UTCInstant? { nextConnection ?? nextFireTime }

    /// The next fire time of any job.
    package var nextFireTime: UTCInstant? {
        fireTimes.next.map { UTCInstant(microsecondsSinceEpoch: Int64(clamping: $0)) }
    }

    /// When to wake to connect for the next fire time; `nil` from then on.
    private var nextConnection: UTCInstant? {
        guard let instant = nextFireTime.map({ $0 - Self.connectionLead }), instant > lastWall else { return nil }
        return instant
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

    /// Whether any attempt is to be repeated.
    package var isRetrying: Bool {
        states.contains { state in
            if case .waiting = state.phase { return true }
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
        if !isShuttingDown, wasSet || now.wall < lastWall {
            // By another clock it would be another instant, and might silence the job for a year.
            for job in states.indices { states[job].restsUntil = nil }
            connectedFor = nil
            forgetFutureFireTimes(now.wall)
        }
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
            guard case .waiting(let attempt, _, _) = states[job].phase else { continue }
            states[job].phase = .running(attempt)
            attempts.append(attempt)
        }
        if !attempts.isEmpty {
            attempts.sort { order(of: $0.job) < order(of: $1.job) }
            actions.append(begin(attempts, now))
        }
        if let fireTime = nextFireTime, fireTime - now.wall <= Self.connectionLead, fireTime != connectedFor,
            isConnectionWanted(before: fireTime)
        {
            connectedFor = fireTime
            actions.append(.connect(before: fireTime))
        }
        return actions
    }

    /// Whether a job fires then that is not running now, and whose last attempt did not fail: to try a wrong password, or a
    /// server that is down, twice for each fire time would help nobody.
    private func isConnectionWanted(before fireTime: UTCInstant) -> Bool {
        states.contains { state in
            guard case .idle = state.phase else { return false }
            return state.nextFireTime == fireTime && !state.hasFailed
        }
    }

    /// The service has started: was the last fire time of each job missed while nobody ran? Only the history can tell, and
    /// when the job last succeeded.
    package mutating func lookBack(now: Now) -> [Action] {
        var attempts: [Attempt] = []
        for job in states.indices where states[job].job.isEnabled {
            let (schedule, zone) = (states[job].job.schedule, states[job].job.timeZone?.rules)
            guard let last = schedule.previous(atOrBefore: now.wall, in: zone) else { continue }
            let attempt = Attempt(job: job, scheduledAt: last, origin: .catchUp, number: 1, isLookBack: true)
            states[job].phase = .running(attempt)
            attempts.append(attempt)
        }
        return attempts.isEmpty ? [] : [begin(attempts, now)]
    }

    /// An attempt has ended.
    package mutating func attemptEnded(job: Int, _ result: Result, now: Now) -> [Action] {
        guard case .running(let attempt) = states[job].phase else { return [] }
        let successor = states[job].successor
        states[job].phase = .idle
        states[job].hasFailed = result == .failed || result == .mayRetry
        watchdog?.attemptEnded(job: job)
        states[job].successor = nil
        // Inside the interval only: when a fire time has come meanwhile, its own run is the better retry.
        let following =
            successor
            ?? Attempt(
                job: job, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number + 1,
                isLookBack: attempt.isLookBack)
        let wait: Duration
        switch result {
        case .ended, .failed: return [.concludeRun(attempt)]
        case .skipped:
            guard let successor, !isShuttingDown, states[job].job.isEnabled else { return [.concludeRun(attempt)] }
            states[job].phase = .running(successor)
            return [.concludeRun(attempt), begin([successor], now)]
        case .mayRetry: wait = self.wait(after: max(1, following.number - 1), now)
        case .heldElsewhere(let lease):
            // A little later than the lease's end, and not all who wait for it at the same instant.
            wait = max(lease, .zero) + .milliseconds(Int64.random(in: 100...1000, using: &generator))
        }
        guard !isShuttingDown, attempt.number < RetryPolicy.maximumAttempts,
            now.wall + wait < endOfInterval(of: following)
        else { return [.concludeRun(attempt)] }
        let handle = retries.add(deadline: Self.ticks(now.elapsed + wait), payload: UInt64(job))
        states[job].phase = .waiting(following, handle, until: now.elapsed + wait)
        return successor == nil ? [.announceRetry(attempt, after: wait)] : [.concludeRun(attempt)]
    }

    /// A run has the time up to the next fire time, answered or not; a disabled job has none.
    private func endOfInterval(of attempt: Attempt) -> UTCInstant {
        let state = states[attempt.job]
        guard let next = state.nextFireTime else { return attempt.scheduledAt }
        return min(next, state.job.schedule.next(after: attempt.scheduledAt, in: state.job.timeZone?.rules) ?? next)
    }

    /// Another job's retry that comes at about that time is joined: one connection serves both. Not one that comes much
    /// sooner: a job that has waited long would be repeated as often as one that begins to.
    private mutating func wait(after attempt: Int, _ now: Now) -> Duration {
        let range = RetryPolicy.delays(after: attempt)
        for state in states {
            guard case .waiting(_, _, let start) = state.phase else { continue }
            let wait = start - now.elapsed
            if wait >= range.lowerBound / 2, wait <= range.upperBound { return wait }
        }
        return RetryPolicy.delay(in: range, using: &generator)
    }

    /// The attempt that is about to end found nothing, and nothing will be due before the instant: fire times until then
    /// pass, but none that is later than the job's `maxStaleness` after this one.
    package mutating func rest(job: Int, until due: UTCInstant, now: Now) -> [Action] {
        guard !isShuttingDown, case .running(let attempt) = states[job].phase, let limit = states[job].job.maxStaleness,
            let next = states[job].nextFireTime, next > now.wall
        else { return [] }
        let (schedule, zone) = (states[job].job.schedule, states[job].job.timeZone?.rules)
        let instant = min(due, schedule.previous(atOrBefore: attempt.scheduledAt + limit, in: zone) ?? next)
        guard next < instant else { return [] }
        states[job].restsUntil = instant
        forgetFutureFireTimes(now.wall)
        return [.countPassedOver(job: job, missedFireTimes(of: job, from: next, before: instant), until: instant)]
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
                isNew[index] = !states[index].job.firesAsOften(as: job) || states[index].restsUntil != nil
                states[index].restsUntil = nil
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
                states[index].successor = nil
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
        // The latest that has come and was not answered before: the earlier ones were missed, and this run answers them too.
        let latest = max(fireTime, states[job].answered.lastAbsent(schedule, atOrBefore: now, in: zone) ?? fireTime)
        arm(job, after: now)
        let isPunctual = now - latest <= Self.punctuality
        let missed = missedFireTimes(of: job, from: fireTime, before: latest) + (isPunctual ? 0 : 1)
        if missed > 0 { actions.append(.countMissed(job: job, missed)) }
        let isOnTime = isPunctual && latest == fireTime
        let attempt = Attempt(job: job, scheduledAt: latest, origin: isOnTime ? .schedule : .catchUp, number: 1)
        let isWanted = isPunctual || states[job].job.catchUp == .once
        if case .running = states[job].phase {
            states[job].answered.insert(latest, after: schedule.previous(before: latest, in: zone))
            if isWanted { states[job].successor = attempt }
            actions.append(.countCoalesced(job: job, latest))
            return
        }
        // Its interval is over.
        abandonRetry(of: job, &actions)
        guard isWanted else { return }
        states[job].answered.insert(latest, after: schedule.previous(before: latest, in: zone))
        states[job].phase = .running(attempt)
        attempts.append(attempt)
    }

    /// How many fire times there are from the first, itself one, up to but without the end, that nobody answered.
    private func missedFireTimes(of job: Int, from first: UTCInstant, before end: UTCInstant) -> Int {
        let state = states[job]
        return state.job.countFireTimes(from: first, before: end) { state.answered.endOfRange(containing: $0) }
    }

    private mutating func abandonRetry(of job: Int, _ actions: inout [Action]) {
        guard case .waiting(let following, let handle, _) = states[job].phase else { return }
        _ = retries.cancel(handle)
        states[job].phase = .idle
        // A run that was to begin after another one's failure has nothing to conclude.
        guard following.number > 1 else { return }
        actions.append(
            .concludeRun(
                Attempt(
                    job: job, scheduledAt: following.scheduledAt, origin: following.origin,
                    number: following.number - 1,
                    isLookBack: following.isLookBack)))
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
        let start = max(now, state.restsUntil.map { $0 - .microseconds(1) } ?? now)
        var fireTime = state.job.schedule.next(after: start, in: state.job.timeZone?.rules)
        // Ends because each range is left behind once, and there is a bounded number of them.
        while let candidate = fireTime, let end = state.answered.endOfRange(containing: candidate) {
            fireTime = state.job.schedule.next(after: end, in: state.job.timeZone?.rules)
        }
        states[job].nextFireTime = fireTime
        if let fireTime { _ = fireTimes.add(deadline: Self.ticks(fireTime), payload: UInt64(job)) }
    }

    private mutating func begin(_ attempts: [Attempt], _ now: Now) -> Action {
        watchdog?.attemptsBegan(attempts.map { ($0.job, states[$0.job].job.deadline) }, at: now.elapsed)
        return .start(attempts)
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
