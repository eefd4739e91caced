@testable import CleanupDaemon
import CleanupSchedule
import Pseudorandom
@testable import SessionCleanup
import Testing
import Time

@Suite struct RetryTests {
    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: text)! }

    @Test func repeatsAFailedAttemptInsideItsInterval() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { attempt in (.milliseconds(100), attempt.number < 4) }
        simulation.advance(by: .seconds(120))
        #expect(
            simulation.happenings == [
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 1),
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 2),
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 3),
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 4),
                .concluded("job", instant("2026-05-13T12:05:00Z"), attempts: 4),
            ])
    }

    @Test func givesEachFireTimeItsOwnRunDuringAnOutageOfAnHour() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        let end = instant("2026-05-13T13:05:00Z")
        simulation.attempt = { attempt in (.milliseconds(100), attempt.scheduledAt < end) }
        simulation.advance(by: .seconds(3720))
        #expect(simulation.fireTimes(of: "job").count == 13)
        let concluded = simulation.happenings.compactMap {
            if case .concluded(_, _, let attempts) = $0 { attempts } else { nil }
        }
        #expect(concluded.count == 13)
        // Waits of 1, 2, 4, … seconds, each shortened by half at most, fit into five minutes 7 to 9 times.
        #expect(concluded.dropLast().allSatisfy { (7...10).contains($0) })
        #expect(concluded.last == 1)
    }

    @Test func triesAgainThroughANightForANightlyJob() throws {
        let simulation = try Simulation([.named("job", "0 0 * * *")], at: "2026-05-13T23:59:00Z")
        var recovered = false
        simulation.attempt = { _ in (.milliseconds(100), !recovered) }
        simulation.advance(by: .seconds(3 * 3600))
        recovered = true
        simulation.advance(by: .seconds(600))
        #expect(simulation.fireTimes(of: "job").count == 1)
        guard case .concluded(_, instant("2026-05-14T00:00:00Z"), let attempts) = simulation.happenings.last else {
            Issue.record("\(simulation.happenings.suffix(3))")
            return
        }
        #expect(attempts < 100)
    }

    /// The interval bounds the run, also with longer deadlines of its attempts: the next fire time has a run of its own.
    @Test func givesTheFireTimeThatCameDuringAFailingAttemptItsOwnRun() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { attempt in (.seconds(200), attempt.scheduledAt < instant("2026-05-13T12:10:00Z")) }
        simulation.advance(by: .seconds(600))
        #expect(
            simulation.happenings == [
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 1),
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 2),
                .coalesced("job", instant("2026-05-13T12:10:00Z")),
                .concluded("job", instant("2026-05-13T12:05:00Z"), attempts: 2),
                .started("job", instant("2026-05-13T12:10:00Z"), .schedule, attempt: 1),
            ])
    }

    @Test func givesTheFireTimeThatCameDuringAFailureForGoodItsOwnRun() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.failure = .tableMissing(.sessions)
        simulation.attempt = { attempt in
            let isFirst = attempt.scheduledAt < instant("2026-05-13T12:10:00Z")
            return (.seconds(isFirst ? 310 : 1), isFirst)
        }
        simulation.advance(by: .seconds(600))
        #expect(
            simulation.happenings == [
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 1),
                .coalesced("job", instant("2026-05-13T12:10:00Z")),
                .concluded("job", instant("2026-05-13T12:05:00Z"), attempts: 1),
                .started("job", instant("2026-05-13T12:10:00Z"), .schedule, attempt: 1),
                .concluded("job", instant("2026-05-13T12:10:00Z"), attempts: 1),
            ])
    }

    /// A run's attempts go on until its interval ends, however many they are: in four days, some 1500.
    @Test func givesTheFireTimeThatCameDuringALateAttemptItsOwnRun() throws {
        let simulation = try Simulation([.named("job", "0 0 1 * *")], at: "2026-05-31T23:59:00Z")
        let next = instant("2026-07-01T00:00:00Z")
        simulation.attempt = { attempt in
            (attempt.number == 1500 ? .seconds(29 * 86_400) : .milliseconds(100), attempt.scheduledAt < next)
        }
        simulation.advance(by: .seconds(34 * 86_400))
        #expect(simulation.happenings.contains(.coalesced("job", next)))
        #expect(simulation.fireTimes(of: "job") == [instant("2026-06-01T00:00:00Z"), next])
    }

    @Test func makesNoAttemptAfterTheIntervalOfItsRun() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { _ in (.seconds(240), true) }
        simulation.advance(by: .seconds(6 * 3600))
        let attempts = simulation.happenings.compactMap { happening -> Int? in
            if case .started(_, _, _, let attempt) = happening { attempt } else { nil }
        }
        // Of attempts of 240 s each, at most two begin inside an interval of 300 s.
        #expect(attempts.count >= 6 * 3600 / 245 && attempts.allSatisfy { $0 <= 2 })
        let fireTimes = simulation.fireTimes(of: "job")
        #expect(Set(fireTimes).count == fireTimes.count)
        let concluded = simulation.happenings.filter { if case .concluded = $0 { true } else { false } }
        #expect(concluded.count >= fireTimes.count - 1)
    }

    @Test func leavesALateFireTimeThatCameDuringAFailingAttemptWhenToldTo() throws {
        let simulation = try Simulation([.named("job", "0 0 * * *", catchUp: .skip)], at: "2026-05-13T23:59:00Z")
        simulation.attempt = { _ in (.seconds(30 * 3600), true) }
        simulation.advance(by: .seconds(3600))
        simulation.suspend(for: .seconds(26 * 3600))
        simulation.advance(by: .seconds(6 * 3600))
        #expect(simulation.fireTimes(of: "job") == [instant("2026-05-14T00:00:00Z")])
        #expect(!simulation.isBusy)
    }

    @Test func makesNoAttemptAfterAnIntervalThatTheMachineSleptThrough() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *", catchUp: .skip)], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { _ in (.milliseconds(100), true) }
        simulation.advance(by: .milliseconds(60_200))
        simulation.suspend(for: .seconds(7100))
        simulation.advance(by: .seconds(60))
        #expect(
            simulation.happenings.filter { if case .missed = $0 { false } else { true } } == [
                .started("job", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 1),
                .concluded("job", instant("2026-05-13T12:05:00Z"), attempts: 1),
            ])
    }

    /// An outage that lasts from midnight to the next evening, with the seed's two jobs.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func repeatsADailyJobAllDayLongAndNoMoreOftenForAFrequentOne(seed: UInt64) throws {
        let simulation = Simulation(
            [Job.transientSessions, Job.dormantSessions()], at: "2026-05-13T23:59:00Z", seed: seed)
        var starts: [Int: Duration] = [:]
        simulation.attempt = { [unowned simulation] attempt in
            if attempt.job == 1 { starts[attempt.number] = starts[attempt.number] ?? simulation.now.elapsed }
            return (.milliseconds(100), true)
        }
        simulation.advance(by: .seconds(23 * 3600 + 1800))
        let before = simulation.happenings.count
        simulation.advance(by: .seconds(600))
        let job = simulation.scheduler.states[1].job.name
        #expect(
            simulation.happenings[before...].contains {
                if case .started(job, instant("2026-05-14T00:00:00Z"), _, _) = $0 { true } else { false }
            })
        // From the tenth on waits are 150 to 300 s; another job's wait is joined if at least 75 s of it are left.
        let late = starts.sorted { $0.key < $1.key }.filter { $0.key > 10 }.map(\.value)
        #expect(zip(late, late.dropFirst()).allSatisfy { $1 - $0 >= .seconds(75) } && late.count > 100)
    }

    @Test(arguments: 1...100 as ClosedRange<UInt64>)
    func repeatsJobsThatFailedTogetherOverOneConnection(seed: UInt64) {
        var now = TwoClocks(wall: instant("2026-05-13T23:59:00Z"), elapsed: .zero)
        var scheduler = Scheduler(jobs: [Job.transientSessions, Job.dormantSessions()], now: now, seed: seed)
        func pass(_ duration: Duration) {
            now.wall += duration
            now.elapsed += duration
        }
        pass(.seconds(60))
        var attempts = scheduler.clockAdvanced(to: now, wasSet: false).attempts
        // Until the transient job's next fire time is too near.
        for number in 2...6 {
            #expect(attempts.map(\.job) == [0, 1] && attempts.allSatisfy { $0.number == number - 1 })
            for attempt in attempts {
                let actions = scheduler.attemptEnded(
                    attempt, .ended(attempt, failure: .serverReadOnly, now: now), now: now)
                guard case .attemptEnded(_, let delay)? = actions.events.last else {
                    Issue.record("\(actions)")
                    return
                }
                #expect(delay <= RetryPolicy.delays(after: number - 1).upperBound)
                pass(.milliseconds(3))
            }
            pass((scheduler.wakeUp.elapsed ?? .zero) - now.elapsed)
            let actions = scheduler.clockAdvanced(to: now, wasSet: false)
            #expect(actions.starts.count == 1)
            attempts = actions.attempts
        }
    }

    @Test func failsAtOnceForACauseThatWillNotPass() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.advance(by: .seconds(120))
        #expect(simulation.happenings.last == .concluded("job", instant("2026-05-13T12:05:00Z"), attempts: 1))
    }

    @Test(arguments: 1...400)
    func waitsBetweenHalfAndAllOfTheNominalTime(attempt: Int) {
        var generator = SplitMix64(seed: UInt64(attempt))
        let delay = RetryPolicy.delay(after: attempt, using: &generator)
        let nominal = min(Duration.seconds(attempt > 9 ? 300 : 1 << (attempt - 1)), .seconds(300))
        #expect(delay >= nominal / 2 && delay <= nominal)
    }

    @Test func startsNothingAfterARequestToStop() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { _ in (.milliseconds(100), true) }
        simulation.advance(by: .seconds(65))
        let actions = simulation.scheduler.stopRequested()
        #expect(actions.concluded.map(\.outcome) == [.failed])
        #expect(simulation.isFinished)
        let later = TwoClocks(wall: instant("2026-05-13T13:00:00Z"), elapsed: .seconds(7200))
        let started = simulation.scheduler.clockAdvanced(to: later, wasSet: false)
        #expect(started.isEmpty)
        let again = simulation.scheduler.stopRequested()
        #expect(again.isEmpty)
    }

    /// The run's row has the wait, so that another process can resume the run when this one is gone.
    @Test func tellsTheRunHowLongItWouldWaitAndUntilWhen() throws {
        var now = TwoClocks(wall: instant("2026-05-13T12:04:00Z"), elapsed: .zero)
        var scheduler = try Scheduler(jobs: [.named("job", "*/5 * * * *")], now: now, seed: 1)
        now = TwoClocks(wall: instant("2026-05-13T12:05:00Z"), elapsed: .seconds(60))
        for number in 1...4 {
            let begun = scheduler.clockAdvanced(to: now, wasSet: false).starts
            let assignment = try #require(begun.first?.first)
            let retry = try #require(assignment.request.retry)
            #expect(RetryPolicy.delays(after: number).contains(retry.delay))
            #expect(retry.end == instant("2026-05-13T12:10:00Z"))
            let report = RunReport.ended(assignment.attempt, failure: .serverReadOnly, now: now)
            #expect(assignment.request.waitAfter(report.failure, at: now.wall) == retry.delay)
            #expect(assignment.request.waitAfter(report.failure, at: retry.end - retry.delay) == nil)
            #expect(assignment.request.waitAfter(.databaseURL("wrong"), at: now.wall) == nil)
            #expect(assignment.request.waitAfter(nil, at: now.wall) == nil)
            let ended = scheduler.attemptEnded(assignment.attempt, report, now: now)
            guard case .attemptEnded(_, let delay)? = ended.events.last else {
                Issue.record("\(ended)")
                return
            }
            #expect(delay == retry.delay)
            now.wall += retry.delay
            now.elapsed += retry.delay
        }
    }
}
