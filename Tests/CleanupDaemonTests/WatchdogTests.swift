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
