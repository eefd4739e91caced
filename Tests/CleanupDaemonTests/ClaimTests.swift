@testable import CleanupDaemon
@testable import SessionCleanup
import Testing
import Time

/// The scheduler's answer to runs that other processes hold.
@Suite struct ClaimTests {
    private func now(_ text: String, _ elapsed: Duration = .zero) -> TwoClocks {
        TwoClocks(wall: UTCInstant(rfc3339: text)!, elapsed: elapsed)
    }

    /// A scheduler that has begun the transient job's run of 12:05:00.
    private func begun() -> (SteeredScheduler, Scheduler.Attempt, TwoClocks) {
        let scheduler = SteeredScheduler(
            [.transientSessions, .dormantSessions()], at: now("2026-05-13T12:02:00Z"))
        let due = now("2026-05-13T12:05:00Z", .seconds(180))
        let attempt = scheduler.clockAdvanced(to: due).attempts[0]
        return (scheduler, attempt, due)
    }

    private func held(_ attempt: Scheduler.Attempt, for lease: Duration, _ now: TwoClocks) -> RunReport {
        .ended(attempt, skip: .held(by: "other", lookAgainAfter: lease), now: now)
    }

    @Test func looksAgainWhenTheOwnersLeaseEnds() throws {
        let (scheduler, attempt, due) = begun()
        let told = scheduler.attemptEnded(attempt, held(attempt, for: .seconds(60), due), now: due).events
        guard case .attemptEnded(_, let wait)? = told.last else {
            Issue.record("\(told)")
            return
        }
        // At most a second on top of what the claim said.
        #expect(wait > .seconds(60) && wait <= .seconds(61))
        let again = try #require(scheduler.wakeUp.elapsed)
        #expect(again == due.elapsed + wait)
        let later = now("2026-05-13T12:06:01Z", again)
        let second = try #require(scheduler.clockAdvanced(to: later).attempts.first)
        #expect(second == attempt.next)
        let concluded = scheduler.attemptEnded(second, .ended(second, skip: .answered, now: later), now: later)
        #expect(concluded.concluded.map(\.outcome) == [.skipped])
        #expect(scheduler.wakeUp.elapsed == nil)
    }

    /// A look at another process's run is no attempt that failed: none of them makes a retry wait longer, or ends the run.
    @Test(arguments: [1, 10, 2000]) func retriesAsAfterAFirstAttemptWhenTheOwnerIsGone(looks: Int) throws {
        var now = now("2026-06-01T00:00:00Z")
        let scheduler = SteeredScheduler([try .named("job", "0 0 1 * *")], at: now)
        func pass(_ duration: Duration) {
            now.wall += duration
            now.elapsed += duration
        }
        pass(.seconds(30 * 86_400))
        var attempt = try #require(scheduler.clockAdvanced(to: now).attempts.first)
        for _ in 1...looks {
            let told = scheduler.attemptEnded(attempt, held(attempt, for: .seconds(60), now), now: now).events
            guard case .attemptEnded? = told.last else {
                Issue.record("\(told)")
                return
            }
            pass(try #require(scheduler.wakeUp.elapsed) - now.elapsed)
            attempt = try #require(scheduler.clockAdvanced(to: now).attempts.first)
        }
        #expect(attempt.number == looks + 1)
        for number in 1...3 {
            let report = RunReport.ended(attempt, failure: .serverReadOnly, now: now)
            let told = scheduler.attemptEnded(attempt, report, now: now).events
            guard case .attemptEnded(let total, let wait)? = told.last else {
                Issue.record("\(told)")
                return
            }
            #expect(RetryPolicy.delays(after: number).contains(wait), "\(number): \(wait)")
            #expect(total.attempts == number)
            pass(wait)
            attempt = try #require(scheduler.clockAdvanced(to: now).attempts.first)
        }
    }

    /// The owner that took the run may die too.
    @Test func looksAgainForARunThatItLost() throws {
        let (scheduler, attempt, due) = begun()
        _ = scheduler.attemptEnded(attempt, .ended(attempt, failure: .claimLost, now: due), now: due)
        #expect(try #require(scheduler.wakeUp.elapsed) <= .seconds(181))
    }

    @Test func doesNotLookAgainBehindTheNextFireTime() {
        let (scheduler, attempt, due) = begun()
        let actions = scheduler.attemptEnded(attempt, held(attempt, for: .seconds(300), due), now: due)
        #expect(actions.concluded.count == 1)
        #expect(scheduler.wakeUp.elapsed == nil)
    }

    @Test func runsTheFireTimeThatCameDuringAnAttemptThatFoundNoRunToMake() {
        let (scheduler, attempt, _) = begun()
        let next = now("2026-05-13T12:10:00Z", .seconds(480))
        _ = scheduler.clockAdvanced(to: next)
        let actions = scheduler.attemptEnded(attempt, .ended(attempt, skip: .answered, now: next), now: next)
        #expect(actions.attempts.map { "\($0.scheduledAt)" } == ["2026-05-13T12:10:00Z"])
        #expect(actions.attempts.map(\.origin) == [.schedule] && actions.attempts.map(\.number) == [1])
    }

    /// A report for an attempt that is not under way is a bug in the shell.
    @Test func stopsTheProcessAtAnAttemptThatItDoesNotKnow() async {
        await #expect(processExitsWith: .failure) {
            let now = TwoClocks(wall: UTCInstant(secondsSinceEpoch: 0), elapsed: .zero)
            let scheduler = SteeredScheduler([.transientSessions], at: now)
            let attempt = Scheduler.Attempt(job: 0, scheduledAt: now.wall, origin: .schedule, number: 1)
            _ = scheduler.attemptEnded(attempt, .ended(attempt, now: now), now: now)
        }
    }
}
