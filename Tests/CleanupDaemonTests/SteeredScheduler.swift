@testable import CleanupDaemon
@testable import SessionCleanup
import Time

/// A scheduler behind a reference: an expectation cannot call what changes a value, or hold one that cannot be copied.
final class SteeredScheduler {
    private var scheduler: Scheduler

    init(_ jobs: [Job], at now: TwoClocks, seed: UInt64 = 1, looksBack: Bool = false) {
        scheduler = Scheduler(jobs: jobs, now: now, seed: seed, looksBack: looksBack)
    }

    var wakeUp: WakeUp { WakeUp(wall: scheduler.wakeUp.wall, elapsed: scheduler.wakeUp.elapsed) }
    var isFinished: Bool { scheduler.isFinished }
    func nextFireTime(of job: Int) -> UTCInstant? { scheduler.nextFireTime(of: job) }

    func started() -> [Scheduler.Action] { scheduler.started() }
    func stopRequested() -> [Scheduler.Action] { scheduler.stopRequested() }

    func clockAdvanced(to now: TwoClocks, wasSet: Bool = false) -> [Scheduler.Action] {
        scheduler.clockAdvanced(to: now, wasSet: wasSet)
    }

    func attemptEnded(_ attempt: Scheduler.Attempt, _ report: RunReport, now: TwoClocks) -> [Scheduler.Action] {
        scheduler.attemptEnded(attempt, report, now: now)
    }

    func historyRead(_ histories: [String: JobHistory], now: TwoClocks) -> [Scheduler.Action] {
        scheduler.historyRead(histories, now: now)
    }

    func historyReadFailed(_ failure: RunFailure, now: TwoClocks) -> [Scheduler.Action] {
        scheduler.historyReadFailed(failure, now: now)
    }
}
