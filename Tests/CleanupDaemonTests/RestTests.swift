@testable import CleanupDaemon
import SessionCleanup
import Testing
import Time

/// Fire times that pass because nothing will be due: for databases that sleep.
@Suite struct RestTests {
    private let transient = Job.transientSessions.name
    private static func jobs(_ maxStaleness: Int) -> [Job] {
        [Job.transientSessions, .dormantSessions()].map { job in
            var job = job
            job.maxStaleness = .seconds(maxStaleness)
            return job
        }
    }

    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: text)! }

    @Test func opensFewConnectionsADayToADatabaseWithNothingToRemove() {
        let simulation = Simulation(Self.jobs(6 * 3600), at: "2026-05-13T00:02:00Z")
        simulation.rest = { _ in self.instant("2027-01-01T00:00:00Z") }
        simulation.advance(by: .seconds(86_400))
        let started = simulation.happenings.count { if case .started = $0 { true } else { false } }
        // In a day pg_cron would start 288 runs of one job and one of the other.
        #expect(started == 5 && simulation.wakeUps == 5, "\(started) runs, \(simulation.wakeUps) wake-ups")
        #expect(simulation.happenings.contains(.passedOver(transient, 71)))
    }

    @Test func answersTheFirstFireTimeAtWhichSomethingIsDue() {
        let simulation = Simulation([Self.jobs(7 * 86_400)[0]], at: "2026-05-13T00:02:00Z")
        simulation.rest = { _ in self.instant("2026-05-13T01:00:00Z") }
        simulation.advance(by: .seconds(3600))
        #expect(
            simulation.fireTimes(of: transient) == [
                instant("2026-05-13T00:05:00Z"), instant("2026-05-13T01:00:00Z"),
            ])
        #expect(simulation.happenings.contains(.passedOver(transient, 10)))
        // A rest that ends before the next fire time passes over none.
        simulation.rest = { $0 + .seconds(1) }
        simulation.advance(by: .seconds(600))
        #expect(simulation.fireTimes(of: transient).count == 4)
        #expect(simulation.happenings.count { if case .passedOver = $0 { true } else { false } } == 1)
    }

    @Test func isNotSilencedByAClockThatIsSetNorByAReload() {
        let simulation = Simulation([Self.jobs(7 * 86_400)[0]], at: "2026-05-13T00:02:00Z")
        simulation.rest = { _ in self.instant("2027-01-01T00:00:00Z") }
        simulation.advance(by: .seconds(300))
        #expect(simulation.nextFireTime == instant("2026-05-20T00:05:00Z"))
        simulation.stepClock(by: .seconds(-365 * 86_400))
        #expect(simulation.nextFireTime == instant("2025-05-13T00:10:00Z"))
        simulation.advance(by: .seconds(300))
        #expect(simulation.nextFireTime == instant("2025-05-20T00:10:00Z"))
        simulation.reconfigure([Self.jobs(7 * 86_400)[0]])
        #expect(simulation.nextFireTime == instant("2025-05-13T00:15:00Z"))
    }
}
