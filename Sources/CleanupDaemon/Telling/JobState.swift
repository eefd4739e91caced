package import SessionCleanup
package import Time

/// The facts known about a job. Where an instant has both clocks' readings, a clock that is set changes its `wall` only.
package struct JobState: Sendable {
    package private(set) var job: Job
    /// `nil` while it is disabled.
    package private(set) var nextFireTime: UTCInstant?
    /// The longest time between the fire times around the next one; zero while the job is disabled.
    package private(set) var interval = Duration.zero
    package private(set) var underWay: RunUnderWay?
    /// True while another process executes the run under way, and this one waits to look again.
    package private(set) var isHeldElsewhere = false
    /// When the next attempt of the run under way begins; `nil` during an attempt.
    package private(set) var retryAt: UTCInstant?
    /// `nil` after a run that did not fail, here or in another process.
    package private(set) var failing: Failing?
    /// Of runs in any process that shares the history.
    package private(set) var lastSuccess: TwoClocks?
    package private(set) var lastEnd: TwoClocks?
    /// The time since which a fire time has come that the job has to answer.
    private(set) var dueSince: Duration?
    /// True if a run for such a fire time has ended, here or in another process.
    private(set) var wasAnswered = false
    /// True if the last fire time was answered by another process.
    private(set) var wasLeftToAnother = false
    /// When a reload changed its fire times; `nil` where none did.
    private var changedAt: Duration?
    /// The age at which the last success makes the job overdue; where no success is known, of one when the settings were read.
    private(set) var allowance = Duration.zero
    /// The last runs that are known, the oldest first: this process's, and where there is a history those of every process.
    package private(set) var recent: [FinishedRun] = []
    package private(set) var deletions = RecentDeletions()
    /// The last look at the table: its time, by the database's clock, and how long the oldest due row had been due, if any.
    package private(set) var lastLook: (cutoff: UTCInstant, oldestOverdue: Duration?)?
    package private(set) var coalescedFires = 0
    package private(set) var missedFires = 0

    /// As many bars as a chart on a phone has room for.
    package static let recentLimit = 40

    package struct RunUnderWay: Sendable {
        package let scheduledAt: UTCInstant
        package let startedAt: UTCInstant
        package let origin: RunOrigin
        package let attempt: Int
        /// In time since the process began.
        let attemptStartedAt: Duration
        /// The job's deadline when the attempt began: a reload changes that of later ones only.
        let deadline: Duration
        /// In committed batches of this process.
        package fileprivate(set) var rowsDeleted: Int
    }

    /// Attempts that failed one after the other, with the failure of the last one.
    package struct Failing: Sendable {
        package let failure: RunFailure
        package let since: UTCInstant
        /// In time since the process began.
        let lastAt: Duration
        package let attempts: Int
    }

    package struct FinishedRun: Sendable {
        package let report: RunReport
        package let origin: RunOrigin?
        package let startDelay: Duration?
        /// False for a run that this process knows from the history only.
        package var isOurs = true
    }

    /// - Parameter isNew: true for a job that a reload added.
    init(job: Job, at now: TwoClocks, isNew: Bool = false) {
        self.job = job
        changedAt = isNew ? now.elapsed : nil
        setAllowance(at: now)
        arm(nil, at: now)
    }

    /// How old a success may become before the job counts as overdue; zero while the job is disabled.
    package var budget: Duration { job.isEnabled ? allowance : .zero }

    /// When the job becomes overdue unless it succeeds; `nil` where no success is known.
    package var overdueAt: UTCInstant? { lastSuccess.map { $0.wall + allowance } }

    package var lastRun: FinishedRun? { recent.last }

    /// Takes over what the event says of this job.
    mutating func record(_ event: ServiceEvent, serviceStartedAt: UTCInstant, at now: TwoClocks) {
        switch event {
        case .fireTimeArmed(job.name, let fireTime): arm(fireTime, at: now)
        case .attemptStarted(job.name, let scheduledAt, let origin, let number):
            // A fire time before the start was another process's to answer.
            let isDue = origin == .schedule || scheduledAt >= serviceStartedAt
            if isDue, dueSince == nil { dueSince = now.elapsed }
            let earlier = number > 1 ? underWay : nil
            endRun()
            underWay = RunUnderWay(
                scheduledAt: scheduledAt, startedAt: earlier?.startedAt ?? now.wall, origin: origin, attempt: number,
                attemptStartedAt: now.elapsed, deadline: job.deadline, rowsDeleted: earlier?.rowsDeleted ?? 0)
        case .batchEnded(job.name, _, let rows):
            underWay?.rowsDeleted += rows
            deletions.add(rows, at: now)
        case .attemptEnded(let report, let delay) where report.job == job.name:
            (retryAt, isHeldElsewhere) = (now.wall + delay, report.failure == nil)
            if let failure = report.failure { fail(failure, at: now) }
        case .runConcluded(let report) where report.job == job.name: conclude(report, at: now)
        case .earlierRunsKnown(job.name, let earlier):
            if let end = earlier.lastEnd { ended(at: end, now) }
            if let success = earlier.lastSuccess { succeeded(at: success.at, ago: success.age, now) }
        case .recentRunsKnown(job.name, let recent): learn(recent, at: now)
        case .fireTimeCoalesced(job.name, _): coalescedFires += 1
        case .fireTimesMissed(job.name, let count): missedFires += count
        case .clockWasSet: (lastEnd, lastSuccess) = (lastEnd?.renamed(at: now), lastSuccess?.renamed(at: now))
        default: break
        }
    }

    private mutating func conclude(_ report: RunReport, at now: TwoClocks) {
        if case .held = report.skip { wasLeftToAnother = true } else { wasAnswered = dueSince != nil }
        if report.outcome != .skipped {
            // It may have been read from the history already.
            if report.runID != nil { recent.removeAll { $0.report.runID == report.runID } }
            let delay = underWay.map { $0.startedAt - $0.scheduledAt }
            let run = FinishedRun(report: report, origin: underWay?.origin, startDelay: delay)
            recent = (recent + [run]).suffix(Self.recentLimit)
            ended(at: report.finishedAt, now)
            wasLeftToAnother = false
        }
        if let cutoff = report.cutoff { lastLook = (cutoff, report.oldestOverdue) }
        endRun()
        // A run that was canceled, or that another process has made, says nothing of why this process's failed.
        if report.outcome != .canceled, report.outcome != .skipped { fail(report.failure, at: now) }
        if report.isSuccess { succeeded(at: report.finishedAt, ago: now.wall - report.finishedAt, now) }
    }

    private mutating func endRun() { (underWay, retryAt, isHeldElsewhere) = (nil, nil, false) }

    private mutating func fail(_ failure: RunFailure?, at now: TwoClocks) {
        let (since, attempts) = (failing?.since ?? now.wall, (failing?.attempts ?? 0) + 1)
        failing = failure.map { Failing(failure: $0, since: since, lastAt: now.elapsed, attempts: attempts) }
    }

    /// Takes over what the history says of the last runs, in whichever process. This process knows more of its own runs.
    private mutating func learn(_ history: RecentRuns, at now: TwoClocks) {
        let ours = recent.filter(\.isOurs)
        let known = Set(ours.compactMap(\.report.runID))
        let others = history.runs.filter { !known.contains(Int64($0.runID)) }.compactMap { run in
            RunReport(run).map { FinishedRun(report: $0, origin: run.origin, startDelay: nil, isOurs: false) }
        }
        recent = (others + ours).sorted { $0.report.finishedAt < $1.report.finishedAt }.suffix(Self.recentLimit)
        deletions.replace(by: history.deletions, at: now)
    }

    private mutating func ended(at time: UTCInstant, _ now: TwoClocks) {
        let elapsed = now.elapsed - max(now.wall - time, .zero)
        if elapsed >= lastEnd?.elapsed ?? elapsed { lastEnd = TwoClocks(wall: time, elapsed: elapsed) }
    }

    private mutating func succeeded(at time: UTCInstant, ago: Duration, _ now: TwoClocks) {
        let elapsed = now.elapsed - max(ago, .zero)
        guard elapsed >= lastSuccess?.elapsed ?? elapsed else { return }
        lastSuccess = TwoClocks(wall: time, elapsed: elapsed)
        setAllowance(at: now)
        if let failing, elapsed > failing.lastAt { self.failing = nil }
    }

    mutating func arm(_ fireTime: UTCInstant?, at now: TwoClocks) {
        nextFireTime = fireTime
        // Where no fire time is armed, as for `--once`, the interval is that around the schedule's next one.
        interval = job.isEnabled ? (fireTime ?? job.fireTime(after: now.wall)).map(job.interval) ?? .zero : .zero
    }

    /// Takes over settings, which may be the same. Where fire times change, successes are expected by the new ones from now on.
    mutating func take(_ new: Job, at now: TwoClocks) {
        guard new != job else { return }
        if !job.firesAsOften(as: new) || job.maxStaleness != new.maxStaleness { changedAt = now.elapsed }
        // What came before says nothing of a job that was disabled.
        if !job.isEnabled { (dueSince, wasAnswered, failing) = (nil, false, nil) }
        job = new
        setAllowance(at: now)
    }

    private mutating func setAllowance(at now: TwoClocks) {
        let success = now.wall(at: lastSuccess?.elapsed ?? now.elapsed)
        allowance = job.budget(after: success, changedAt: changedAt.map(now.wall))
    }
}

extension TwoClocks {
    /// Returns another instant's name by the wall clock as it is now.
    fileprivate func wall(at elapsed: Duration) -> UTCInstant { wall - (self.elapsed - elapsed) }

    /// Names this instant of the past by the clock as it is now, where it was set by a second or more: alerts compare it with
    /// Prometheus' clock.
    fileprivate func renamed(at now: TwoClocks) -> TwoClocks {
        let name = now.wall(at: elapsed)
        return max(name - wall, wall - name) < .seconds(1) ? self : TwoClocks(wall: name, elapsed: elapsed)
    }
}

extension RunReport {
    /// True if the run did all that it was allowed to: what a cap left over is the next run's.
    package var isSuccess: Bool { outcome == .succeeded || outcome == .capped }
}

extension Job {
    /// The longer of the times before and after a fire time, so that no alert fires over a weekend.
    fileprivate func interval(around time: UTCInstant) -> Duration {
        let before = fireTime(atOrBefore: time - .microseconds(1)).map { time - $0 }
        return max(before ?? .zero, fireTime(after: time).map { $0 - time } ?? .zero)
    }

    /// What operators call it: its short name, where it has one.
    package var displayName: String { shortName ?? name }
}

/// Counts the rows deleted in the last 24 hours, in slots of a quarter of an hour, which are numbered by the time since the
/// process began. Where there is a history, of every process, as of the last time that it was read.
package struct RecentDeletions: Sendable {
    private var slots: [Int: Int] = [:]
    /// True once the history was read; before, only this process's deletions count.
    package private(set) var areOfAllProcesses = false

    mutating func add(_ rows: Int, at now: TwoClocks) {
        slots[Self.slot(now), default: 0] += rows
        slots = recent(at: now)
    }

    /// Takes over what the history has, this process's own included, by their age in slots.
    mutating func replace(by rows: [Int: Int], at now: TwoClocks) {
        slots = Dictionary(uniqueKeysWithValues: rows.map { (Self.slot(now) - $0, $1) })
        areOfAllProcesses = true
    }

    package func total(at now: TwoClocks) -> Int { recent(at: now).values.reduce(0, +) }

    /// The current slot and the 96 before it.
    private func recent(at now: TwoClocks) -> [Int: Int] { slots.filter { $0.key >= Self.slot(now) - 96 } }

    private static func slot(_ now: TwoClocks) -> Int { Int(now.elapsed.components.seconds / 900) }
}
