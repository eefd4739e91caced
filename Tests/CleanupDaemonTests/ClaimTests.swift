@testable import CleanupDaemon
import CleanupSchedule
@testable import SessionCleanup
import Testing
import Time

/// What the scheduler makes of other processes: of the history after a start, and of claims that it did not get.
@Suite struct ClaimTests {
    private func now(_ text: String, _ elapsed: Duration = .zero) -> Scheduler.Now {
        Scheduler.Now(wall: UTCInstant(rfc3339: text)!, elapsed: elapsed)
    }

    private func scheduler(at text: String = "2026-05-13T12:02:00Z") -> Scheduler {
        Scheduler(jobs: [.transientSessions, .dormantSessions()], now: now(text), seed: 1)
    }

    private func attempts(_ actions: [Scheduler.Action]) -> [Scheduler.Attempt] {
        actions.flatMap { action -> [Scheduler.Attempt] in
            if case .start(let attempts) = action { attempts } else { [] }
        }
    }

    @Test func looksBackAtTheLastFireTimeOfEachJobOverOneConnection() {
        var scheduler = scheduler()
        let actions = scheduler.lookBack(now: now("2026-05-13T12:02:00Z"))
        #expect(actions.count == 1)
        #expect(attempts(actions).map(\.job) == [0, 1])
        #expect(attempts(actions).allSatisfy { $0.isLookBack && $0.origin == .catchUp })
        #expect(
            attempts(actions).map { "\($0.scheduledAt)" } == ["2026-05-13T12:00:00Z", "2026-05-13T00:00:00Z"])
    }

    @Test func looksBackForAJobThatCatchesUpWithNothingToo() {
        var job = Job.transientSessions
        job.catchUp = .skip
        var scheduler = Scheduler(jobs: [job], now: now("2026-05-13T12:02:00Z"), seed: 1)
        #expect(attempts(scheduler.lookBack(now: now("2026-05-13T12:02:00Z"))).map(\.isLookBack) == [true])
    }

    @Test func countsTheFireTimesThatNobodyAnswered() {
        var job = Job.transientSessions
        let times = ["2026-05-13T11:00:00Z", "2026-05-13T12:00:00Z"].map { UTCInstant(rfc3339: $0)! }
        #expect(job.fireTimesMissed(since: times[0], through: times[1]) == 12)
        #expect(job.fireTimesMissed(since: times[1], through: times[1]) == 0)
        #expect(job.fireTimesMissed(since: times[1] - .seconds(3_000_000_000), through: times[1]) == 86_400)
        // For so long it may have let them pass by itself.
        job.maxStaleness = .seconds(1800)
        #expect(job.fireTimesMissed(since: times[0], through: times[1]) == 6)
    }

    @Test func aFireTimeDuringALookThatFindsNothingIsAnsweredAfterIt() {
        var scheduler = scheduler()
        _ = scheduler.lookBack(now: now("2026-05-13T12:02:00Z"))
        let due = now("2026-05-13T12:05:00Z", .seconds(180))
        let coalesced = scheduler.clockAdvanced(to: due, wasSet: false)
        #expect(attempts(coalesced).isEmpty)
        let started = attempts(scheduler.attemptEnded(job: 0, .skipped, now: due))
        #expect(started.map { "\($0.scheduledAt)" } == ["2026-05-13T12:05:00Z"])
        #expect(started.allSatisfy { !$0.isLookBack && $0.origin == .schedule && $0.number == 1 })
    }

    @Test func aFireTimeDuringACatchUpIsCoalesced() {
        var scheduler = scheduler()
        _ = scheduler.lookBack(now: now("2026-05-13T12:02:00Z"))
        let due = now("2026-05-13T12:05:00Z", .seconds(180))
        _ = scheduler.clockAdvanced(to: due, wasSet: false)
        let actions = scheduler.attemptEnded(job: 0, .ended, now: due)
        #expect(attempts(actions).isEmpty)
        let next = scheduler.nextFireTime(of: 0)
        #expect(next == UTCInstant(rfc3339: "2026-05-13T12:10:00Z"))
    }

    @Test func aLookThatFailsIsRepeatedAsALook() {
        var scheduler = scheduler()
        _ = scheduler.lookBack(now: now("2026-05-13T12:02:00Z"))
        _ = scheduler.attemptEnded(job: 1, .mayRetry, now: now("2026-05-13T12:02:01Z", .seconds(1)))
        let started = attempts(
            scheduler.clockAdvanced(to: now("2026-05-13T12:02:03Z", .seconds(3)), wasSet: false))
        #expect(started.map(\.isLookBack) == [true])
        #expect(started.map(\.number) == [2])
    }

    @Test func looksAgainWhenTheOwnersLeaseEnds() throws {
        var scheduler = scheduler()
        let due = now("2026-05-13T12:05:00Z", .seconds(180))
        let first = scheduler.clockAdvanced(to: due, wasSet: false)
        #expect(attempts(first).count == 1)
        _ = scheduler.attemptEnded(job: 0, .heldElsewhere(lookAgainAfter: .seconds(60)), now: due)
        let nextRetry = scheduler.nextRetry
        let again = try #require(nextRetry)
        #expect(again > .seconds(240) && again <= .seconds(241))
        let started = attempts(scheduler.clockAdvanced(to: now("2026-05-13T12:06:01Z", again), wasSet: false))
        #expect(started.map { "\($0.scheduledAt)" } == ["2026-05-13T12:05:00Z"])
        let concluded = scheduler.attemptEnded(job: 0, .skipped, now: now("2026-05-13T12:06:02Z", again))
        #expect(concluded.count == 1)
        let last = scheduler.nextRetry
        #expect(last == nil)
    }

    /// Whoever took it may die too.
    @Test func looksAgainForARunThatItLost() throws {
        var scheduler = scheduler()
        let due = now("2026-05-13T12:05:00Z", .seconds(180))
        _ = scheduler.clockAdvanced(to: due, wasSet: false)
        let lost = RunReport(
            job: Job.transientSessions.name, outcome: .abandoned, scheduledAt: due.wall, startedAt: due.wall,
            finishedAt: due.wall, failure: .claimLost)
        _ = scheduler.attemptEnded(job: 0, Scheduler.Result(lost), now: due)
        let retry = scheduler.nextRetry
        #expect(try #require(retry) <= .seconds(181))
    }

    @Test func doesNotLookAgainBehindTheNextFireTime() {
        var scheduler = scheduler()
        let due = now("2026-05-13T12:05:00Z", .seconds(180))
        _ = scheduler.clockAdvanced(to: due, wasSet: false)
        let actions = scheduler.attemptEnded(job: 0, .heldElsewhere(lookAgainAfter: .seconds(300)), now: due)
        #expect(actions.count == 1)
        let last = scheduler.nextRetry
        #expect(last == nil)
    }
}
