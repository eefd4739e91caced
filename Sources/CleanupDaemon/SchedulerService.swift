import CleanupSchedule
package import Logging
import Postgres
import ServiceLifecycle
package import SessionCleanup

/// Runs the jobs at their fire times until it is asked to stop: the shell around `Scheduler`.
///
/// One loop takes one event after the other, so that the scheduler needs no lock; between events nothing in the process
/// wakes up.
package struct SchedulerService: Service, CustomStringConvertible {
    private let jobs: [Job]
    private let access: DatabaseAccess
    private let makeRun: @Sendable (Job) -> CleanupRun
    private let logger: Logger
    private let started = ContinuousClock.now
    /// At most one attempt per job, one wake-up of each timer and a few requests to stop are under way at a time.
    private let events: AsyncStream<Event>
    private let sender: AsyncStream<Event>.Continuation

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - access: for the connections of runs.
    ///   - makeRun: a run of the job, with the limits in force.
    package init(
        jobs: [Job], access: DatabaseAccess, logger: Logger,
        makeRun: @escaping @Sendable (Job) -> CleanupRun
    ) {
        self.jobs = jobs
        self.access = access
        self.logger = logger
        self.makeRun = makeRun
        (events, sender) = AsyncStream<Event>.makeStream(bufferingPolicy: .unbounded)
    }

    /// Asks for the end: no new runs, and those under way are canceled. From any thread, before `run` too.
    package func requestStop() { sender.yield(.shutdownRequested) }

    /// Short: the service group puts it into its messages.
    package var description: String { "scheduler" }

    private enum Event: Sendable {
        case timeCame(wasClockSet: Bool)
        case attemptEnded(Scheduler.Attempt, RunReport)
        case shutdownRequested
    }

    /// Returns after a graceful shutdown, when the last run has ended.
    /// - Throws: `TimerUnavailable`.
    package func run() async throws {
        let wallTimer = try WallClockTimer { sender.yield(.timeCame(wasClockSet: $0 == .clockWasSet)) }
        let waitTimer = MonotonicTimer { sender.yield(.timeCame(wasClockSet: false)) }
        var scheduler = Scheduler(jobs: jobs, now: now, seed: UInt64.random(in: 0...UInt64.max))
        announce(scheduler)
        wallTimer.arm(at: scheduler.nextFireTime)
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var reports: [Int: RunReport] = [:]
                for await event in events {
                    let actions = respond(to: event, &scheduler, &reports)
                    for action in actions { carryOut(action, &reports, in: &group, sender) }
                    if case .shutdownRequested = event { group.cancelAll() }
                    if scheduler.isShuttingDown && !scheduler.isBusy { break }
                    wallTimer.arm(at: scheduler.nextFireTime)
                    waitTimer.arm(after: scheduler.nextRetry.map { $0 - now.elapsed })
                }
            }
        } onGracefulShutdown: {
            sender.yield(.shutdownRequested)
        }
    }

    private var now: Scheduler.Now {
        Scheduler.Now(wall: .now, elapsed: started.duration(to: .now))
    }

    private func announce(_ scheduler: borrowing Scheduler) {
        for (index, job) in jobs.enumerated() {
            let next = scheduler.nextFireTime(of: index).map { "next at \($0)" } ?? "disabled"
            logger.info("\(job.name): \(job.schedule), \(next)")
        }
    }

    // MARK: Events

    private func respond(
        to event: Event, _ scheduler: inout Scheduler, _ reports: inout [Int: RunReport]
    ) -> [Scheduler.Action] {
        switch event {
        case .timeCame(let wasClockSet):
            if wasClockSet { logger.notice("The clock was set, or the machine slept; it says \(now.wall).") }
            return scheduler.clockAdvanced(to: now, wasSet: wasClockSet)
        case .attemptEnded(let attempt, let report):
            reports[attempt.job] = reports[attempt.job].map(report.following) ?? report
            return scheduler.attemptEnded(
                job: attempt.job, mayRetry: report.failure?.mayPass ?? false, now: now)
        case .shutdownRequested:
            logger.info("Stopping.")
            return scheduler.shutDown()
        }
    }

    // MARK: Actions

    private func carryOut(
        _ action: Scheduler.Action, _ reports: inout [Int: RunReport], in group: inout DiscardingTaskGroup,
        _ sender: AsyncStream<Event>.Continuation
    ) {
        switch action {
        case .start(let attempts):
            group.addTask { await execute(attempts, sender) }
        case .announceRetry(let attempt, let delay):
            guard let failure = reports[attempt.job]?.failure else { return }
            logger.warning(
                "\(failure); another attempt in \(delay.inSeconds)", metadata: ["job": "\(jobs[attempt.job].name)"])
        case .concludeRun(let attempt):
            guard let report = reports.removeValue(forKey: attempt.job) else { return }
            log(report)
        case .countCoalesced(let job, let fireTime):
            logger.notice(
                "The fire time \(fireTime) came while the job was running; it gets no run of its own.",
                metadata: ["job": "\(jobs[job].name)"])
        case .countMissed(let job, let count):
            logger.notice(
                "\(count) fire \(count == 1 ? "time was" : "times were") missed.",
                metadata: ["job": "\(jobs[job].name)"])
        }
    }

    private func execute(_ attempts: [Scheduler.Attempt], _ sender: AsyncStream<Event>.Continuation) async {
        var series = RunSeries(access)
        for attempt in attempts {
            let report = await series.execute(makeRun(jobs[attempt.job]), scheduledAt: attempt.scheduledAt)
            sender.yield(.attemptEnded(attempt, report))
        }
        await series.end()
    }

    private func log(_ report: RunReport) {
        var metadata: Logger.Metadata = [
            "job": "\(report.job)", "outcome": "\(report.outcome.rawValue)", "fire_time": "\(report.scheduledAt)",
            "rows_deleted": "\(report.progress.rowsDeleted)", "rows_skipped": "\(report.progress.rowsSkipped)",
            "batches": "\(report.progress.batches)", "attempts": "\(report.attempts)",
        ]
        if let failure = report.failure {
            if let hint = failure.hint { metadata["hint"] = "\(hint)" }
            let level: Logger.Level = report.outcome == .canceled ? .info : .error
            logger.log(level: level, "\(failure)", metadata: metadata)
        } else {
            let level: Logger.Level = report.progress.rowsDeleted + report.progress.rowsSkipped > 0 ? .info : .debug
            let duration = (report.finishedAt - report.startedAt).inSeconds
            logger.log(
                level: level, "Removed \(report.progress.rowsDeleted) sessions in \(duration).", metadata: metadata)
        }
    }
}
