import CleanupSchedule
package import SessionCleanup
import Time
import TimerWheel

/// Fire times: which is next, which came, and which were missed or passed over.
extension Scheduler {
    /// A fire time that is answered later than this was missed: the machine slept, or its clock was set. A slow machine
    /// is late by less.
    private static let punctuality = Duration.seconds(60)

    /// A fire time has come.
    ///
    /// - Returns: the attempt to begin, if there is one.
    mutating func answer(_ fireTime: UTCInstant, of job: Int, at now: UTCInstant) -> Attempt? {
        let state = states[job]
        let (schedule, zone) = (state.job.schedule, state.job.timeZone?.rules)
        // The latest that has come and was not answered before: the earlier ones were missed, and its run answers them.
        let latest = max(fireTime, state.answered.lastAbsent(schedule, atOrBefore: now, in: zone) ?? fireTime)
        arm(job, after: now)
        let isPunctual = now - latest <= Self.punctuality
        let missed = countUnanswered(of: job, from: fireTime, before: latest) + (isPunctual ? 0 : 1)
        if missed > 0 { tell(.fireTimesMissed(job: state.job.name, missed)) }
        let isOnTime = isPunctual && latest == fireTime
        let attempt = Attempt(job: job, scheduledAt: latest, origin: isOnTime ? .schedule : .catchUp, number: 1)
        let isWanted = isPunctual || state.job.catchUp == .once
        if case .running(let run, _) = state.phase {
            markAnswered(latest, of: job)
            if isWanted { states[job].phase = .running(run, successor: attempt) }
            tell(.fireTimeCoalesced(job: state.job.name, latest))
            return nil
        }
        // Its interval is over.
        endWait(of: job)
        guard isWanted else { return nil }
        markAnswered(latest, of: job)
        return attempt
    }

    /// After the wall clock was set. Fire times that have come meanwhile stay due; a clock that went back has others
    /// ahead of it. A wheel does not run backward: it is replaced.
    mutating func nameFireTimesAgain(after now: UTCInstant) {
        let armed = states.indices.map { nextFireTime(of: $0) }
        fireTimes = TimerWheel()
        for job in states.indices {
            states[job].fireTimer = nil
            // Ends a rest: by another clock it would last until another instant, and might silence the job for a year.
            if let due = armed[job], due <= now { addFireTime(due, of: job) } else { arm(job, after: now) }
        }
    }

    /// The attempt found nothing, and nothing will be due before the instant: fire times until then are passed over,
    /// but none that is later than the job's `maxStaleness` after the attempt's.
    mutating func rest(_ attempt: Attempt, until due: UTCInstant, now: TwoClocks) {
        let job = states[attempt.job].job
        guard !isStopping, let limit = job.maxStaleness, let next = nextFireTime(of: attempt.job), next > now.wall
        else { return }
        let last = job.schedule.previous(atOrBefore: attempt.scheduledAt + limit, in: job.timeZone?.rules)
        let instant = min(due, last ?? next)
        guard next < instant else { return }
        let count = countUnanswered(of: attempt.job, from: next, before: instant)
        disarm(attempt.job)
        arm(attempt.job, after: instant - .microseconds(1))
        states[attempt.job].isResting = true
        tell(.fireTimesPassedOver(job: job.name, count, until: instant))
    }

    /// Arms the first fire time after the instant that was not answered before, and ends a rest.
    mutating func arm(_ job: Int, after now: UTCInstant) {
        let state = states[job]
        guard state.job.isEnabled else { return }
        states[job].isResting = false
        var fireTime = state.job.schedule.next(after: now, in: state.job.timeZone?.rules)
        // Ends because each range is left behind once, and there is a bounded number of them.
        while let candidate = fireTime, let end = state.answered.endOfRange(containing: candidate) {
            fireTime = state.job.schedule.next(after: end, in: state.job.timeZone?.rules)
        }
        states[job].fireTimer = nil
        if let fireTime { addFireTime(fireTime, of: job) }
        tellFireTime(of: job)
    }

    private mutating func addFireTime(_ fireTime: UTCInstant, of job: Int) {
        states[job].fireTimer = fireTimes.add(deadline: Self.ticks(fireTime), payload: UInt64(job))
    }

    mutating func disarm(_ job: Int) {
        if let timer = states[job].fireTimer { _ = fireTimes.cancel(timer) }
        states[job].fireTimer = nil
    }

    /// Tells the next fire time of a job.
    mutating func tellFireTime(of job: Int) {
        tell(.fireTimeArmed(job: states[job].job.name, nextFireTime(of: job)))
    }

    /// The jobs in force, and the next fire time of each.
    var armedJobs: [(job: Job, nextFireTime: UTCInstant?)] {
        var times: [(job: Job, nextFireTime: UTCInstant?)] = []
        for index in jobs { times.append((states[index].job, nextFireTime(of: index))) }
        return times
    }

    mutating func markAnswered(_ fireTime: UTCInstant, of job: Int) {
        let (schedule, zone) = (states[job].job.schedule, states[job].job.timeZone?.rules)
        states[job].answered.insert(fireTime, after: schedule.previous(before: fireTime, in: zone))
    }

    /// Returns the number of fire times from the first, itself one, up to but without the end, that were not answered.
    private func countUnanswered(of job: Int, from first: UTCInstant, before end: UTCInstant) -> Int {
        let state = states[job]
        return state.job.countFireTimes(from: first, before: end) { state.answered.endOfRange(containing: $0) }
    }
}

extension Job {
    /// True if the job has the same fire times with the other settings.
    package func firesAsOften(as other: Job) -> Bool {
        isEnabled == other.isEnabled && schedule == other.schedule && timeZone == other.timeZone
    }

    /// Returns the number of fire times after the one that was answered, up to and with the last. Those within
    /// `maxStaleness` of the answered one do not count: they may have been passed over.
    func fireTimesMissed(since answered: UTCInstant, through last: UTCInstant) -> Int {
        let first = schedule.next(after: answered + (maxStaleness ?? .zero), in: timeZone?.rules)
        return countFireTimes(from: first, before: last + .microseconds(1)) { _ in nil }
    }

    /// The highest count, since fire times are counted one by one: a day of a schedule with seconds.
    private static let countLimit = 86_400

    /// Returns the number of fire times from the first, itself one, up to but without the end.
    ///
    /// - Parameter answeredUntil: returns the last of the range of answered fire times that a fire time is in. Such a
    ///   range does not count, and is skipped whole.
    func countFireTimes(
        from first: UTCInstant?, before end: UTCInstant, answeredUntil: (UTCInstant) -> UTCInstant?
    ) -> Int {
        var count = 0
        var fireTime = first
        while let candidate = fireTime, candidate < end, count < Self.countLimit {
            let answered = answeredUntil(candidate)
            if answered == nil { count += 1 }
            fireTime = schedule.next(after: answered ?? candidate, in: timeZone?.rules)
        }
        return count
    }
}
