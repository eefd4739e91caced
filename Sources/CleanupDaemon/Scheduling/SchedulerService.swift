import ServiceLifecycle
package import SessionCleanup
import Time

/// Runs the jobs at their fire times until it is asked to stop: the shell around `Scheduler`.
///
/// One loop takes one event after the other, so that the scheduler needs no lock; between events nothing in the process
/// wakes up.
package struct SchedulerService: Service, CustomStringConvertible {
    private let work: Work
    private let looksBack: Bool
    private let tell: @Sendable (ServiceEvent) -> Void
    private let watchdogInterval: Duration?
    private let clock: any SchedulerClock
    private let probe = LoopProbe()
    private let runsOfOthers = RunsOfOthers()
    /// At most one attempt per job, one wake-up of each timer, one probe and a few requests are under way at a time.
    private let events: AsyncStream<Event>
    private let sender: AsyncStream<Event>.Continuation

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - access: for the connections of runs.
    ///   - makeRun: returns a run of the job, with the limits in force.
    ///   - looksBack: true to read the history after the start, for the fire times that were missed.
    ///   - watchdogInterval: the time between two `foundWell`; nil without a watchdog.
    ///   - onEvent: receives every event, on the loop's task or a run's; must not block.
    package init(
        jobs: [Job], access: DatabaseAccess, makeRun: @escaping @Sendable (Job) -> CleanupRun, looksBack: Bool,
        watchdogInterval: Duration? = nil, clock: any SchedulerClock = HostSchedulerClock(),
        onEvent: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        work = Work(jobs: jobs, access: access, makeRun: makeRun)
        self.looksBack = looksBack
        tell = onEvent
        self.watchdogInterval = watchdogInterval
        self.clock = clock
        (events, sender) = AsyncStream<Event>.makeStream(bufferingPolicy: .unbounded)
    }

    /// Asks for the end: no new runs, and those under way are canceled. From any thread, before `run` too.
    package func requestStop() { sender.yield(.stopRequested) }

    /// Returns true if the loop takes an event within the limit: false before it runs, when it is stuck and after its
    /// end.
    package func isTurning(within limit: Duration) async -> Bool {
        await probe.isAnswered(within: limit) { sender.yield(.probed) }
    }

    /// Says that the configuration is being read again. From any thread.
    package func reloadBegan() { sender.yield(.reloadBegan) }

    /// Puts a configuration into force that was read again. Attempts under way continue as they began. From any thread.
    ///
    /// - Parameter waitingForRestart: keys that have changed and are not in force.
    package func reload(
        jobs: [Job], access: DatabaseAccess, waitingForRestart: [String],
        makeRun: @escaping @Sendable (Job) -> CleanupRun
    ) {
        sender.yield(.reloaded(Work(jobs: jobs, access: access, makeRun: makeRun), waitingForRestart))
    }

    /// Says that the configuration that was read again is wrong, and why. From any thread.
    package func reloadFailed(_ why: String) { sender.yield(.reloadFailed(why)) }

    /// The parts of the configuration that a reload replaces.
    private struct Work: Sendable {
        let jobs: [Job]
        let access: DatabaseAccess
        let makeRun: @Sendable (Job) -> CleanupRun
    }

    /// Short: the service group puts it into its messages.
    package var description: String { "scheduler" }

    private enum Event: Sendable {
        case timeCame(wasClockSet: Bool)
        case attemptEnded(Scheduler.Attempt, RunReport)
        case historyRead([String: JobHistory])
        case historyReadFailed(RunFailure)
        case reloadBegan
        case reloaded(Work, [String])
        case reloadFailed(String)
        case probed
        case stopRequested
    }

    /// Returns after a graceful shutdown, when the last run has ended.
    /// - Throws: `TimerUnavailable`.
    package func run() async throws {
        try clock.start { sender.yield(.timeCame(wasClockSet: $0)) }
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var work = work
                var scheduler = Scheduler(
                    jobs: work.jobs, now: clock.now, seed: UInt64.random(in: 0...UInt64.max),
                    watchdogInterval: watchdogInterval, looksBack: looksBack)
                carryOut(scheduler.started(), work, in: &group)
                clock.sleep(until: scheduler.wakeUp)
                for await event in events {
                    if case .reloaded(let new, _) = event { work = new }
                    carryOut(respond(to: event, &scheduler), work, in: &group)
                    if scheduler.isFinished { break }
                    clock.sleep(until: scheduler.wakeUp)
                }
                clock.sleep(until: .never)
            }
        } onGracefulShutdown: {
            sender.yield(.stopRequested)
        }
    }

    private func respond(to event: Event, _ scheduler: inout Scheduler) -> [Scheduler.Action] {
        let now = clock.now
        switch event {
        case .timeCame(let wasSet): return scheduler.clockAdvanced(to: now, wasSet: wasSet)
        case .attemptEnded(let attempt, let report): return scheduler.attemptEnded(attempt, report, now: now)
        case .historyRead(let histories): return scheduler.historyRead(histories, now: now)
        case .historyReadFailed(let failure): return scheduler.historyReadFailed(failure, now: now)
        case .reloadBegan: return [.tell(.reloading)]
        case .reloaded(let work, let waiting):
            return scheduler.reconfigured(jobs: work.jobs, waitingForRestart: waiting, now: now)
        case .reloadFailed(let why): return [.tell(.reloadFailed(why))]
        case .probed:
            probe.answer()
            return []
        case .stopRequested: return scheduler.stopRequested()
        }
    }

    private func carryOut(_ actions: [Scheduler.Action], _ work: Work, in group: inout DiscardingTaskGroup) {
        for action in actions {
            switch action {
            case .tell(let event): tell(event)
            case .start(let assignments):
                // Ends within its jobs' deadlines, or with the group.
                group.addTask { await execute(assignments, work) }
            case .readHistory(let jobs):
                // Ends within `LookBack`'s deadline, or with the group.
                group.addTask { await readHistory(of: jobs, work) }
            case .cancelAttempts: group.cancelAll()
            }
        }
    }

    private func execute(_ assignments: [Scheduler.Assignment], _ work: Work) async {
        var series = RunSeries(work.access)
        for assignment in assignments {
            let (job, attempt) = (assignment.job, assignment.attempt)
            tell(
                .attemptStarted(
                    job: job.name, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number))
            let report = await series.execute(work.makeRun(job), assignment.request)
            sender.yield(.attemptEnded(attempt, report))
            // Once the attempt has ended: it waits for nothing that is only shown.
            if runsOfOthers.areUnknown(after: report), let recent = await series.recentRuns(of: job.name) {
                runsOfOthers.became(recent, of: job.name)
                tell(.recentRunsKnown(job: job.name, recent))
            }
        }
        await series.end()
    }

    private func readHistory(of jobs: [Job], _ work: Work) async {
        do {
            let lease = jobs.first.map { work.makeRun($0).history.lease }
            let lookBack = lease.map { LookBack(work.access, lease: $0) } ?? LookBack(work.access)
            sender.yield(.historyRead(try await lookBack.read(jobs.map(\.name))))
        } catch {
            sender.yield(.historyReadFailed(error))
        }
    }
}
