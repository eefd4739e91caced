package import CleanupDaemon
import CleanupSchedule
package import CoreMetrics
import Postgres
package import SessionCleanup
package import Time

/// Records what happens in the service: the one place where metrics are counted.
///
/// Every series exists from the start. Goes through swift-metrics, so that another backend than `PrometheusRegistry` can
/// stand behind it. Nothing here blocks.
package struct RunMetrics: Sendable {
    private struct OfJob: Sendable {
        let runs: [Outcome: Counter]
        let rowsDeleted, rowsSkipped, batches, coalescedFires, missedFires, passedOverFires: Counter
        let runDuration, batchDuration, startDelay: Timer
        let runInProgress, lastRun, lastSuccess, nextFire, interval, deadline, successBudget, oldestOverdue: Gauge

        init(_ name: String, _ factory: any MetricsFactory) {
            let labels = [("job", name)]
            runs = Outcome.allCases.keyed { Counter(.runs, labels + [("outcome", $0.rawValue)], factory) }
            rowsDeleted = Counter(.rowsDeleted, labels, factory)
            rowsSkipped = Counter(.rowsSkipped, labels, factory)
            batches = Counter(.batches, labels, factory)
            coalescedFires = Counter(.coalescedFires, labels, factory)
            missedFires = Counter(.missedFires, labels, factory)
            passedOverFires = Counter(.passedOverFires, labels, factory)
            runDuration = Timer(.runDuration, labels, factory)
            batchDuration = Timer(.batchDuration, labels, factory)
            startDelay = Timer(.startDelay, labels, factory)
            runInProgress = Gauge(.runInProgress, labels, factory)
            lastRun = Gauge(.lastRun, labels, factory)
            lastSuccess = Gauge(.lastSuccess, labels, factory)
            nextFire = Gauge(.nextFire, labels, factory)
            interval = Gauge(.interval, labels, factory)
            deadline = Gauge(.deadline, labels, factory)
            successBudget = Gauge(.successBudget, labels, factory)
            oldestOverdue = Gauge(.oldestOverdue, labels, factory)
        }
    }

    private let factory: any MetricsFactory
    private var jobs: [String: OfJob] = [:]
    /// The jobs in force, and when a reload made their fire times what they are; `nil` where none did.
    private var inForce: [String: (job: Job, changedAt: UTCInstant?)] = [:]
    /// The last success and the last end of each job's runs so far, so that an older one does not take its place.
    private var (lastSuccess, lastEnd): ([String: UTCInstant], [String: UTCInstant]) = ([:], [:])
    private let connectDuration: Timer
    private let connectFailures: [ConnectFailureCause: Counter]
    private let clockSkew: Gauge
    private let reloadSuccessful: Gauge
    private let notifyFailures: Counter

    /// - Parameters:
    ///   - jobs: those whose series there are from the start.
    ///   - version: of this program.
    ///   - factory: where the numbers are kept; what swift-metrics was bootstrapped with, unless a test has its own.
    package init(jobs: [Job], version: String, factory: any MetricsFactory = MetricsSystem.factory) {
        self.factory = factory
        connectDuration = Timer(.connectDuration, [], factory)
        connectFailures = ConnectFailureCause.allCases.keyed {
            Counter(.connectFailures, [("cause", $0.rawValue)], factory)
        }
        clockSkew = Gauge(.clockSkew, [], factory)
        reloadSuccessful = Gauge(.reloadSuccessful, [], factory)
        notifyFailures = Counter(.notifyFailures, [], factory)
        Gauge(.buildInfo, [("version", version)], factory).record(1)
        for job in jobs { take(job, at: nil) }
    }

    /// Makes the series of a job that was not known before, and takes over its settings.
    ///
    /// - Parameter now: `nil` at the start, when nothing has changed yet.
    private mutating func take(_ job: Job, at now: UTCInstant?) {
        if jobs[job.name] == nil { jobs[job.name] = OfJob(job.name, factory) }
        jobs[job.name]?.deadline.record(job.deadline.inFractionalSeconds)
        let known = inForce[job.name]
        let isExpectedAsBefore = known?.job.isExpected(like: job) ?? false
        inForce[job.name] = (job, isExpectedAsBefore ? known?.changedAt : now)
    }

    // MARK: Events

    /// - Parameter now: the host's wall clock when it happened.
    package mutating func record(_ event: ServiceEvent, at now: UTCInstant) {
        switch event {
        case .started(let started), .reloaded(let started, _):
            reloadSuccessful.record(1)
            for (job, fireTime) in started {
                take(job, at: now)
                recordInterval(of: job.name, around: fireTime)
                recordBudget(of: job.name, at: now)
            }
            // A job that is no more keeps its series, and has no fire time to be late for.
            for (name, job) in jobs where !started.contains(where: { $0.job.name == name }) {
                inForce[name] = nil
                job.nextFire.record(0)
                job.interval.record(0)
                job.successBudget.record(0)
            }
        case .fireTimeArmed(let job, let fireTime):
            jobs[job]?.nextFire.record(fireTime?.inFractionalSeconds ?? 0)
            recordInterval(of: job, around: fireTime)
        case .attemptStarted(let job, let scheduledAt, let origin, let number):
            jobs[job]?.runInProgress.record(1)
            if number == 1, origin == .schedule { jobs[job]?.startDelay.record(now - scheduledAt) }
        case .connected(let duration): connectDuration.record(duration)
        case .connectFailed(let failure): connectFailures[ConnectFailureCause(failure)]?.increment()
        case .batchEnded(let job, let duration, let rowsDeleted):
            jobs[job]?.batchDuration.record(duration)
            jobs[job]?.batches.increment()
            jobs[job]?.rowsDeleted.increment(by: rowsDeleted)
        case .runConcluded(let report): record(report, at: now)
        case .fireTimeCoalesced(let job, _): jobs[job]?.coalescedFires.increment()
        case .fireTimesPassedOver(let job, let count, _): jobs[job]?.passedOverFires.increment(by: count)
        case .fireTimesMissed(let job, let count): jobs[job]?.missedFires.increment(by: count)
        case .earlierRunsKnown(let job, let earlier):
            if let end = earlier.lastEnd { recordEnd(of: job, at: end, now: now) }
            if let success = earlier.lastSuccess { recordSuccess(of: job, at: success.at, now: now) }
        case .reloadFailed: reloadSuccessful.record(0)
        case .runHeldElsewhere(let report, _): jobs[report.job]?.runInProgress.record(0)
        case .clockWasSet(let now):
            // What was is no later than now, whatever the clock said then.
            for (job, end) in lastEnd where end > now { recordEnd(of: job, at: now, now: now) }
            for (job, success) in lastSuccess where success > now { recordSuccess(of: job, at: now, now: now) }
        case .attemptFailed, .lookBackFailed, .reloading, .stopping, .foundWell: break
        }
    }

    /// A heartbeat could not be delivered.
    package func recordNotifyFailure() { notifyFailures.increment() }

    private mutating func record(_ report: RunReport, at now: UTCInstant) {
        guard let job = jobs[report.job] else { return }
        job.runInProgress.record(0)
        job.runs[report.outcome]?.increment()
        if report.isSuccess { recordSuccess(of: report.job, at: report.finishedAt, now: now) }
        if let skew = report.clockSkew { clockSkew.record(skew.inFractionalSeconds) }
        guard report.outcome != .skipped else { return }
        job.rowsSkipped.increment(by: report.progress.rowsSkipped)
        job.runDuration.record(report.lastAttemptDuration)
        recordEnd(of: report.job, at: report.finishedAt, now: now)
        if report.cutoff != nil { job.oldestOverdue.record(report.oldestOverdue?.inFractionalSeconds ?? 0) }
    }

    private mutating func recordSuccess(of job: String, at time: UTCInstant, now: UTCInstant) {
        guard time.isNews(after: lastSuccess[job], at: now) else { return }
        lastSuccess[job] = time
        jobs[job]?.lastSuccess.record(time.inFractionalSeconds)
        recordBudget(of: job, at: now)
    }

    private mutating func recordEnd(of job: String, at time: UTCInstant, now: UTCInstant) {
        guard time.isNews(after: lastEnd[job], at: now) else { return }
        lastEnd[job] = time
        jobs[job]?.lastRun.record(time.inFractionalSeconds)
    }

    private func recordInterval(of job: String, around fireTime: UTCInstant?) {
        let interval = fireTime.flatMap { inForce[job]?.job.interval(around: $0) }
        jobs[job]?.interval.record(interval?.inFractionalSeconds ?? 0)
    }

    /// As `ServiceState` has it, so that readiness and alerts say the same; from now on where no success is known.
    private func recordBudget(of name: String, at now: UTCInstant) {
        guard let (job, changedAt) = inForce[name] else { return }
        let budget =
            job.isEnabled
            ? lastSuccess[name].map { job.budget(after: $0, changedAt: changedAt) } ?? job.budget(after: now) : .zero
        jobs[name]?.successBudget.record(budget.inFractionalSeconds)
    }
}

/// Why no connection came about, as a label: `PostgresError.Unreachability` and what a server may answer.
package enum ConnectFailureCause: String, CaseIterable, Sendable {
    case unresolved, refused, silent, tls, broken
    /// The server turned the role or its password down.
    case authentication
    /// The server is starting, stopping or full, or a pooler has none.
    case unavailable
    /// The URL, above all.
    case configuration
    case other

    package init(_ failure: RunFailure) {
        switch failure {
        case .database(.unreachable(let cause, _)): self = Self(rawValue: cause.rawValue) ?? .other
        case .database(.timedOut(_, _)): self = .silent
        case .database(.connectionLost(_, _)): self = .broken
        default:
            switch failure.kind {
            case .refused: self = .authentication
            case .unreachable: self = .unavailable
            case .misconfigured: self = .configuration
            case .mayPass, .canceled, .unexpected: self = .other
            }
        }
    }
}

extension RunReport {
    /// Whether the run did all that it was allowed to: what a cap left over is the next run's.
    var isSuccess: Bool { outcome == .succeeded || outcome == .capped }
}

extension UTCInstant {
    /// Whether it takes the place of what was known: as the later one, or where that was told by a clock that ran ahead.
    fileprivate func isNews(after known: UTCInstant?, at now: UTCInstant) -> Bool {
        guard let known else { return true }
        return self > known || known > now
    }
}

extension Job {
    /// Whether its successes are expected at the same times as with other settings.
    func isExpected(like other: Job) -> Bool { firesAsOften(as: other) && maxStaleness == other.maxStaleness }

    /// The longer of the times before and after a fire time: no alert should fire over a weekend.
    fileprivate func interval(around fireTime: UTCInstant) -> Duration {
        let before = schedule.previous(atOrBefore: fireTime - .microseconds(1), in: timeZone?.rules)
        let after = schedule.next(after: fireTime, in: timeZone?.rules)
        return max(before.map { fireTime - $0 } ?? .zero, after.map { $0 - fireTime } ?? .zero)
    }
}

extension Collection where Element: Hashable {
    fileprivate func keyed<Value>(_ value: (Element) -> Value) -> [Element: Value] {
        Dictionary(uniqueKeysWithValues: map { ($0, value($0)) })
    }
}

extension Counter {
    fileprivate convenience init(_ family: MetricFamily, _ labels: [(String, String)], _ factory: any MetricsFactory) {
        self.init(label: family.rawValue, dimensions: labels, factory: factory)
    }
}

extension Gauge {
    fileprivate convenience init(_ family: MetricFamily, _ labels: [(String, String)], _ factory: any MetricsFactory) {
        self.init(label: family.rawValue, dimensions: labels, factory: factory)
    }
}

extension Timer {
    fileprivate convenience init(_ family: MetricFamily, _ labels: [(String, String)], _ factory: any MetricsFactory) {
        self.init(label: family.rawValue, dimensions: labels, factory: factory)
    }

    /// A time below zero, which a clock that was set makes, counts as none.
    fileprivate func record(_ duration: Duration) {
        let (seconds, attoseconds) = max(duration, .zero).components
        recordNanoseconds(min(seconds, 9_000_000_000) * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}

extension Duration {
    var inFractionalSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

extension UTCInstant {
    /// Since the Unix epoch.
    var inFractionalSeconds: Double { Double(microsecondsSinceEpoch) / 1e6 }
}
