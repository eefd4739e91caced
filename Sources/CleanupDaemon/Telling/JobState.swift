package import SessionCleanup
package import Time

/// The facts known about a job. If the clock is set, instants that have both clocks' readings change only their `wall`.
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
    /// The end of the last success in any process that shares the history; `lastEnd` is that of the last run.
    package private(set) var lastSuccess: TwoClocks?
    package private(set) var lastEnd: TwoClocks?
    /// When the job's first run for a fire time since the start began, in time since the process began; `nil` before.
    private(set) var dueSince: Duration?
    /// True if a run for such a fire time has ended, here or in another process.
    private(set) var wasAnswered = false
    /// True if the last fire time was answered by another process.
    private(set) var wasLeftToAnother = false
    /// When a reload changed its fire times; `nil` where none did.
    private var changedAt: Duration?
    /// The age of the last success at which the job is overdue; without one, as if it had been when settings were read.
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
        /// False after attempts that found only that another process has the run.
        fileprivate var hasBegun = true
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

    /// The age of the last success at which the job counts as overdue; zero while the job is disabled.
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
            let earlier = number > 1 && underWay?.hasBegun ?? false ? underWay : nil
            endRun()
            underWay = RunUnderWay(
                scheduledAt: scheduledAt, startedAt: earlier?.startedAt ?? now.wall, origin: origin, attempt: number,
                attemptStartedAt: now.elapsed, deadline: job.deadline, rowsDeleted: earlier?.rowsDeleted ?? 0)
        case .batchEnded(job.name, _, let rows):
            underWay?.rowsDeleted += rows
            deletions.add(rows, at: now)
        case .attemptEnded(let report, let delay) where report.job == job.name:
            (retryAt, isHeldElsewhere) = (now.wall + delay, report.failure == nil)
            // In a report, attempts that only looked at another process's run count as one: `RunReport.following`.
            underWay?.hasBegun = report.skip == nil || report.attempts > 1
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
            // The run may have been read from the history already.
            if report.runID != nil { recent.removeAll { $0.report.runID == report.runID } }
            let delay = underWay.map { $0.startedAt - $0.scheduledAt }
            let run = FinishedRun(report: report, origin: underWay?.origin, startDelay: delay)
            recent = (recent + [run]).suffix(Self.recentLimit)
            ended(at: report.finishedAt, now)
            wasLeftToAnother = false
        }
        if let cutoff = report.cutoff { lastLook = (cutoff, report.oldestOverdue) }
        endRun()
        // A run that was canceled, or that another process has made, does not show that this process's failure is over.
        if report.outcome != .canceled, report.outcome != .skipped { fail(report.failure, at: now) }
        if report.isSuccess { succeeded(at: report.finishedAt, ago: now.wall - report.finishedAt, now) }
    }

    private mutating func endRun() { (underWay, retryAt, isHeldElsewhere) = (nil, nil, false) }

    private mutating func fail(_ failure: RunFailure?, at now: TwoClocks) {
        let (since, attempts) = (failing?.since ?? now.wall, (failing?.attempts ?? 0) + 1)
        failing = failure.map { Failing(failure: $0, since: since, lastAt: now.elapsed, attempts: attempts) }
    }

    /// Replaces other processes' runs, and all deletions, by the history's. This process's own runs stay as they are.
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
        // Without an armed fire time, as for `--once`, the interval is measured at the schedule's next fire time.
        interval = job.isEnabled ? (fireTime ?? job.fireTime(after: now.wall)).map(job.interval) ?? .zero : .zero
    }

    /// Takes over settings, which may be the same. Where fire times change, successes are expected by the new ones from now on.
    mutating func take(_ new: Job, at now: TwoClocks) {
        guard new != job else { return }
        if !job.firesAsOften(as: new) || job.maxStaleness != new.maxStaleness { changedAt = now.elapsed }
        // A job that was disabled starts again without the facts from before.
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
    /// Returns the wall time of another instant by the wall clock as it is set now.
    fileprivate func wall(at elapsed: Duration) -> UTCInstant { wall - (self.elapsed - elapsed) }

    /// Returns this past instant with its wall time by the clock as it is set now, if that differs by a second or more:
    /// alerts compare the wall time with Prometheus' clock.
    fileprivate func renamed(at now: TwoClocks) -> TwoClocks {
        let name = now.wall(at: elapsed)
        return max(name - wall, wall - name) < .seconds(1) ? self : TwoClocks(wall: name, elapsed: elapsed)
    }
}

extension RunReport {
    /// True if the run did all that it was allowed to: rows that a cap left are for the next run.
    package var isSuccess: Bool { outcome == .succeeded || outcome == .capped }
}

extension Job {
    /// The longer of the times before and after a fire time, so that no alert fires over a weekend.
    fileprivate func interval(around time: UTCInstant) -> Duration {
        let before = fireTime(atOrBefore: time - .microseconds(1)).map { time - $0 }
        return max(before ?? .zero, fireTime(after: time).map { $0 - time } ?? .zero)
    }

    /// The name that operators use: the short name, if the job has one.
    package var displayName: String { shortName ?? name }
}

/// Counts the rows deleted in the last 24 hours, in slots of a quarter of an hour, which are numbered by the time since
/// the process began. With a history, the rows of every process up to its last read are included.
package struct RecentDeletions: Sendable {
    private var slots: [Int: Int] = [:]
    /// True once the history was read; before, only this process's deletions count.
    package private(set) var areOfAllProcesses = false

    mutating func add(_ rows: Int, at now: TwoClocks) {
        slots[Self.slot(now), default: 0] += rows
        slots = recent(at: now)
    }

    /// Replaces the counts by the history's, which include this process's own; keys are ages in slots.
    mutating func replace(by rows: [Int: Int], at now: TwoClocks) {
        slots = Dictionary(uniqueKeysWithValues: rows.map { (Self.slot(now) - $0, $1) })
        areOfAllProcesses = true
    }

    package func total(at now: TwoClocks) -> Int { recent(at: now).values.reduce(0, +) }

    /// The current slot and the 96 before it.
    private func recent(at now: TwoClocks) -> [Int: Int] { slots.filter { $0.key >= Self.slot(now) - 96 } }

    private static func slot(_ now: TwoClocks) -> Int { Int(now.elapsed.components.seconds / 900) }
}
