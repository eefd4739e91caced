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

    /// The parts of the configuration that a reload replaces.
    private struct Work: Sendable {
        let jobs: [Job]
        let access: DatabaseAccess
        let makeRun: @Sendable (Job) -> CleanupRun
    }

    /// A call of the scheduler for the loop to make.
    private typealias Event = @Sendable (inout Scheduler, inout Work, TwoClocks) -> [Scheduler.Action]

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
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

    /// Short: the service group puts it into its messages.
    package var description: String { "scheduler" }

    // MARK: Requests, from any thread

    /// Asks for the end: no new runs, and those under way are canceled. Before `run` too.
    package func requestStop() {
        sender.yield { scheduler, _, _ in scheduler.stopRequested() }
    }

    /// True if the loop takes an event within the limit: false before it runs, when it is stuck and after its end.
    package func isTurning(within limit: Duration) async -> Bool {
        await probe.isAnswered(within: limit) {
            sender.yield { [probe] _, _, _ in
                probe.answer()
                return []
            }
        }
    }

    /// Tells an event of a reload in its order among the others: `reloading`, or `reloadFailed`.
    package func relay(_ event: ServiceEvent) { sender.yield { _, _, _ in [.tell(event)] } }

    /// Puts a configuration into force that was read again. Attempts under way continue as they began.
    package func reload(
        jobs: [Job], access: DatabaseAccess, waitingForRestart: [String],
        makeRun: @escaping @Sendable (Job) -> CleanupRun
    ) {
        sender.yield { scheduler, work, now in
            work = Work(jobs: jobs, access: access, makeRun: makeRun)
            return scheduler.reconfigured(jobs: jobs, waitingForRestart: waitingForRestart, now: now)
        }
    }

    // MARK: The loop

    /// Returns after a graceful shutdown, when the last run has ended.
    /// - Throws: `TimerUnavailable`.
    package func run() async throws {
        try clock.start { wasSet in
            sender.yield { scheduler, _, now in scheduler.clockAdvanced(to: now, wasSet: wasSet) }
        }
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var work = work
                var scheduler = Scheduler(
                    jobs: work.jobs, now: clock.now, seed: UInt64.random(in: 0...UInt64.max),
                    watchdogInterval: watchdogInterval, looksBack: looksBack)
                carryOut(scheduler.started(), work, in: &group)
                clock.sleep(until: scheduler.wakeUp)
                for await event in events {
                    carryOut(event(&scheduler, &work, clock.now), work, in: &group)
                    if scheduler.isFinished { break }
                    clock.sleep(until: scheduler.wakeUp)
                }
                clock.sleep(until: .never)
            }
        } onGracefulShutdown: {
            requestStop()
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
                // Ends within `lookBack`'s deadline, or with the group.
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
            sender.yield { scheduler, _, now in scheduler.attemptEnded(attempt, report, now: now) }
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
            let run = work.makeRun(jobs[0])
            let histories = try await work.access.lookBack(
                at: jobs.map(\.name), beside: run.table.name, lease: run.history.lease)
            sender.yield { scheduler, _, now in scheduler.historyRead(histories, now: now) }
        } catch {
            sender.yield { scheduler, _, now in scheduler.historyReadFailed(error, now: now) }
        }
    }
}
