import CleanupSchedule
import Deadlines
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
    private let looksBack: Bool
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
    ///   - looksBack: whether to find out, after the start, if a fire time was missed while nobody ran.
    ///   - watchdogInterval: how often to tell `foundWell`; `nil` when nobody watches.
    ///   - onEvent: hears of everything that happens; must not block.
    package init(
        jobs: [Job], access: DatabaseAccess, makeRun: @escaping @Sendable (Job) -> CleanupRun, looksBack: Bool,
        watchdogInterval: Duration? = nil,
        onEvent: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        self.jobs = jobs
        self.access = access
        self.makeRun = makeRun
        self.looksBack = looksBack
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
        var scheduler = Scheduler(
            jobs: jobs, now: now, seed: UInt64.random(in: 0...UInt64.max), watchdogInterval: watchdogInterval)
        var armed: [UTCInstant?] = jobs.indices.map { scheduler.nextFireTime(of: $0) }
        for (job, fireTime) in zip(jobs, armed) { tell(.fireTimeArmed(job: job.name, fireTime)) }
        wallTimer.arm(at: scheduler.nextFireTime)
        tell(.started(Array(zip(jobs, armed))))
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var reports: [Int: RunReport] = [:]
                var wait = waitForTime(scheduler)
                if looksBack {
                    for action in scheduler.lookBack(now: now) { carryOut(action, &reports, in: &group) }
                }
                for await event in events {
                    if let wait { Deadlines.shared.cancel(wait) }
                    let actions = respond(to: event, &scheduler, &reports)
                    for action in actions { carryOut(action, &reports, in: &group) }
                    for index in jobs.indices where armed[index] != scheduler.nextFireTime(of: index) {
                        armed[index] = scheduler.nextFireTime(of: index)
                        tell(.fireTimeArmed(job: jobs[index].name, armed[index]))
                    }
                    if case .shutdownRequested = event { group.cancelAll() }
                    if scheduler.isShuttingDown && !scheduler.isBusy { break }
                    wallTimer.arm(at: scheduler.nextFireTime)
                    wait = waitForTime(scheduler)
                }
            }
        } onGracefulShutdown: {
            sender.yield(.shutdownRequested)
        }
    }

    /// For the next retry or ping; a ping alone wakes nobody in between.
    private func waitForTime(_ scheduler: borrowing Scheduler) -> Deadlines.Handle? {
        guard let elapsed = scheduler.nextRetry else { return nil }
        return Deadlines.shared.add(at: started + elapsed, isPatient: !scheduler.isRetrying) {
            sender.yield(.timeCame(wasClockSet: false))
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
            return scheduler.attemptEnded(job: attempt.job, Scheduler.Result(report), now: now)
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
            let requests = attempts.map { attempt in
                let request = RunRequest(
                    scheduledAt: attempt.scheduledAt, origin: attempt.origin,
                    previousToken: reports[attempt.job]?.claimToken, isLookBack: attempt.isLookBack)
                return (attempt, request)
            }
            group.addTask { await execute(requests) }
        case .announceRetry(let attempt, let delay):
            if let report = reports[attempt.job], report.failure != nil {
                tell(.attemptFailed(report, retryAfter: delay))
            }
        case .concludeRun(let attempt):
            guard let report = reports.removeValue(forKey: attempt.job) else { return }
            if let time = report.lastSuccessAt { tell(.successKnown(job: report.job, at: time)) }
            // A look that found nothing missed was no run.
            if !attempt.isLookBack || report.outcome != .skipped { tell(.runConcluded(report)) }
        case .countCoalesced(let job, let fireTime):
            tell(.fireTimeCoalesced(job: jobs[job].name, fireTime))
        case .countMissed(let job, let count):
            tell(.fireTimesMissed(job: jobs[job].name, count))
        case .pingWatchdog:
            tell(.foundWell)
        }
    }

    private func execute(_ requests: [(attempt: Scheduler.Attempt, request: RunRequest)]) async {
        var series = RunSeries(access)
        for (attempt, request) in requests {
            let job = jobs[attempt.job]
            tell(
                .attemptStarted(
                    job: job.name, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number))
            let report = await series.execute(makeRun(job), request)
            sender.yield(.attemptEnded(attempt, report))
        }
        await series.end()
    }
}

extension Scheduler.Result {
    /// What a report means for the attempts to come.
    init(_ report: RunReport) {
        switch report.skip {
        case .held(_, let wait): self = .heldElsewhere(lookAgainAfter: wait)
        case .answered, .nothingMissed: self = .skipped
        case nil: self = report.failure?.mayPass ?? false ? .mayRetry : .ended
        }
    }
}
