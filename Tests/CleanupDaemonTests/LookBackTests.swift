@testable import CleanupDaemon
@testable import SessionCleanup
import Testing
import Time

/// The scheduler's reaction to the history that is read after a start.
@Suite struct LookBackTests {
    private let transient = Job.transientSessions
    private static let noon = UTCInstant(rfc3339: "2026-05-13T12:00:00Z")!

    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: "2026-05-13T\(text)Z")! }

    private func now(_ text: String) -> TwoClocks {
        TwoClocks(wall: instant(text), elapsed: instant(text) - instant("12:02:00"))
    }

    private func history(_ latest: String?, isRunning: Bool = false, wait: Duration? = nil) -> JobHistory {
        JobHistory(
            latest: latest.map { .init(scheduledAt: instant($0), isRunning: isRunning, wait: wait) },
            earlierRuns: EarlierRuns(lastEnd: nil, lastSuccess: nil))
    }

    /// Started at 12:02, so that the last fire time is 12:00.
    private func started(_ jobs: [Job] = [.transientSessions]) -> SteeredScheduler {
        let scheduler = SteeredScheduler(jobs, at: now("12:02:00"), looksBack: true)
        _ = scheduler.started()
        return scheduler
    }

    private func missed(_ actions: [Scheduler.Action]) -> [Int] {
        actions.events.compactMap { if case .fireTimesMissed(_, let count) = $0 { count } else { nil } }
    }

    private func failures(_ actions: [Scheduler.Action]) -> Int {
        actions.events.count { if case .lookBackFailed = $0 { true } else { false } }
    }

    // MARK: A history that was read

    @Test func asksForTheHistoryOfTheEnabledJobsOnce() {
        var disabled = Job.dormantSessions()
        disabled.isEnabled = false
        let scheduler = SteeredScheduler([transient, disabled], at: now("12:02:00"), looksBack: true)
        #expect(scheduler.started().read == [[transient.name]])
        let other = SteeredScheduler([transient], at: now("12:02:00"))
        #expect(other.started().read.isEmpty)
    }

    @Test func answersTheLatestOfTheFireTimesThatWereMissed() {
        let scheduler = started()
        let actions = scheduler.historyRead([transient.name: history("11:00:00")], now: now("12:02:01"))
        #expect(missed(actions) == [12])
        #expect(actions.attempts == [.init(job: 0, scheduledAt: Self.noon, origin: .catchUp, number: 1)])
    }

    @Test func answersThoseOfTwoJobsOverOneConnection() {
        let dormant = Job.dormantSessions()
        let scheduler = started([transient, dormant])
        let actions = scheduler.historyRead(
            [
                transient.name: history("11:55:00"),
                dormant.name: JobHistory(
                    latest: .init(scheduledAt: Self.noon - .seconds(36 * 3600)),
                    earlierRuns: EarlierRuns(lastEnd: nil, lastSuccess: nil)),
            ], now: now("12:02:01"))
        #expect(actions.starts.map { $0.map(\.attempt.job) } == [[0, 1]])
        #expect(actions.attempts.map { "\($0.scheduledAt)" } == ["2026-05-13T12:00:00Z", "2026-05-13T00:00:00Z"])
    }

    @Test func missesNothingWithoutARowOfTheJobAndWhereTheLastFireTimeHasOne() {
        for histories in [[:], [transient.name: history(nil)], [transient.name: history("12:00:00")]] {
            let scheduler = started()
            let actions = scheduler.historyRead(histories, now: now("12:02:01"))
            #expect(actions.attempts.isEmpty && missed(actions).isEmpty)
            #expect(scheduler.wakeUp.elapsed == nil)
        }
    }

    @Test func tellsTheRunsThatTheHistoryHas() {
        let scheduler = started()
        let told = scheduler.historyRead([transient.name: history("12:00:00")], now: now("12:02:01")).events
        guard case .earlierRunsKnown(transient.name, _)? = told.first, told.count == 1 else {
            Issue.record("\(told)")
            return
        }
    }

    @Test func leavesMissedFireTimesUnansweredWhenToldTo() {
        var job = transient
        job.catchUp = .skip
        let scheduler = started([job])
        let actions = scheduler.historyRead([job.name: history("11:50:00")], now: now("12:02:01"))
        #expect(missed(actions) == [2] && actions.attempts.isEmpty)
    }

    /// Fire times that a run may have passed over are not missed.
    @Test func countsNoFireTimesWithinTheStalenessThatTheJobAllows() {
        var job = transient
        job.maxStaleness = .seconds(1800)
        let scheduler = started([job])
        #expect(missed(scheduler.historyRead([job.name: history("11:00:00")], now: now("12:02:01"))) == [6])
        #expect(transient.fireTimesMissed(since: Self.noon, through: Self.noon) == 0)
        let longAgo = Self.noon - .seconds(3_000_000_000)
        #expect(transient.fireTimesMissed(since: longAgo, through: Self.noon) == 86_400)
    }

    // MARK: Runs to be resumed

    @Test(
        arguments: [(true, .zero), (false, .zero), (false, .seconds(-3))] as [(Bool, Duration)], [CatchUp.once, .skip])
    func resumesTheRunOfTheLastFireTime(state: (isRunning: Bool, wait: Duration), catchUp: CatchUp) {
        var job = transient
        job.catchUp = catchUp
        let scheduler = started([job])
        let actions = scheduler.historyRead(
            [job.name: history("12:00:00", isRunning: state.isRunning, wait: state.wait)], now: now("12:02:01"))
        #expect(missed(actions).isEmpty)
        #expect(actions.attempts == [.init(job: 0, scheduledAt: Self.noon, origin: .catchUp, number: 1)])
    }

    @Test func waitsForTheTimeOfTheNextAttemptOfAnEarlierProcess() throws {
        let scheduler = started()
        let actions = scheduler.historyRead(
            [transient.name: history("12:00:00", wait: .seconds(40))], now: now("12:02:00"))
        #expect(actions.attempts.isEmpty)
        #expect(scheduler.wakeUp == WakeUp(wall: instant("12:05:00"), elapsed: .seconds(40)))
        #expect(scheduler.clockAdvanced(to: now("12:02:39")).attempts.isEmpty)
        #expect(
            scheduler.clockAdvanced(to: now("12:02:40")).attempts
                == [.init(job: 0, scheduledAt: Self.noon, origin: .catchUp, number: 1)])
    }

    /// The next fire time's own run is the better retry.
    @Test func doesNotWaitBeyondTheNextFireTime() {
        let scheduler = started()
        let actions = scheduler.historyRead(
            [transient.name: history("12:00:00", wait: .seconds(180))], now: now("12:02:00"))
        #expect(actions.attempts.isEmpty && scheduler.wakeUp.elapsed == nil)
    }

    /// The run is that of a process with another schedule, or with a clock that is a little ahead.
    @Test func resumesNoRunOfAFireTimeThatComesAfterTheStart() {
        let scheduler = started()
        let later = scheduler.historyRead(
            [transient.name: history("12:05:00", isRunning: true, wait: .zero)], now: now("12:02:01"))
        #expect(later.attempts.isEmpty && missed(later).isEmpty)
        let other = started()
        let between = other.historyRead([transient.name: history("12:01:00", wait: .zero)], now: now("12:02:01"))
        #expect(between.attempts.map(\.scheduledAt) == [instant("12:01:00")])
    }

    /// With `catch-up: skip` too, a dead owner's row is taken over, so that it does not stay `running`.
    @Test func takesOverADeadOwnersRowOfAnEarlierFireTimeWhereNothingIsCaughtUpWith() {
        var job = transient
        job.catchUp = .skip
        let scheduler = started([job])
        let actions = scheduler.historyRead(
            [job.name: history("11:50:00", isRunning: true, wait: .zero)], now: now("12:02:01"))
        #expect(missed(actions) == [2])
        #expect(actions.attempts.map(\.scheduledAt) == [instant("11:50:00")])
        let other = started([job])
        let cutShort = other.historyRead([job.name: history("11:50:00", wait: .zero)], now: now("12:02:01"))
        #expect(cutShort.attempts.isEmpty)
    }

    // MARK: Beside fire times

    @Test func coalescesAFireTimeThatComesDuringACatchUp() throws {
        let scheduler = started()
        let attempt = try #require(
            scheduler.historyRead([transient.name: history("11:55:00")], now: now("12:02:01")).attempts.first)
        #expect(scheduler.clockAdvanced(to: now("12:05:00")).attempts.isEmpty)
        let ended = scheduler.attemptEnded(
            attempt, .ended(attempt, now: now("12:05:01")), now: now("12:05:01"))
        #expect(ended.attempts.isEmpty && ended.concluded.count == 1)
        #expect(scheduler.nextFireTime(of: 0) == instant("12:10:00"))
    }

    @Test func answersNoFireTimeTwiceWhenTheClockIsSetBackAfterACatchUp() throws {
        let scheduler = started()
        let attempt = try #require(
            scheduler.historyRead([transient.name: history("11:55:00")], now: now("12:02:01")).attempts.first)
        _ = scheduler.attemptEnded(attempt, .ended(attempt, now: now("12:02:02")), now: now("12:02:02"))
        _ = scheduler.clockAdvanced(
            to: TwoClocks(wall: instant("11:59:00"), elapsed: .seconds(10)), wasSet: true)
        #expect(scheduler.nextFireTime(of: 0) == instant("12:05:00"))
    }

    @Test(arguments: [true, false])
    func leavesTheOlderFireTimeToTheRunOfALaterOne(hasEnded: Bool) throws {
        let scheduler = started()
        let attempt = try #require(scheduler.clockAdvanced(to: now("12:05:00")).attempts.first)
        #expect(attempt.origin == .schedule)
        if hasEnded { _ = scheduler.attemptEnded(attempt, .ended(attempt, now: now("12:05:01")), now: now("12:05:01")) }
        let actions = scheduler.historyRead([transient.name: history("11:50:00")], now: now("12:05:02"))
        #expect(missed(actions) == [2] && actions.attempts.isEmpty)
    }

    @Test func retriesACatchUpAsAnyRun() throws {
        let scheduler = started()
        let attempt = try #require(
            scheduler.historyRead([transient.name: history("11:55:00")], now: now("12:02:01")).attempts.first)
        _ = scheduler.attemptEnded(
            attempt, .ended(attempt, failure: .serverReadOnly, now: now("12:02:02")), now: now("12:02:02"))
        #expect(scheduler.clockAdvanced(to: now("12:02:04")).attempts == [attempt.next])
    }

    // MARK: A history that cannot be read

    @Test func readsAgainAfterAFailureAndTellsItOnce() throws {
        let scheduler = started()
        var told = 0
        for attempt in 1...4 {
            let actions = scheduler.historyReadFailed(.serverReadOnly, now: now("12:02:01"))
            told += failures(actions)
            let end = try #require(scheduler.wakeUp.elapsed) - .seconds(1)
            #expect(RetryPolicy.delays(after: attempt).contains(end))
            let clock = TwoClocks(wall: instant("12:02:01") + end, elapsed: .seconds(1) + end)
            #expect(scheduler.clockAdvanced(to: clock).read == [[transient.name]])
        }
        #expect(told == 1)
        let actions = scheduler.historyRead([transient.name: history("11:55:00")], now: now("12:02:30"))
        #expect(actions.attempts.map(\.scheduledAt) == [Self.noon])
    }

    @Test func answersFireTimesMeanwhileAndThenReadsNoMore() throws {
        let scheduler = started()
        for seconds in stride(from: 1, through: 170, by: 10) {
            _ = scheduler.historyReadFailed(
                .serverReadOnly,
                now: TwoClocks(
                    wall: instant("12:02:00") + .seconds(seconds), elapsed: .seconds(seconds)))
            let end = try #require(scheduler.wakeUp.elapsed)
            guard end < .seconds(180) else { break }
            _ = scheduler.clockAdvanced(
                to: TwoClocks(wall: instant("12:02:00") + end, elapsed: end))
        }
        #expect(scheduler.clockAdvanced(to: now("12:05:00")).attempts.count == 1)
        let end = try #require(scheduler.wakeUp.elapsed)
        // Every job has answered a fire time since the start: the history has nothing more to tell.
        let actions = scheduler.clockAdvanced(
            to: TwoClocks(wall: instant("12:02:00") + end, elapsed: end))
        #expect(actions.read.isEmpty && scheduler.wakeUp.elapsed == nil)
    }

    /// A wrong password does not become right by itself; a run that succeeds shows that it was corrected.
    @Test func readsAgainAfterARunThatSucceedsWhereTheCauseDoesNotPass() throws {
        let dormant = Job.dormantSessions()
        let scheduler = started([transient, dormant])
        let failed = scheduler.historyReadFailed(.databaseURL("wrong"), now: now("12:02:01"))
        #expect(failures(failed) == 1 && scheduler.wakeUp.elapsed == nil)
        for (time, failure) in [("12:05:00", RunFailure.databaseURL("wrong")), ("12:10:00", nil)] {
            let attempt = try #require(scheduler.clockAdvanced(to: now(time)).attempts.first)
            let actions = scheduler.attemptEnded(
                attempt, .ended(attempt, failure: failure, now: now(time)), now: now(time))
            #expect(actions.read == (failure == nil ? [[transient.name, dormant.name]] : []))
        }
        let midnight = UTCInstant(rfc3339: "2026-05-13T00:00:00Z")!
        let actions = scheduler.historyRead(
            [
                transient.name: history("12:10:00"),
                dormant.name: JobHistory(
                    latest: .init(scheduledAt: midnight, wait: .zero),
                    earlierRuns: EarlierRuns(lastEnd: nil, lastSuccess: nil)),
            ], now: now("12:10:02"))
        #expect(actions.attempts == [.init(job: 1, scheduledAt: midnight, origin: .catchUp, number: 1)])
    }

    @Test func readsNoMoreAfterARequestToStop() {
        let scheduler = started()
        _ = scheduler.historyReadFailed(.serverReadOnly, now: now("12:02:01"))
        _ = scheduler.stopRequested()
        #expect(scheduler.isFinished && scheduler.wakeUp.elapsed == nil)
        // The read that was under way reports its end.
        let other = started()
        _ = other.stopRequested()
        #expect(other.historyReadFailed(.canceled, now: now("12:02:01")).isEmpty)
        #expect(other.historyRead([transient.name: history("11:00:00")], now: now("12:02:01")).isEmpty)
    }
}
