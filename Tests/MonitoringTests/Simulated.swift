import CleanupDaemon
import CleanupSchedule
@testable import Monitoring
import Postgres
@testable import SessionCleanup
import Time

/// A state with a clock that moves only when told to, and a job or more whose runs end as the test says.
struct Simulated {
    private(set) var state: ServiceState
    private var counts: Metrics
    private(set) var now: TwoClocks
    private var jobs: [Job]

    init(_ jobs: [Job] = [.transientSessions], at start: String = "2026-05-13T12:00:30Z") {
        self.jobs = jobs
        now = TwoClocks(wall: UTCInstant(rfc3339: start)!, elapsed: .zero)
        state = ServiceState(jobs: jobs, version: "1.2.3", host: "web-3", startedAt: now)
        counts = Metrics(jobs: jobs)
        for job in jobs { arm(job) }
        let now = now
        record(.started(jobs.map { ($0, Self.next($0, now)) }))
    }

    private static func next(_ job: Job, _ now: TwoClocks) -> UTCInstant? {
        job.isEnabled ? job.schedule.next(after: now.wall) : nil
    }

    mutating func record(_ event: ServiceEvent) {
        state.record(event, at: now)
        counts.record(event, at: now.wall)
    }

    var metrics: Metrics { counts.with(state) }

    /// The text that a scrape gets.
    var scraped: String {
        let process = ProcessFigures(residentBytes: 1 << 20, openFiles: 9, processorTime: .milliseconds(1500))
        return metrics.text + Metrics(process, startedAt: state.startedAt).text
    }

    mutating func pass(_ duration: Duration) {
        now.wall += duration
        now.elapsed += duration
    }

    /// An administrator sets the clock.
    mutating func setClock(by duration: Duration) {
        now.wall += duration
        record(.clockWasSet(to: now.wall))
    }

    /// The configuration is read again, and has these jobs.
    mutating func reload(_ jobs: [Job]) {
        self.jobs = jobs
        let now = now
        record(.reloaded(jobs.map { ($0, Self.next($0, now)) }, waitingForRestart: []))
        for job in jobs { arm(job) }
    }

    /// Records what the history tells an attempt that begins now.
    mutating func tell(lastEnd: UTCInstant? = nil, lastSuccess: UTCInstant, ago: Duration, of job: Job) {
        record(
            .earlierRunsKnown(
                job: job.name, EarlierRuns(lastEnd: lastEnd, lastSuccess: .init(at: lastSuccess, age: ago))))
    }

    /// Records a read of the history that has these runs: the rows that each deleted, and how long ago it ended.
    ///
    /// - Parameter first: the `runID` of the first of them; the others' follow.
    mutating func learn(
        _ runs: [(deleted: Int, ago: Duration)], first: Int = 1, deletions: [Int: Int], of job: Job = .transientSessions
    ) {
        let now = now.wall
        let recorded = runs.enumerated().map { index, run in
            let end = now - run.ago
            return RecordedRun(
                runID: first + index, job: job.name, outcome: .succeeded, origin: .schedule,
                scheduledAt: end - .seconds(1), startedAt: end - .seconds(1), heartbeatAt: end, finishedAt: end,
                cutoff: end, rowsDeleted: run.deleted, rowsSkipped: 0, rowsRefused: 0, batches: 1, attempts: 1,
                claimedBy: "another")
        }
        record(.recentRunsKnown(job: job.name, RecentRuns(runs: recorded, deletions: deletions)))
    }

    mutating func arm(_ job: Job) { record(.fireTimeArmed(job: job.name, Self.next(job, now))) }

    mutating func beginRun(of job: Job = .transientSessions, attempt: Int = 1) {
        record(.attemptStarted(job: job.name, scheduledAt: now.wall, origin: .schedule, number: attempt))
    }

    /// A run that begins and ends now.
    mutating func run(
        _ job: Job = .transientSessions, _ outcome: Outcome = .succeeded, failure: RunFailure? = nil, deleted: Int = 0,
        lastSuccessAt: UTCInstant? = nil, oldestOverdue: Duration? = nil
    ) {
        beginRun(of: job)
        arm(job)
        if let lastSuccessAt { tell(lastSuccess: lastSuccessAt, ago: now.wall - lastSuccessAt, of: job) }
        if deleted > 0 { record(.batchEnded(job: job.name, after: .milliseconds(3), rowsDeleted: deleted)) }
        record(
            .runConcluded(
                .ended(
                    job.name, outcome, at: now.wall, failure: failure, deleted: deleted, oldestOverdue: oldestOverdue)))
    }

    /// Lets fire times come one after the other, and answers each alike.
    mutating func answer(
        _ count: Int, _ job: Job = .transientSessions, _ outcome: Outcome = .succeeded, failure: RunFailure? = nil
    ) {
        for _ in 0..<count {
            guard let next = job.schedule.next(after: now.wall) else { return }
            pass(next - now.wall)
            run(job, outcome, failure: failure)
        }
    }

    /// A gauge or a counter of a job's, as it is scraped.
    func value(_ family: MetricFamily, of job: Job = .transientSessions, labels: String = "") -> Double? {
        let start = #"\#(family.name){job_name="\#(job.name)"\#(labels)} "#
        let line = metrics.text.split(separator: "\n").first { $0.hasPrefix(start) }
        return line.flatMap { Double($0.dropFirst(start.count)) }
    }

    /// True if the alert `McpCleanupNoSuccess` would fire too, in a Prometheus with our clock.
    func isAlerted(_ job: Job = .transientSessions) -> Bool {
        guard let success = value(.lastSuccess, of: job), let budget = value(.successBudget, of: job) else {
            return false
        }
        return success > 0 && budget > 0 && now.wall.fractionalSeconds - success > budget
    }

    var obstacles: [String] { state.obstacles(at: now) }
    var condition: JobState.Condition { state.jobs[0].condition(at: now) }
    var page: String { StatusPage(state: state, now: now).html }
}

extension RunReport {
    static func ended(
        _ job: String, _ outcome: Outcome, at end: UTCInstant, failure: RunFailure? = nil, deleted: Int = 0,
        skipped: Int = 0, refused: Int = 0, duration: Duration = .seconds(2), clockSkew: Duration? = nil,
        oldestOverdue: Duration? = nil
    ) -> RunReport {
        let start = end - duration
        var report = RunReport(
            job: job, outcome: outcome, scheduledAt: start, startedAt: start, finishedAt: end,
            cutoff: failure == nil && outcome != .skipped ? start : nil,
            progress: RunProgress(
                rowsDeleted: deleted, rowsSkipped: skipped, rowsRefused: refused, batches: 1,
                rowsFound: deleted + skipped + refused),
            attempts: 1)
        report.failure = failure
        report.clockSkew = clockSkew
        report.oldestOverdue = oldestOverdue
        return report
    }
}

extension RunFailure {
    static let databaseAway = RunFailure.database(.unreachable(.refused, message: "connection to db:5432 refused"))
    static let noPrivilege = RunFailure.privilegesMissing(.sessions, role: "r", isOnSchema: false, ["DELETE"])
}
