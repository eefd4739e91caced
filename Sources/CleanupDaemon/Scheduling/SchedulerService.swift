package import Dispatch
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
    private let queue: DispatchQueue?
    private let started = ContinuousClock.now
    private let probe = LoopProbe()
    /// At most one attempt per job, one wake-up of each timer, one probe and a few requests are under way at a time.
    private let events: AsyncStream<Event>
    private let sender: AsyncStream<Event>.Continuation

    /// - Parameters:
    ///   - jobs: in the order in which they run when they are due together.
    ///   - access: for the connections of runs.
    ///   - makeRun: a run of the job, with the limits in force.
    ///   - looksBack: whether to find out, after the start, if a fire time was missed while nobody ran.
    ///   - watchdogInterval: how often to tell `foundWell`; `nil` when nobody watches.
    ///   - queue: the serial queue that tasks run on, if they do: a fire time then wakes one thread, which goes on with the
    ///     run.
    ///   - onEvent: hears of everything that happens; must not block.
    package init(
        jobs: [Job], access: DatabaseAccess, makeRun: @escaping @Sendable (Job) -> CleanupRun, looksBack: Bool,
        watchdogInterval: Duration? = nil, queue: DispatchQueue? = nil,
        onEvent: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        work = Work(jobs: jobs, access: access, makeRun: makeRun)
        self.looksBack = looksBack
        tell = onEvent
        self.watchdogInterval = watchdogInterval
        self.queue = queue
        (events, sender) = AsyncStream<Event>.makeStream(bufferingPolicy: .unbounded)
    }

    /// Asks for the end: no new runs, and those under way are canceled. From any thread, before `run` too.
    package func requestStop() { sender.yield(.shutdownRequested) }

    /// Whether the loop takes an event within the limit: false before it runs, when it is stuck and after its end.
    package func isTurning(within limit: Duration) async -> Bool {
        await probe.isAnswered(within: limit) { sender.yield(.probed) }
    }

    /// Says that the configuration is being read again. From any thread.
    package func reloadBegan() { sender.yield(.reloadBegan) }

    /// Puts a configuration into force that was read again. Attempts under way go on as they began. From any thread.
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

    /// What the service works by; a reload replaces it as a whole.
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
        case reloadBegan
        case reloaded(Work, [String])
        case reloadFailed(String)
        case probed
        case shutdownRequested
    }

    /// Returns after a graceful shutdown, when the last run has ended.
    /// - Throws: `TimerUnavailable`.
    package func run() async throws {
        let wallTimer = try WallClockTimer(target: queue) { sender.yield(.timeCame(wasClockSet: $0 == .clockWasSet)) }
        var work = work
        var scheduler = Scheduler(
            jobs: work.jobs, now: now, seed: UInt64.random(in: 0...UInt64.max), watchdogInterval: watchdogInterval)
        var armed: [Int: UTCInstant] = [:]
        tellArmed(scheduler, &armed)
        wallTimer.arm(at: scheduler.nextWakeUp)
        tell(.started(scheduler.nextFireTimes))
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                var reports: [Int: RunReport] = [:]
                var ready: ReadySeries?
                var wait = waitForTime(scheduler)
                if looksBack {
                    for action in scheduler.lookBack(now: now) {
                        carryOut(action, scheduler, work, &reports, &ready, in: &group)
                    }
                }
                for await event in events {
                    if let wait { Deadlines.shared.cancel(wait) }
                    if case .reloaded(let new, _) = event {
                        work = new
                        // It may be for another database.
                        ready?.end()
                        ready = nil
                    }
                    let actions = respond(to: event, &scheduler, &reports)
                    for action in actions { carryOut(action, scheduler, work, &reports, &ready, in: &group) }
                    if let waiting = ready, waiting.fireTime != scheduler.nextWakeUp {
                        waiting.end()
                        ready = nil
                    }
                    tellArmed(scheduler, &armed)
                    if case .shutdownRequested = event { group.cancelAll() }
                    if scheduler.isShuttingDown && !scheduler.isBusy { break }
                    wallTimer.arm(at: scheduler.nextWakeUp)
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

    private func tellArmed(_ scheduler: borrowing Scheduler, _ armed: inout [Int: UTCInstant]) {
        for index in scheduler.indices where armed[index] != scheduler.nextFireTime(of: index) {
            armed[index] = scheduler.nextFireTime(of: index)
            tell(.fireTimeArmed(job: scheduler.job(index).name, armed[index]))
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
            tellHistory(report, of: scheduler.job(attempt.job))
            reports[attempt.job] = reports[attempt.job].map(report.following) ?? report
            let now = now
            let rest = report.restsUntil.map { scheduler.rest(job: attempt.job, until: $0, now: now) } ?? []
            return rest + scheduler.attemptEnded(job: attempt.job, Scheduler.Result(report), now: now)
        case .reloadBegan:
            tell(.reloading)
            return []
        case .reloaded(let work, let waiting):
            let actions = scheduler.reconfigure(jobs: work.jobs, now: now)
            tell(.reloaded(scheduler.nextFireTimes, waitingForRestart: waiting))
            return actions
        case .reloadFailed(let why):
            tell(.reloadFailed(why))
            return []
        case .probed:
            probe.answer()
            return []
        case .shutdownRequested:
            tell(.stopping)
            return scheduler.shutDown()
        }
    }

    /// What an attempt read in the history, while it is fresh: the run may be tried again all night.
    private func tellHistory(_ report: RunReport, of job: Job) {
        if let earlier = report.earlierRuns { tell(.earlierRunsKnown(job: report.job, earlier)) }
    }

    // MARK: Actions

    private func carryOut(
        _ action: Scheduler.Action, _ scheduler: borrowing Scheduler, _ work: Work,
        _ reports: inout [Int: RunReport], _ ready: inout ReadySeries?, in group: inout DiscardingTaskGroup
    ) {
        switch action {
        case .connect(let fireTime):
            ready?.end()
            let series = ReadySeries(fireTime: fireTime)
            ready = series
            // Ends with the fire time, which `begin` or `end` is called for, or with the group.
            group.addTask { await execute(series, work) }
        case .start(let attempts):
            var requests: [Request] = []
            for attempt in attempts {
                let request = RunRequest(
                    scheduledAt: attempt.scheduledAt, origin: attempt.origin,
                    previousTokens: reports[attempt.job]?.claimTokens ?? [])
                requests.append(Request(job: scheduler.job(attempt.job), attempt: attempt, run: request))
            }
            if let waiting = ready, requests.contains(where: { $0.attempt.scheduledAt == waiting.fireTime }) {
                ready = nil
                if waiting.isFresh, waiting.begin(requests) { return }
                waiting.end()
            }
            // Ends within its jobs' deadlines, or with the group.
            group.addTask { [requests] in
                var series = RunSeries(work.access)
                await execute(requests, over: &series, work)
                await series.end()
            }
        case .announceRetry(let attempt, let delay):
            guard let report = reports[attempt.job] else { return }
            tell(
                report.failure == nil
                    ? .runHeldElsewhere(report, lookAgainAfter: delay) : .attemptFailed(report, retryAfter: delay))
        case .concludeRun(let attempt):
            guard let report = reports.removeValue(forKey: attempt.job) else { return }
            // A look that found nothing missed was no run.
            let isRun = !attempt.isLookBack || report.outcome != .skipped
            tell(isRun ? .runConcluded(report) : .nothingMissed(job: report.job))
        case .countCoalesced(let job, let fireTime):
            tell(.fireTimeCoalesced(job: scheduler.job(job).name, fireTime))
        case .countMissed(let job, let count):
            tell(.fireTimesMissed(job: scheduler.job(job).name, count))
        case .countPassedOver(let job, let count, let until):
            tell(.fireTimesPassedOver(job: scheduler.job(job).name, count, until: until))
        case .pingWatchdog:
            tell(.foundWell)
        }
    }

    /// Connects, waits for the fire time and makes the attempts that come with it, if they do.
    private func execute(_ ready: ReadySeries, _ work: Work) async {
        var series = RunSeries(work.access)
        // A second more than there is: what takes a little longer is not begun again.
        for await requests in ready.requests { await execute(requests, over: &series, work) }
        await series.end()
    }

    private func execute(_ requests: [Request], over series: inout RunSeries, _ work: Work) async {
        for request in requests {
            let (job, attempt) = (request.job, request.attempt)
            tell(
                .attemptStarted(
                    job: job.name, scheduledAt: attempt.scheduledAt, origin: attempt.origin, number: attempt.number))
            let report = await series.execute(work.makeRun(job), request.run)
            sender.yield(.attemptEnded(attempt, report))
        }
    }

    private struct Request: Sendable {
        let job: Job
        let attempt: Scheduler.Attempt
        let run: RunRequest
    }

    /// A series of runs that is connected before its fire time comes.
    private struct ReadySeries: Sendable {
        let fireTime: UTCInstant
        /// At most one element.
        let requests: AsyncStream<[Request]>
        private let sender: AsyncStream<[Request]>.Continuation

        init(fireTime: UTCInstant) {
            self.fireTime = fireTime
            (requests, sender) = AsyncStream.makeStream()
        }

        /// Not after a sleep of the machine: whether a connection outlived it only a long silence would tell.
        var isFresh: Bool { .now - fireTime < Scheduler.connectionLead }

        /// - Returns: false when it has ended already.
        func begin(_ attempts: [Request]) -> Bool {
            defer { sender.finish() }
            guard case .enqueued = sender.yield(attempts) else { return false }
            return true
        }

        /// Its fire time will not come.
        func end() { sender.finish() }
    }
}

extension Scheduler.Result {
    /// What a report means for the attempts to come.
    init(_ report: RunReport) {
        switch report.skip {
        case .held(_, let wait): self = .heldElsewhere(lookAgainAfter: wait)
        case .answered: self = .skipped
        case nil: self = report.failure.map { $0.mayPass ? .mayRetry : .failed } ?? .ended
        }
    }
}

extension Scheduler {
    /// The jobs in force, and when each fires next.
    fileprivate var nextFireTimes: [(job: Job, nextFireTime: UTCInstant?)] {
        var times: [(job: Job, nextFireTime: UTCInstant?)] = []
        for index in jobs { times.append((job(index), nextFireTime(of: index))) }
        return times
    }
}
