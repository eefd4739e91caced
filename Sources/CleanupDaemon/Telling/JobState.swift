import CleanupSchedule
package import SessionCleanup
package import Time

/// What is known of a job.
package struct JobState: Sendable {
    package private(set) var job: Job
    /// `nil` while it is disabled.
    package private(set) var nextFireTime: UTCInstant?
    /// The longest time between the fire times around the next one; zero while the job is disabled.
    package private(set) var interval = Duration.zero
    package private(set) var underWay: RunUnderWay?
    /// True while another process executes the run under way, and this one waits to look again.
    package var isHeldElsewhere = false
    /// When the next attempt of the run under way begins; `nil` during an attempt.
    package var retryAt: Scheduler.Now?
    /// `nil` after a run that did not fail, here or in another process.
    package private(set) var failing: Failing?
    private var failedAt: Duration?
    package private(set) var lastSuccess: Success?
    /// When the last run ended, in any process that shares the history.
    package private(set) var lastEnd: Moment?
    /// The time since which a fire time has come that the job has to answer.
    var dueSince: Duration?
    /// True if a run for such a fire time has ended, here or in another process.
    private(set) var wasAnswered = false
    /// True if the last fire time was answered by another process.
    package private(set) var wasLeftToAnother = false
    /// When a reload changed its fire times; `nil` where none did.
    private var changedAt: Duration?
    /// What the budget would be had the job succeeded when its settings were read.
    private var firstBudget: Duration
    /// The last runs that are known, the oldest first: this process's, and where there is a history those of every process.
    package private(set) var recent: [FinishedRun] = []
    /// Where there is a history, of every process, as of the last time that it was read; else of this process.
    package private(set) var deletions = RecentDeletions()
    /// What the last run that got as far as looking found; `nil` before one did.
    package private(set) var lastLook: Look?
    package var coalescedFires = 0
    package var missedFires = 0

    /// The most runs that are kept: as many bars as a chart on a phone has room for.
    package static let recentLimit = 40

    /// An instant by both clocks.
    package struct Moment: Sendable {
        package fileprivate(set) var at: UTCInstant
        /// In time since the process began; negative for what was before. Setting the clock does not change it.
        package let elapsed: Duration
    }

    package struct RunUnderWay: Sendable {
        package let scheduledAt: UTCInstant
        package let startedAt: Scheduler.Now
        package let startDelay: Duration
        package let origin: RunOrigin
        package let attempt: Int
        /// In time since the process began.
        let attemptStartedAt: Duration
        /// The job's deadline when the attempt began: a reload changes that of later ones only.
        let deadline: Duration
        /// In committed batches of this process.
        package fileprivate(set) var rowsDeleted = 0
    }

    package struct Success: Sendable {
        package fileprivate(set) var moment: Moment
        /// How old it may become before the job counts as overdue.
        package let budget: Duration
    }

    /// Attempts that failed one after the other.
    package struct Failing: Sendable {
        /// Of the last attempt.
        package var failure: RunFailure
        package let since: UTCInstant
        package var attempts: Int
    }

    package struct FinishedRun: Sendable {
        package let report: RunReport
        package let origin: RunOrigin?
        package let startDelay: Duration?
        /// False for a run that this process knows from the history only.
        package var isOurs = true
    }

    package struct Look: Sendable {
        /// By the database's clock.
        package let cutoff: UTCInstant
        /// How long the oldest due row had been due; `nil` when none was.
        package let oldestOverdue: Duration?
        package let rowsSkipped: Int
        package let rowsRefused: Int
    }

    /// - Parameter isNew: true for a job that a reload added.
    init(job: Job, at now: Scheduler.Now, isNew: Bool = false) {
        self.job = job
        changedAt = isNew ? now.elapsed : nil
        firstBudget = job.budget(after: now.wall)
        arm(nil, at: now)
    }

    // MARK: What is asked

    /// How old the last success may become before the job counts as overdue: as long as a success of now might, where none
    /// is known. Zero while the job is disabled.
    package var budget: Duration { job.isEnabled ? lastSuccess?.budget ?? firstBudget : .zero }

    /// When the job becomes overdue unless it succeeds; `nil` where no success is known.
    package var overdueAt: UTCInstant? { lastSuccess.map { $0.moment.at + $0.budget } }

    package var lastRun: FinishedRun? { recent.last }

    // MARK: What happens

    mutating func begin(_ scheduledAt: UTCInstant, _ origin: RunOrigin, _ number: Int, at now: Scheduler.Now) {
        retryAt = nil
        isHeldElsewhere = false
        let earlier = number > 1 ? underWay : nil
        underWay = RunUnderWay(
            scheduledAt: scheduledAt, startedAt: earlier?.startedAt ?? now,
            startDelay: earlier?.startDelay ?? now.wall - scheduledAt, origin: origin, attempt: number,
            attemptStartedAt: now.elapsed, deadline: job.deadline, rowsDeleted: earlier?.rowsDeleted ?? 0)
    }

    mutating func deleted(_ rows: Int, at now: Scheduler.Now) {
        underWay?.rowsDeleted += rows
        deletions.add(rows, at: now.elapsed)
    }

    mutating func conclude(_ report: RunReport, at now: Scheduler.Now) {
        if case .held = report.skip {} else { wasAnswered = dueSince != nil }
        if report.outcome != .skipped {
            // It may have been read from the history already.
            if report.runID != nil { recent.removeAll { $0.report.runID == report.runID } }
            recent.append(FinishedRun(report: report, origin: underWay?.origin, startDelay: underWay?.startDelay))
            if recent.count > Self.recentLimit { recent.removeFirst() }
            ended(at: report.finishedAt, now)
            wasLeftToAnother = false
        } else if case .held = report.skip {
            wasLeftToAnother = true
        }
        if let cutoff = report.cutoff {
            lastLook = Look(
                cutoff: cutoff, oldestOverdue: report.oldestOverdue, rowsSkipped: report.progress.rowsSkipped,
                rowsRefused: report.progress.rowsRefused)
        }
        endRun()
        // A run that was canceled, or that another process has made, says nothing of why this process's failed.
        if report.outcome != .canceled, report.outcome != .skipped { fail(report.failure, at: now) }
        if report.isSuccess { succeeded(at: report.finishedAt, ago: now.wall - report.finishedAt, now) }
    }

    mutating func endRun() {
        underWay = nil
        retryAt = nil
        isHeldElsewhere = false
    }

    mutating func fail(_ failure: RunFailure?, at now: Scheduler.Now) {
        failedAt = now.elapsed
        guard let failure else { return failing = nil }
        failing = Failing(
            failure: failure, since: failing?.since ?? now.wall, attempts: (failing?.attempts ?? 0) + 1)
    }

    /// Takes over what the history says of earlier runs, in whichever process.
    mutating func learn(_ earlier: EarlierRuns, at now: Scheduler.Now) {
        if let end = earlier.lastEnd { ended(at: end, now) }
        if let success = earlier.lastSuccess { succeeded(at: success.at, ago: success.age, now) }
    }

    /// Takes over what the history says of the last runs, in whichever process. Of this process's own runs, what it knows itself
    /// stays, since it is more: also of those that have no row, for want of a connection.
    mutating func learn(_ history: RecentRuns, at now: Scheduler.Now) {
        var ours: [Int64: FinishedRun] = [:]
        for run in recent where run.isOurs { if let runID = run.report.runID { ours[runID] = run } }
        let recorded = history.runs.compactMap { run in
            ours.removeValue(forKey: Int64(run.runID))
                ?? RunReport(run).map { FinishedRun(report: $0, origin: run.origin, startDelay: nil, isOurs: false) }
        }
        let unrecorded = recent.filter { $0.isOurs && $0.report.runID == nil } + ours.values
        recent = (recorded + unrecorded).sorted { $0.report.finishedAt < $1.report.finishedAt }
            .suffix(Self.recentLimit)
        deletions.replace(by: history.deletions, at: now.elapsed)
    }

    private mutating func ended(at time: UTCInstant, _ now: Scheduler.Now) {
        let elapsed = now.elapsed - max(now.wall - time, .zero)
        guard elapsed >= lastEnd?.elapsed ?? elapsed else { return }
        lastEnd = Moment(at: time, elapsed: elapsed)
    }

    private mutating func succeeded(at time: UTCInstant, ago: Duration, _ now: Scheduler.Now) {
        let elapsed = now.elapsed - max(ago, .zero)
        guard elapsed >= lastSuccess?.moment.elapsed ?? elapsed else { return }
        lastSuccess = Success(moment: Moment(at: time, elapsed: elapsed), budget: budget(after: elapsed, at: now))
        if let failedAt, elapsed > failedAt { failing = nil }
    }

    /// Names the instants of the past by the clock as it is now, where it was set by a second or more: alerts compare them
    /// with Prometheus' clock.
    mutating func rename(at now: Scheduler.Now) {
        func renamed(_ moment: Moment) -> Moment {
            let at = now.wall - (now.elapsed - moment.elapsed)
            let difference = max(at - moment.at, moment.at - at)
            return difference < .seconds(1) ? moment : Moment(at: at, elapsed: moment.elapsed)
        }
        lastEnd = lastEnd.map(renamed)
        if let moment = lastSuccess?.moment { lastSuccess?.moment = renamed(moment) }
    }

    // MARK: Settings

    mutating func arm(_ fireTime: UTCInstant?, at now: Scheduler.Now) {
        nextFireTime = fireTime
        // Where no fire time is armed, as for `--once`, the interval is that around the schedule's next one.
        let around = job.isEnabled ? fireTime ?? job.schedule.next(after: now.wall, in: job.timeZone?.rules) : nil
        interval = around.map(job.interval) ?? .zero
    }

    /// Takes over settings, which may be the same. Where fire times change, successes are expected by the new ones from now
    /// on, and what came before says nothing of a job that was disabled.
    mutating func take(_ new: Job, at now: Scheduler.Now) {
        guard new != job else { return }
        if !job.isExpected(like: new) { changedAt = now.elapsed }
        if !job.isEnabled { (dueSince, wasAnswered, failing) = (nil, false, nil) }
        job = new
        firstBudget = job.budget(after: now.wall)
        if let success = lastSuccess {
            lastSuccess = Success(
                moment: success.moment, budget: budget(after: success.moment.elapsed, at: now))
        }
    }

    private func budget(after success: Duration, at now: Scheduler.Now) -> Duration {
        // By the wall clock as it is now, which names the fire times to come.
        let wall = { now.wall - (now.elapsed - $0) }
        return job.budget(after: wall(success), changedAt: changedAt.map(wall))
    }
}

extension RunReport {
    /// True if the run did all that it was allowed to: what a cap left over is the next run's.
    package var isSuccess: Bool { outcome == .succeeded || outcome == .capped }
}

extension Job {
    /// True if its successes are expected at the same times as with the other settings.
    fileprivate func isExpected(like other: Job) -> Bool {
        firesAsOften(as: other) && maxStaleness == other.maxStaleness
    }

    /// The longer of the times before and after a fire time, so that no alert fires over a weekend.
    fileprivate func interval(around fireTime: UTCInstant) -> Duration {
        let before = schedule.previous(atOrBefore: fireTime - .microseconds(1), in: timeZone?.rules)
        let after = schedule.next(after: fireTime, in: timeZone?.rules)
        return max(before.map { fireTime - $0 } ?? .zero, after.map { $0 - fireTime } ?? .zero)
    }

    /// What operators call it: its short name, where it has one.
    package var displayName: String { shortName ?? name }
}
