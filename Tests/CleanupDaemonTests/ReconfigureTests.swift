@testable import CleanupDaemon
import CleanupSchedule
import Foundation
import Pseudorandom
import SessionCleanup
import Testing
import Time

@Suite struct ReconfigureTests {
    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: text)! }

    @Test func keepsTheFireTimesOfAJobThatStaysAsItIs() throws {
        let simulation = try Simulation([.named("a", "*/5 * * * *")], at: "2026-05-13T12:01:00Z")
        for _ in 0..<60 {
            simulation.advance(by: .seconds(61))
            var job = try Job.named("a", "*/5 * * * *")
            job.deadline = .seconds(Int.random(in: 1...60))
            simulation.reconfigure([job])
        }
        let fireTimes = simulation.fireTimes(of: "a")
        #expect(fireTimes.count == 12 && Set(fireTimes).count == 12)
    }

    @Test func answersTheFireTimeOfTheVeryInstantOnce() throws {
        let simulation = try Simulation([.named("a", "*/5 * * * *")], at: "2026-05-13T12:01:00Z")
        simulation.now.wall = instant("2026-05-13T12:05:00Z")
        // Due by the old schedule and by the new one.
        simulation.reconfigure([try .named("a", "5 * * * *")])
        simulation.advance(by: .seconds(30))
        #expect(simulation.fireTimes(of: "a") == [instant("2026-05-13T12:05:00Z")])
        // Due by the new one only.
        let later = try Simulation([.named("a", "0 0 * * *")], at: "2026-05-13T12:05:00Z")
        later.reconfigure([try .named("a", "*/5 * * * *"), try .named("b", "*/5 * * * *")])
        later.advance(by: .seconds(30))
        #expect(later.fireTimes(of: "a") == [instant("2026-05-13T12:05:00Z")])
        #expect(later.fireTimes(of: "b") == [instant("2026-05-13T12:05:00Z")])
    }

    @Test func startsWhatWasDueBeforeItsJobWasRemoved() throws {
        let simulation = try Simulation([.named("a", "*/5 * * * *")], at: "2026-05-13T12:01:00Z")
        simulation.now.wall = instant("2026-05-13T12:05:00.000001Z")
        simulation.reconfigure([])
        simulation.advance(by: .seconds(3600))
        #expect(
            simulation.happenings == [
                .started("a", instant("2026-05-13T12:05:00Z"), .schedule, attempt: 1),
                .concluded("a", instant("2026-05-13T12:05:00Z"), attempts: 1),
            ])
        #expect(simulation.nextFireTime == nil && simulation.scheduler.jobs.isEmpty)
    }

    @Test func letsAnAttemptUnderWayGoOn() throws {
        let simulation = try Simulation([.named("a", "10 seconds")], at: "2026-05-13T12:00:01Z")
        simulation.attempt = { _ in (.seconds(25), false) }
        simulation.advance(by: .seconds(10))
        simulation.reconfigure([try .named("a", "20 seconds")])
        simulation.advance(by: .seconds(30))
        #expect(simulation.happenings.contains(.coalesced("a", instant("2026-05-13T12:00:20Z"))))
        #expect(simulation.fireTimes(of: "a") == [instant("2026-05-13T12:00:10Z"), instant("2026-05-13T12:00:40Z")])
    }

    @Test func concludesARunThatWaitsWhenItsJobIsDisabledAndKeepsItOtherwise() throws {
        let jobs = try [Job.named("a", "0 * * * *"), .named("b", "0 * * * *")]
        let simulation = Simulation(jobs, at: "2026-05-13T11:59:59Z")
        simulation.attempt = { _ in (.milliseconds(10), true) }
        simulation.advance(by: .seconds(20))
        #expect(simulation.scheduler.wakeUp.elapsed != nil)
        var disabled = jobs
        disabled[0].isEnabled = false
        simulation.reconfigure(disabled)
        let concluded = simulation.happenings.compactMap {
            if case .concluded(let name, _, _) = $0 { name } else { nil }
        }
        #expect(concluded == ["a"])
        simulation.attempt = { _ in (.milliseconds(10), false) }
        simulation.advance(by: .seconds(300))
        #expect(simulation.fireTimes(of: "b") == [instant("2026-05-13T12:00:00Z")])
        guard case .concluded("b", _, let attempts) = simulation.happenings.last else {
            Issue.record("\(simulation.happenings)")
            return
        }
        #expect(attempts > 1)
    }

    @Test func runsJobsThatAreDueTogetherInTheNewOrder() throws {
        let simulation = try Simulation(
            [.named("a", "0 * * * *"), .named("b", "0 * * * *")], at: "2026-05-13T11:59:59Z")
        simulation.reconfigure([
            try .named("c", "0 * * * *"), try .named("b", "0 * * * *"), try .named("a", "0 * * * *"),
        ])
        simulation.advance(by: .seconds(5))
        let started = simulation.happenings.compactMap {
            if case .started(let name, _, _, _) = $0 { name } else { nil }
        }
        #expect(started == ["c", "b", "a"])
    }

    private static let seeds: [UInt64] = {
        if let seed = ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_SEED"].flatMap(UInt64.init) {
            return [seed]
        }
        return (0..<30).map { _ in UInt64.random(in: 0...UInt64.max) }
    }()

    /// Against a model that knows the schedules in force at each time, and nothing else.
    @Test(arguments: seeds)
    func answersEachFireTimeOfTheScheduleInForceOnce(seed: UInt64) throws {
        print("MCP_CLEANUPD_TEST_SEED=\(seed)")
        var generator = SplitMix64(seed: seed)
        let schedules = ["1 seconds", "7 seconds", "10 seconds", "* * * * *", "*/2 * * * *", "1-59/2 * * * *"]
        let names = ["a", "b", "c"]
        func configuration(_ generator: inout SplitMix64) throws -> [Job] {
            try names.shuffled(using: &generator).filter { _ in Bool.random(using: &generator) }.map { name in
                var job = try Job.named(name, schedules.randomElement(using: &generator)!)
                job.isEnabled = Int.random(in: 0..<5, using: &generator) > 0
                return job
            }
        }
        var jobs = try configuration(&generator)
        let simulation = Simulation(jobs, at: "2026-05-13T12:00:00.500000Z")
        var expected: [String: Set<UTCInstant>] = [:]
        for round in 1...200 {
            let begin = simulation.now.wall
            // Half of the time at a whole second, which is a fire time of some job.
            var step = Duration.milliseconds(Int.random(in: 1...90_000, using: &generator))
            if Bool.random(using: &generator) {
                let end = (begin + step).microsecondsSinceEpoch / 1_000_000 * 1_000_000 + 1_000_000
                step = .microseconds(end - begin.microsecondsSinceEpoch)
            }
            if Bool.random(using: &generator) {
                simulation.advance(by: step)
            } else {
                // The reload is what wakes the process, late by less than a second.
                simulation.advance(by: step - .milliseconds(1))
                simulation.now.wall += .milliseconds(1)
                simulation.now.elapsed += .milliseconds(1)
            }
            for job in jobs where job.isEnabled {
                var fireTime = job.schedule.next(after: begin - .microseconds(1), in: nil)
                while let due = fireTime, due <= simulation.now.wall {
                    expected[job.name, default: []].insert(due)
                    fireTime = job.schedule.next(after: due, in: nil)
                }
            }
            jobs = round == 200 ? [] : try configuration(&generator)
            simulation.reconfigure(jobs)
        }
        simulation.advance(by: .seconds(1))
        for name in names {
            let answered = simulation.fireTimes(of: name)
            #expect(Set(answered).count == answered.count)
            let difference = Set(answered).symmetricDifference(expected[name, default: []])
            #expect(
                difference.isEmpty,
                "\(name): \(difference.sorted()), of which answered \(difference.intersection(answered))")
        }
        #expect(!simulation.happenings.contains { if case .coalesced = $0 { true } else { false } })
    }
}
