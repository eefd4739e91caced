@testable import CleanupDaemon
import CleanupSchedule
import SessionCleanup
import Testing

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

    @Test func wakesTwiceForAFireTimeToConnectAndToRun() {
        let simulation = Simulation(builtIn, at: "2026-05-13T00:02:00Z")
        simulation.advance(by: .seconds(86_400))
        // Midnight is one fire time of both jobs.
        #expect(simulation.wakeUps == 2 * 288)
        #expect(simulation.connections.count == 288)
        #expect(simulation.connections.allSatisfy { $0.fireTime - $0.openedAt == .seconds(1) })
        #expect(simulation.connections.map(\.fireTime) == simulation.fireTimes(of: transient))
    }

    @Test func opensNoConnectionForAJobThatRunsEverySecond() throws {
        let simulation = try Simulation([.named("job", "1 seconds")], at: "2026-05-13T12:00:00.5Z")
        simulation.advance(by: .seconds(60))
        #expect(simulation.fireTimes(of: "job").count == 60 && simulation.connections.isEmpty)
        #expect(simulation.wakeUps == 60)
    }

    @Test func opensAConnectionForAFireTimeASecondAfterAnothersToo() throws {
        let simulation = try Simulation(
            [.named("three", "3 seconds"), .named("four", "4 seconds")], at: "2026-05-13T12:00:00.5Z")
        simulation.advance(by: .seconds(60))
        let fireTimes = Set(simulation.fireTimes(of: "three") + simulation.fireTimes(of: "four"))
        #expect(Set(simulation.connections.map(\.fireTime)).isSuperset(of: fireTimes))
        #expect(simulation.connections.count <= fireTimes.count + 1)
    }

    @Test func opensNoConnectionForAJobThatIsRunning() throws {
        let simulation = try Simulation([.named("job", "10 seconds")], at: "2026-05-13T12:00:01Z")
        simulation.attempt = { _ in (.seconds(25), false) }
        simulation.advance(by: .seconds(70))
        let running = [
            instant("2026-05-13T12:00:10Z"), instant("2026-05-13T12:00:40Z"), instant("2026-05-13T12:01:10Z"),
        ]
        #expect(simulation.fireTimes(of: "job") == running)
        #expect(simulation.connections.map(\.fireTime) == running)
    }

    @Test func opensNoConnectionForAJobThatFailed() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { attempt in (.milliseconds(100), attempt.scheduledAt < instant("2026-05-13T12:15:00Z")) }
        simulation.advance(by: .seconds(17 * 60))
        // The first, and the one after a success.
        #expect(
            simulation.connections.map(\.fireTime) == [
                instant("2026-05-13T12:05:00Z"), instant("2026-05-13T12:20:00Z"),
            ])
        var scheduler = try Scheduler(
            jobs: [.named("job", "*/5 * * * *")], now: .init(wall: instant("2026-05-13T12:04:30Z"), elapsed: .zero),
            seed: 1)
        _ = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:05:00Z"), elapsed: .seconds(30)), wasSet: false)
        _ = scheduler.attemptEnded(
            job: 0, .failed, now: .init(wall: instant("2026-05-13T12:05:01Z"), elapsed: .seconds(31)))
        let actions = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:09:59Z"), elapsed: .seconds(329)), wasSet: false)
        #expect(actions.isEmpty)
    }

    @Test func opensAConnectionForTheFireTimeThatAClockThatIsSetMakesTheNext() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:02:00Z")
        simulation.advance(by: .milliseconds(179_500))
        #expect(simulation.connections.last?.fireTime == instant("2026-05-13T12:05:00Z"))
        // To 12:00: the fire time is the same one, and a connection would be open for five minutes.
        simulation.stepClock(by: .milliseconds(-299_500))
        #expect(simulation.scheduler.nextWakeUp == instant("2026-05-13T12:04:59Z"))
        simulation.advance(by: .seconds(299))
        #expect(
            simulation.connections.map(\.openedAt) == [
                instant("2026-05-13T12:04:59Z"), instant("2026-05-13T12:04:59Z"),
            ])
        // Past a fire time and into the last second before another one: that one's run connects by itself.
        simulation.advance(by: .seconds(60))
        simulation.stepClock(by: .milliseconds(540_500))
        simulation.advance(by: .seconds(1))
        #expect(simulation.fireTimes(of: "job").last == instant("2026-05-13T12:15:00Z"))
        #expect(simulation.connections.count == 2)
    }

    @Test func startsJobsThatAreDueTogetherOverOneConnectionInTheirOrder() {
        var scheduler = Scheduler(
            jobs: builtIn, now: .init(wall: instant("2026-05-13T23:59:00Z"), elapsed: .zero), seed: 1)
        let actions = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-14T00:00:00Z"), elapsed: .seconds(60)), wasSet: false)
        guard case .start(let attempts) = actions.first, actions.count == 1 else {
            Issue.record("\(actions)")
            return
        }
        #expect(attempts.map(\.job) == [0, 1])
    }

    @Test func isNeverEarly() {
        var scheduler = Scheduler(
            jobs: builtIn, now: .init(wall: instant("2026-05-13T12:00:00Z"), elapsed: .zero), seed: 1)
        let before = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:04:59.999999Z"), elapsed: .seconds(299)), wasSet: false)
        #expect(before == [.connect(before: instant("2026-05-13T12:05:00Z"))])
        let at = scheduler.clockAdvanced(
            to: .init(wall: instant("2026-05-13T12:05:00Z"), elapsed: .seconds(300)), wasSet: false)
        #expect(at.count == 1)
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
        // Transient's are answered by the latest, and midnight was midnight's.
        #expect(simulation.fireTimes(of: transient) == [instant("2026-05-14T06:00:00Z")])
    }

    /// What was answered ahead of time hides nothing that comes before it.
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
            actions == [
                .start([.init(job: 0, scheduledAt: instant("2026-05-13T12:05:00Z"), origin: .schedule, number: 1)])
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
        // 1, 2, 4, … seconds, halved at most, fit into five minutes 7 to 9 times.
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

    /// The interval bounds the run, whatever its attempts' deadlines are: then the next fire time has a run of its own.
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

    @Test func makesNoAttemptAfterTheIntervalOfItsRun() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { _ in (.seconds(240), true) }
        simulation.advance(by: .seconds(6 * 3600))
        let attempts = simulation.happenings.compactMap { happening -> Int? in
            if case .started(_, _, _, let attempt) = happening { attempt } else { nil }
        }
        // Of 240 s each, two begin inside an interval of 300 s at most.
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
        let job = simulation.scheduler.job(1).name
        #expect(
            simulation.happenings[before...].contains {
                if case .started(job, instant("2026-05-14T00:00:00Z"), _, _) = $0 { true } else { false }
            })
        // From the tenth on the nominal wait is 300 s; half of the shortest that this allows is joined, no less.
        let late = starts.sorted { $0.key < $1.key }.filter { $0.key > 10 }.map(\.value)
        #expect(zip(late, late.dropFirst()).allSatisfy { $1 - $0 >= .seconds(75) } && late.count > 100)
    }

    @Test(arguments: 1...100 as ClosedRange<UInt64>)
    func repeatsJobsThatFailedTogetherOverOneConnection(seed: UInt64) {
        var now = Scheduler.Now(wall: instant("2026-05-13T23:59:00Z"), elapsed: .zero)
        var scheduler = Scheduler(jobs: [Job.transientSessions, Job.dormantSessions()], now: now, seed: seed)
        func pass(_ duration: Duration) {
            now.wall += duration
            now.elapsed += duration
        }
        pass(.seconds(60))
        #expect(scheduler.clockAdvanced(to: now, wasSet: false).count == 1)
        // Until the transient job's next fire time is too near.
        for number in 2...6 {
            for job in [0, 1] {
                let actions = scheduler.attemptEnded(job: job, .mayRetry, now: now)
                guard case .announceRetry(_, let delay) = actions.first else {
                    Issue.record("\(actions)")
                    return
                }
                #expect(delay <= RetryPolicy.delays(after: number - 1).upperBound)
                pass(.milliseconds(3))
            }
            pass((scheduler.nextRetry ?? .zero) - now.elapsed)
            let actions = scheduler.clockAdvanced(to: now, wasSet: false)
            guard case .start(let attempts) = actions.first, actions.count == 1 else {
                Issue.record("\(actions)")
                return
            }
            #expect(attempts.map(\.job) == [0, 1] && attempts.allSatisfy { $0.number == number })
        }
    }

    @Test func failsAtOnceForACauseThatWillNotPass() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.advance(by: .seconds(120))
        #expect(simulation.happenings.last == .concluded("job", instant("2026-05-13T12:05:00Z"), attempts: 1))
    }

    @Test(arguments: 1...400)
    func waitsBetweenHalfAndAllOfTheNominalTime(attempt: Int) {
        var generator = SplitMix64(state: UInt64(attempt))
        let delay = RetryPolicy.delay(in: RetryPolicy.delays(after: attempt), using: &generator)
        let nominal = min(Duration.seconds(attempt > 9 ? 300 : 1 << (attempt - 1)), .seconds(300))
        #expect(delay >= nominal / 2 && delay <= nominal)
    }

    @Test func startsNothingAfterARequestToStop() throws {
        let simulation = try Simulation([.named("job", "*/5 * * * *")], at: "2026-05-13T12:04:00Z")
        simulation.attempt = { _ in (.milliseconds(100), true) }
        simulation.advance(by: .seconds(65))
        let actions = simulation.scheduler.shutDown()
        #expect(actions.count == 1)
        #expect(!simulation.isBusy)
        let later = Scheduler.Now(wall: instant("2026-05-13T13:00:00Z"), elapsed: .seconds(7200))
        let started = simulation.scheduler.clockAdvanced(to: later, wasSet: false)
        #expect(started.isEmpty)
    }
}
