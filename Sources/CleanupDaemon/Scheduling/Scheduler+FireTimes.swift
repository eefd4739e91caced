import CleanupSchedule
import SessionCleanup
import Time
import TimerWheel

extension Scheduler {
    /// A fire time answered later than this was missed: the machine slept, or its clock was set. Load causes less.
    private static let punctuality = Duration.seconds(60)

    /// A fire time has come. Returns the attempt to begin, if there is one.
    mutating func answer(_ fireTime: UTCInstant, of job: Int, at now: UTCInstant) -> Attempt? {
        let state = states[job]
        // The latest unanswered fire time that has come: earlier ones were missed, and this one's run answers them too.
        let latest = max(fireTime, state.job.fireTime(atOrBefore: now, without: state.answered) ?? fireTime)
        arm(job, after: now)
        let isPunctual = now - latest <= Self.punctuality
        let count = state.job.countFireTimes(from: fireTime, before: latest, without: state.answered)
        let missed = count + (isPunctual ? 0 : 1)
        if missed > 0 { tell(.fireTimesMissed(job: state.job.name, missed)) }
        let isOnTime = isPunctual && latest == fireTime
        let attempt = Attempt(job: job, scheduledAt: latest, origin: isOnTime ? .schedule : .catchUp)
        let isWanted = isPunctual || state.job.catchUp == .once
        if let run = state.runUnderWay {
            markAnswered(latest, of: job)
            if isWanted { states[job].phase = .running(run, successor: attempt) }
            tell(.fireTimeCoalesced(job: state.job.name, latest))
            return nil
        }
        // The interval of a run that waits for another attempt is over.
        endWait(of: job)
        guard isWanted else { return nil }
        markAnswered(latest, of: job)
        return attempt
    }

    /// Arms the fire times again after the wall clock was set: those that have come stay due, the others are computed
    /// from the new time. The wheel is replaced, since it does not run backward.
    mutating func nameFireTimesAgain(after now: UTCInstant) {
        let armed = states.indices.map { nextFireTime(of: $0) }
        fireTimes = TimerWheel()
        for job in states.indices {
            states[job].fireTimer = nil
            // `arm` ends a rest, which by the new clock would end at another instant, perhaps in a year.
            if let due = armed[job], due <= now { addFireTime(due, of: job) } else { arm(job, after: now) }
        }
    }

    /// Passes over the fire times before `due`, because the attempt found nothing and nothing will be due until then;
    /// but none that is later than the job's `maxStaleness` after the attempt's fire time.
    mutating func rest(_ attempt: Attempt, until due: UTCInstant, now: TwoClocks) {
        let state = states[attempt.job]
        guard !isStopping, let limit = state.job.maxStaleness, let next = nextFireTime(of: attempt.job), next > now.wall
        else { return }
        let instant = min(due, state.job.fireTime(atOrBefore: attempt.scheduledAt + limit) ?? next)
        guard next < instant else { return }
        let count = state.job.countFireTimes(from: next, before: instant, without: state.answered)
        disarm(attempt.job)
        arm(attempt.job, after: instant - .microseconds(1))
        states[attempt.job].isResting = true
        tell(.fireTimesPassedOver(job: state.job.name, count, until: instant))
    }

    /// Arms the first unanswered fire time after the instant, and ends a rest.
    mutating func arm(_ job: Int, after now: UTCInstant) {
        let state = states[job]
        guard state.job.isEnabled else { return }
        (states[job].isResting, states[job].fireTimer) = (false, nil)
        let fireTime = state.job.fireTime(after: now, without: state.answered)
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

    mutating func tellFireTime(of job: Int) {
        tell(.fireTimeArmed(job: states[job].job.name, nextFireTime(of: job)))
    }

    var armedJobs: ServiceEvent.ArmedJobs { jobs.map { (states[$0].job, nextFireTime(of: $0)) } }

    mutating func markAnswered(_ fireTime: UTCInstant, of job: Int) {
        states[job].answered.insert(fireTime, after: states[job].job.fireTime(atOrBefore: fireTime - .microseconds(1)))
    }
}

extension Job {
    /// True if the other settings give the job the same fire times.
    func firesAsOften(as other: Job) -> Bool {
        isEnabled == other.isEnabled && schedule == other.schedule && timeZone == other.timeZone
    }

    /// Returns the first unanswered fire time after the instant. The recursion ends because it passes each range once.
    func fireTime(after instant: UTCInstant, without answered: AnsweredFireTimes = .init()) -> UTCInstant? {
        let next = schedule.next(after: instant, in: timeZone?.rules)
        guard let range = next.flatMap(answered.range) else { return next }
        return fireTime(after: range.upperBound, without: answered)
    }

    /// Returns the last unanswered fire time at or before the instant.
    func fireTime(atOrBefore instant: UTCInstant, without answered: AnsweredFireTimes = .init()) -> UTCInstant? {
        let last = schedule.previous(atOrBefore: instant, in: timeZone?.rules)
        guard let range = last.flatMap(answered.range) else { return last }
        return fireTime(atOrBefore: range.lowerBound - .microseconds(1), without: answered)
    }

    /// Returns the number of fire times after the answered one, up to and including `last`. Those within `maxStaleness`
    /// of the answered one do not count: they may have been passed over.
    func fireTimesMissed(since answered: UTCInstant, through last: UTCInstant) -> Int {
        let first = fireTime(after: answered + (maxStaleness ?? .zero))
        return countFireTimes(from: first, before: last + .microseconds(1), without: AnsweredFireTimes())
    }

    /// Returns the number of unanswered fire times from the first, itself a fire time, to before the end; at most
    /// 86,400, a day of a schedule of seconds, since they are counted one by one.
    func countFireTimes(from first: UTCInstant?, before end: UTCInstant, without answered: AnsweredFireTimes) -> Int {
        var (count, next) = (0, first)
        while let candidate = next, candidate < end, count < 86_400 {
            if answered.range(of: candidate) == nil { count += 1 }
            next = fireTime(after: candidate, without: answered)
        }
        return count
    }
}
