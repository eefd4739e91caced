import Postgres
import ServiceLifecycle
package import SessionCleanup
import Synchronization
import Time

/// Runs the jobs at their fire times until it is asked to stop: the shell around `Scheduler`. One loop takes one event after the
/// other, so that the scheduler needs no lock; between events nothing in the process wakes up.
package final class SchedulerService: Service {
    private let jobs: [Job]
    private let work: Work
    private let looksBack: Bool
    private let tell: @Sendable (ServiceEvent) -> Void
    private let watchdogInterval: Duration?
    private let clock: any SchedulerClock
    private let runsOfOthers = RunsOfOthers()
    /// The callers of `isTurning` that the event under way will answer; `nil` while no such event is under way.
    private let waiting = Mutex<[FirstAnswer<Bool>]?>(nil)
    /// More than HTTP has connections. Bounds the callers that collect while the loop is stuck.
    private static let waitingLimit = 128
    /// Unbounded: at most one attempt per job, one wake-up of each timer, one probe and a few requests are under way.
    private let events: AsyncStream<Event>
    private let sender: AsyncStream<Event>.Continuation

    /// The parts of the configuration that a reload replaces.
    private typealias Work = (access: DatabaseAccess, makeRun: @Sendable (Job) -> CleanupRun)

    /// An event for the loop: it calls the scheduler with both clocks' readings, and returns the scheduler's actions.
    private typealias Event = @Sendable (inout Scheduler, inout Work, TwoClocks) -> [Scheduler.Action]

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - looksBack: true to read the history after the start, for the fire times that were missed.
    ///   - watchdogInterval: the time between two `foundWell`; nil without a watchdog.
    ///   - onEvent: receives every event, on the loop's task or a run's; must not block.
    package init(
        jobs: [Job], access: DatabaseAccess, makeRun: @escaping @Sendable (Job) -> CleanupRun, looksBack: Bool,
        watchdogInterval: Duration? = nil, clock: any SchedulerClock,
        onEvent: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        self.jobs = jobs
        work = (access, makeRun)
        self.looksBack = looksBack
        self.watchdogInterval = watchdogInterval
        self.clock = clock
        tell = onEvent
        (events, sender) = AsyncStream.makeStream()
    }

    // MARK: Requests, from any thread

    /// Asks for the end: no new runs start, and those under way are canceled. May be called before `run`.
    package func requestStop() {
        sender.yield { scheduler, _, _ in scheduler.stopRequested() }
    }

    /// True if the loop handles an event within the limit; false before `run`, while it is stuck and after its end.
    package func isTurning(within limit: Duration) async -> Bool {
        let answer = FirstAnswer<Bool>()
        let isFirst = waiting.withLock { waiting in
            defer { waiting = ((waiting ?? []) + [answer]).suffix(Self.waitingLimit) }
            return waiting == nil
        }
        if isFirst {
            sender.yield { [self] _, _, _ in
                for answer in waiting.withLock({ $0.take() }) ?? [] { answer.give(true) }
                return []
            }
        }
        return await answer.value(until: .now + limit, heedsCancellation: false, orLate: false, orCanceled: false)
    }

    /// Reports an event of a reload, `reloading` or `reloadFailed`, in its order among the others; not once the service stops.
    package func relay(_ event: ServiceEvent) {
        sender.yield { scheduler, _, _ in scheduler.isStopping ? [] : [.tell(event)] }
    }

    /// Puts the configuration that was read again into force. Attempts under way continue as they began.
    package func reload(
        jobs: [Job], access: DatabaseAccess, waitingForRestart: [String],
        makeRun: @escaping @Sendable (Job) -> CleanupRun
    ) {
        sender.yield { scheduler, work, now in
            work = (access, makeRun)
            return scheduler.reconfigured(jobs: jobs, waitingForRestart: waitingForRestart, now: now)
        }
    }

    // MARK: The loop

    /// Returns after a graceful shutdown, when the last run has ended.
    package func run() async {
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var work = work
                var scheduler = Scheduler(
                    jobs: jobs, now: clock.now, watchdogInterval: watchdogInterval, looksBack: looksBack)
                carryOut(scheduler.started(), work, in: &group)
                sleep(until: scheduler.wakeUp)
                for await event in events {
                    carryOut(event(&scheduler, &work, clock.now), work, in: &group)
                    if scheduler.isFinished { break }
                    sleep(until: scheduler.wakeUp)
                }
                sleep(until: (nil, nil))
            }
        } onGracefulShutdown: {
            self.requestStop()
        }
    }

    private func sleep(until wakeUp: (wall: UTCInstant?, elapsed: Duration?)) {
        clock.sleep(untilWall: wakeUp.wall, elapsed: wakeUp.elapsed) { [sender] wasSet in
            sender.yield { scheduler, _, now in scheduler.clockAdvanced(to: now, wasSet: wasSet) }
        }
    }

    private func carryOut(_ actions: [Scheduler.Action], _ work: Work, in group: inout DiscardingTaskGroup) {
        for action in actions {
            switch action {
            case .tell(let event): tell(event)
            case .start(let assignments):
                // Ends within its jobs' deadlines, or with the group.
                group.addTask { await self.execute(assignments, work) }
            case .readHistory(let jobs):
                // Ends within `lookBack`'s deadline, or with the group.
                group.addTask { await self.readHistory(of: jobs, work) }
            case .cancelAttempts: group.cancelAll()
            }
        }
    }

    private func execute(_ assignments: [Scheduler.Assignment], _ work: Work) async {
        var series = RunSeries(work.access)
        for (attempt, job, request) in assignments {
            tell(
                .attemptStarted(
                    job: job.name, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number))
            let report = await series.execute(work.makeRun(job), request)
            sender.yield { scheduler, _, now in scheduler.attemptEnded(attempt, report, now: now) }
            // After the attempt's end was reported, which need not wait for facts that are only shown.
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
