import CleanupSchedule
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
    private let tell: @Sendable (ServiceEvent) -> Void
    private let watchdogInterval: Duration?
    private let started = ContinuousClock.now
    /// At most one attempt per job, one wake-up of each timer and a few requests to stop are under way at a time.
    private let events: AsyncStream<Event>
    private let sender: AsyncStream<Event>.Continuation

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - access: for the connections of runs.
    ///   - makeRun: a run of the job, with the limits in force.
    ///   - watchdogInterval: how often to tell `foundWell`; `nil` when nobody watches.
    ///   - onEvent: hears of everything that happens; must not block.
    package init(
        jobs: [Job], access: DatabaseAccess, makeRun: @escaping @Sendable (Job) -> CleanupRun,
        watchdogInterval: Duration? = nil,
        onEvent: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        self.jobs = jobs
        self.access = access
        self.makeRun = makeRun
        tell = onEvent
        self.watchdogInterval = watchdogInterval
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
        var scheduler = Scheduler(
            jobs: jobs, now: now, seed: UInt64.random(in: 0...UInt64.max), watchdogInterval: watchdogInterval)
        var armed: [UTCInstant?] = jobs.indices.map { scheduler.nextFireTime(of: $0) }
        for (job, fireTime) in zip(jobs, armed) { tell(.fireTimeArmed(job: job.name, fireTime)) }
        wallTimer.arm(at: scheduler.nextFireTime)
        waitTimer.arm(after: scheduler.nextRetry.map { $0 - now.elapsed })
        tell(.started(Array(zip(jobs, armed))))
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var reports: [Int: RunReport] = [:]
                for await event in events {
                    let actions = respond(to: event, &scheduler, &reports)
                    for action in actions { carryOut(action, &reports, in: &group) }
                    for index in jobs.indices where armed[index] != scheduler.nextFireTime(of: index) {
                        armed[index] = scheduler.nextFireTime(of: index)
                        tell(.fireTimeArmed(job: jobs[index].name, armed[index]))
                    }
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

    // MARK: Events

    private func respond(
        to event: Event, _ scheduler: inout Scheduler, _ reports: inout [Int: RunReport]
    ) -> [Scheduler.Action] {
        switch event {
        case .timeCame(let wasClockSet):
            let now = now
            if wasClockSet { tell(.clockWasSet(to: now.wall)) }
            return scheduler.clockAdvanced(to: now, wasSet: wasClockSet)
        case .attemptEnded(let attempt, let report):
            reports[attempt.job] = reports[attempt.job].map(report.following) ?? report
            return scheduler.attemptEnded(
                job: attempt.job, mayRetry: report.failure?.mayPass ?? false, now: now)
        case .shutdownRequested:
            tell(.stopping)
            return scheduler.shutDown()
        }
    }

    // MARK: Actions

    private func carryOut(
        _ action: Scheduler.Action, _ reports: inout [Int: RunReport], in group: inout DiscardingTaskGroup
    ) {
        switch action {
        case .start(let attempts):
            group.addTask { await execute(attempts) }
        case .announceRetry(let attempt, let delay):
            if let report = reports[attempt.job] { tell(.attemptFailed(report, retryAfter: delay)) }
        case .concludeRun(let attempt):
            if let report = reports.removeValue(forKey: attempt.job) { tell(.runConcluded(report)) }
        case .countCoalesced(let job, let fireTime):
            tell(.fireTimeCoalesced(job: jobs[job].name, fireTime))
        case .countMissed(let job, let count):
            tell(.fireTimesMissed(job: jobs[job].name, count))
        case .pingWatchdog:
            tell(.foundWell)
        }
    }

    private func execute(_ attempts: [Scheduler.Attempt]) async {
        var series = RunSeries(access)
        for attempt in attempts {
            let job = jobs[attempt.job]
            tell(
                .attemptStarted(
                    job: job.name, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number))
            let report = await series.execute(
                makeRun(job), RunRequest(scheduledAt: attempt.scheduledAt, origin: attempt.origin))
            sender.yield(.attemptEnded(attempt, report))
        }
        await series.end()
    }
}
