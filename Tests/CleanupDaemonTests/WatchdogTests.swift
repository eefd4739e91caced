@testable import CleanupDaemon
import SessionCleanup
import Testing
import Time

@Suite struct WatchdogTests {
    private func pings(_ simulation: Simulation) -> [Duration] {
        simulation.happenings.compactMap { if case .pinged(let elapsed) = $0 { elapsed } else { nil } }
    }

    @Test func hearsAtEachInterval() throws {
        let simulation = try Simulation(
            [.named("job", "0 0 1 1 *")], at: "2026-05-13T12:00:00Z", watchdogInterval: .seconds(10))
        simulation.advance(by: .seconds(35))
        #expect(pings(simulation) == [.seconds(10), .seconds(20), .seconds(30)])
        #expect(simulation.wakeUps == 3)
    }

    @Test func wakesNobodyWhenItIsOff() throws {
        let simulation = try Simulation([.named("job", "0 0 1 1 *")], at: "2026-05-13T12:00:00Z")
        simulation.advance(by: .seconds(86_400))
        #expect(simulation.wakeUps == 0)
        #expect(simulation.scheduler.wakeUp.elapsed == nil)
    }

    /// The deadline of the job is 60 s, and it has 30 s more to end.
    @Test(arguments: [(Duration.seconds(85), true), (.seconds(300), false)])
    func fallsSilentWhileAnAttemptIsPastItsDeadline(length: Duration, isWell: Bool) throws {
        let simulation = try Simulation(
            [.named("job", "0 13 * * *")], at: "2026-05-13T12:59:00Z", watchdogInterval: .seconds(10))
        simulation.attempt = { _ in (length, false) }
        simulation.advance(by: .seconds(600))
        let silent = stride(from: 10, through: 600, by: 10).map { Duration.seconds($0) }.filter {
            !pings(simulation).contains($0)
        }
        #expect(silent.isEmpty == isWell)
        // It began at 60 s: silent from 150 s until it ended.
        if !isWell { #expect(silent.first == .seconds(160) && silent.last == .seconds(350)) }
    }

    @Test func allowsAJobThatWaitsForTheConnectionTheTimeOfTheJobBeforeIt() throws {
        let simulation = try Simulation(
            [.named("first", "0 13 * * *"), .named("second", "0 13 * * *")], at: "2026-05-13T12:59:00Z",
            watchdogInterval: .seconds(10))
        simulation.attempt = { _ in (.seconds(85), false) }
        simulation.advance(by: .seconds(600))
        #expect(pings(simulation).count == 60)
    }

    /// The limits of jobs that are due together add up to more than an hour here. Those that end at once give it back.
    @Test func allowsAJobBehindOthersThatEndedEarlyNoMoreThanItsOwnTime() throws {
        var third = try Job.named("third", "0 0 * * *")
        third.deadline = .seconds(240)
        let simulation = Simulation(
            [.transientSessions, .dormantSessions(), third], at: "2026-05-13T23:59:00Z", watchdogInterval: .seconds(10))
        simulation.attempt = { ($0.job == 2 ? .seconds(2 * 3600) : .seconds(1), false) }
        simulation.advance(by: .seconds(900))
        // It began at 62 s: silent from 332 s on. The transient job's later runs, each a series of its own, change nothing.
        #expect(pings(simulation) == stride(from: 10, through: 330, by: 10).map { .seconds($0) })
    }

    /// The first job ends 20 s early, which is not taken from a job that runs over another connection.
    @Test func takesNothingFromAttemptsOfAnotherSeries() throws {
        let simulation = try Simulation(
            [.named("first", "0 13 * * *"), .named("second", "0 13 * * *"), .named("other", "1 13 * * *")],
            at: "2026-05-13T12:59:00Z", watchdogInterval: .seconds(10))
        simulation.attempt = { ($0.job == 0 ? .seconds(70) : .seconds(89), false) }
        simulation.advance(by: .seconds(600))
        #expect(pings(simulation).count == 60)
    }

    /// One that ends late gives nothing back, and takes nothing either.
    @Test func leavesTheOthersTheirTimeAfterAnAttemptThatEndedLate() throws {
        let simulation = try Simulation(
            [.named("first", "0 13 * * *"), .named("second", "0 13 * * *")], at: "2026-05-13T12:59:00Z",
            watchdogInterval: .seconds(10))
        simulation.attempt = { ($0.job == 0 ? .seconds(105) : .seconds(95), false) }
        simulation.advance(by: .seconds(600))
        // They began at 60 s. The first ended at 165 s instead of 150 s, the second at 260 s instead of 240 s.
        let silent = (1...60).map { Duration.seconds($0 * 10) }.filter { !pings(simulation).contains($0) }
        #expect(silent == [.seconds(160), .seconds(250)])
    }

    @Test func goesOnAcrossClocksThatAreSetAndRetries() throws {
        let simulation = try Simulation(
            [.named("job", "*/5 * * * *")], at: "2026-05-13T12:00:00Z", watchdogInterval: .seconds(10))
        simulation.attempt = { _ in (.milliseconds(100), true) }
        simulation.advance(by: .seconds(400))
        simulation.stepClock(by: .seconds(-86_400))
        simulation.advance(by: .seconds(400))
        simulation.stepClock(by: .seconds(365 * 86_400))
        simulation.advance(by: .seconds(200))
        #expect(pings(simulation) == stride(from: 10, through: 1000, by: 10).map { .seconds($0) })
    }

    @Test func hearsFromALastRunThatDrainsAndNothingWakesTwice() throws {
        let simulation = try Simulation(
            [.named("job", "10 seconds")], at: "2026-05-13T12:00:01Z", watchdogInterval: .seconds(10))
        simulation.attempt = { _ in (.seconds(30), false) }
        simulation.advance(by: .seconds(15))
        #expect(simulation.isBusy)
        let stopped = simulation.scheduler.stopRequested()
        #expect(stopped.attempts.isEmpty && stopped.concluded.isEmpty)
        #expect(simulation.nextFireTime == nil)
        let wakeUps = simulation.wakeUps
        simulation.advance(by: .seconds(20))
        #expect(pings(simulation) == [.seconds(10), .seconds(20), .seconds(30)])
        #expect(simulation.wakeUps == wakeUps + 2)
    }
}
