@testable import CleanupDaemon
import CleanupSchedule
import SessionCleanup
import Testing
import Time

@Suite struct SchedulerTests {
    private let transient = Job.transientSessions.name
    private let dormant = Job.dormantSessions().name
    private let builtIn = [Job.transientSessions, Job.dormantSessions()]

    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: text)! }

    @Test func answersEachFireTimeOfADayOnce() {
        let simulation = Simulation(builtIn, at: "2026-05-13T00:02:00Z")
        simulation.advance(by: .seconds(86_400))
        let fireTimes = simulation.fireTimes(of: transient)
        #expect(fireTimes.count == 288)
        #expect(Set(fireTimes).count == 288)
        #expect(fireTimes.first == instant("2026-05-13T00:05:00Z"))
        #expect(fireTimes.last == instant("2026-05-14T00:00:00Z"))
        #expect(simulation.fireTimes(of: dormant) == [instant("2026-05-14T00:00:00Z")])
    }

    @Test func wakesOnceForAFireTime() {
        let simulation = Simulation(builtIn, at: "2026-05-13T00:02:00Z")
        simulation.advance(by: .seconds(86_400))
        // Midnight is one fire time of both jobs.
        #expect(simulation.wakeUps == 288)
    }

    @Test func startsJobsThatAreDueTogetherOverOneConnectionInTheirOrder() {
        var scheduler = Scheduler(
            jobs: builtIn, now: .init(wall: instant("2026-05-13T23:59:00Z"), elapsed: .zero), seed: 1)
        let actions = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-14T00:00:00Z"), elapsed: .seconds(60)), wasSet: false)
        #expect(actions.starts.map { $0.map(\.attempt.job) } == [[0, 1]])
    }

    @Test func isNeverEarly() {
        var scheduler = Scheduler(
            jobs: builtIn, now: .init(wall: instant("2026-05-13T12:00:00Z"), elapsed: .zero), seed: 1)
        let before = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:04:59.999999Z"), elapsed: .seconds(299)), wasSet: false)
        #expect(before.isEmpty)
        let at = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:05:00Z"), elapsed: .seconds(300)), wasSet: false)
        #expect(at.starts.count == 1)
    }

    @Test func answersAForwardStepOfADayWithOneRunPerJob() {
        let simulation = Simulation(builtIn, at: "2026-05-13T12:02:00Z")
        simulation.stepClock(by: .seconds(86_400))
        simulation.advance(by: .seconds(10))
        #expect(
            simulation.happenings.filter { if case .started = $0 { true } else { false } } == [
                .started(transient, instant("2026-05-14T12:00:00Z"), .catchUp, attempt: 1),
                .started(dormant, instant("2026-05-14T00:00:00Z"), .catchUp, attempt: 1),
            ])
        #expect(simulation.happenings.contains(.missed(transient, 288)))
        #expect(simulation.happenings.contains(.missed(dormant, 1)))
    }

    @Test func answersNoFireTimeTwiceAfterABackwardStep() {
        let simulation = Simulation(builtIn, at: "2026-05-13T11:58:00Z")
        simulation.advance(by: .seconds(3 * 3600))
        simulation.stepClock(by: .seconds(-2 * 3600))
        simulation.advance(by: .seconds(3 * 3600))
        let fireTimes = simulation.fireTimes(of: transient)
        #expect(Set(fireTimes).count == fireTimes.count)
        // Two hours pass twice, and count once.
        #expect(fireTimes.count == 36 + 12)
    }

    @Test func keepsTheNextFireTimeOfAClockThatRanAYearAhead() {
        let simulation = Simulation(builtIn, at: "2027-05-13T12:01:00Z")
        simulation.advance(by: .seconds(3600))
        simulation.stepClock(by: .seconds(-365 * 86_400))
        #expect(simulation.nextFireTime == instant("2026-05-13T13:05:00Z"))
        simulation.advance(by: .seconds(3600))
        #expect(simulation.fireTimes(of: transient).filter { $0 < instant("2027-01-01T00:00:00Z") }.count == 12)
    }

    @Test func isNotSilencedByAStepAYearAheadAndBack() {
        let simulation = Simulation(builtIn, at: "2026-05-13T12:01:00Z")
        simulation.advance(by: .seconds(600))
        simulation.stepClock(by: .seconds(365 * 86_400))
        simulation.advance(by: .seconds(600))
        simulation.stepClock(by: .seconds(-365 * 86_400))
        simulation.advance(by: .seconds(86_400))
        let day = simulation.fireTimes(of: transient).filter { $0 < instant("2027-01-01T00:00:00Z") }
        #expect(day.count == 2 + 288)
        #expect(Set(day).count == day.count)
    }

    @Test func runsTheDormantJobAtWakeUpAfterASleepOverMidnight() {
        let simulation = Simulation(builtIn, at: "2026-05-13T22:01:00Z")
        simulation.suspend(for: .seconds(8 * 3600))
        simulation.advance(by: .seconds(1))
        #expect(simulation.fireTimes(of: dormant) == [instant("2026-05-14T00:00:00Z")])
        // The transient job's fire times are answered by the latest; the dormant job's run is still that of midnight.
        #expect(simulation.fireTimes(of: transient) == [instant("2026-05-14T06:00:00Z")])
    }

    /// A fire time that was answered ahead of time hides none that comes before it.
    @Test func answersFireTimesBetweenTwoOppositeStepsAndASleep() {
        let simulation = Simulation([Job.transientSessions], at: "2026-05-13T12:02:00Z")
        simulation.stepClock(by: .seconds(20 * 60))
        simulation.advance(by: .seconds(1))
        simulation.stepClock(by: .seconds(-19 * 60))
        simulation.suspend(for: .seconds(19 * 60))
        simulation.advance(by: .seconds(1))
        #expect(
            simulation.fireTimes(of: transient) == [instant("2026-05-13T12:20:00Z"), instant("2026-05-13T12:15:00Z")])
        let missed = simulation.happenings.compactMap { if case .missed(_, let count) = $0 { count } else { nil } }
        // 12:05, 12:10 and 12:15 twice: by the clock that was wrong, and by the one that was right.
        #expect(missed == [4, 3])
        simulation.advance(by: .seconds(600))
        #expect(simulation.fireTimes(of: transient).count == 4)
    }

    @Test func leavesMissedFireTimesUnansweredWhenToldTo() throws {
        let simulation = try Simulation([.named("job", "0 0 * * *", catchUp: .skip)], at: "2026-05-13T22:00:00Z")
        simulation.suspend(for: .seconds(8 * 3600))
        #expect(simulation.happenings == [.missed("job", 1)])
        simulation.advance(by: .seconds(86_400))
        #expect(simulation.fireTimes(of: "job") == [instant("2026-05-15T00:00:00Z")])
    }

    @Test func toleratesAWakeUpThatIsSecondsLate() {
        var scheduler = Scheduler(
            jobs: builtIn, now: .init(wall: instant("2026-05-13T12:01:00Z"), elapsed: .zero), seed: 1)
        let actions = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:05:09Z"), elapsed: .seconds(249)), wasSet: false)
        #expect(
            actions.attempts == [
                .init(job: 0, scheduledAt: instant("2026-05-13T12:05:00Z"), origin: .schedule, number: 1)
            ])
    }

    @Test func coalescesFireTimesThatComeWhileTheJobRuns() throws {
        let simulation = try Simulation([.named("job", "10 seconds")], at: "2026-05-13T12:00:01Z")
        simulation.attempt = { _ in (.seconds(25), false) }
        simulation.advance(by: .seconds(60))
        #expect(simulation.fireTimes(of: "job") == [instant("2026-05-13T12:00:10Z"), instant("2026-05-13T12:00:40Z")])
        let coalesced = simulation.happenings.filter { if case .coalesced = $0 { true } else { false } }
        #expect(coalesced.count == 4)
    }

    @Test func coalescesTheFireTimesOfAJobThatWaitsForItsTurnOnTheConnection() throws {
        let simulation = try Simulation(
            [.named("slow", "0 * * * *"), .named("quick", "* * * * *")], at: "2026-05-13T11:59:30Z")
        simulation.attempt = { (.seconds($0.job == 0 ? 300 : 1), false) }
        simulation.advance(by: .seconds(600))
        // 12:00 runs at 12:05, when the slow job has ended; the five minutes meanwhile are coalesced.
        #expect(simulation.fireTimes(of: "quick").count == 5)
        let coalesced = simulation.happenings.filter { if case .coalesced = $0 { true } else { false } }
        #expect(coalesced.count == 5)
        #expect(simulation.fireTimes(of: "slow").count == 1)
    }

    @Test func neverRunsADisabledJob() throws {
        var job = try Job.named("job", "* * * * *")
        job.isEnabled = false
        let simulation = Simulation([job], at: "2026-05-13T12:00:00Z")
        simulation.advance(by: .seconds(3600))
        #expect(simulation.happenings.isEmpty)
        #expect(simulation.nextFireTime == nil)
    }
}
