import CleanupDaemon
import CleanupSchedule
@testable import Monitoring
import SessionCleanup
import Testing

/// The truth table of readiness: what it says in each situation that an operator may be in.
@Suite struct ReadinessTests {
    @Test func aFreshServiceIsReadyUntilItIsDue() {
        var service = Simulated()
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .waiting)
        service.pass(.seconds(270))
        service.beginRun()
        #expect(service.obstacles.isEmpty, "its first run has only begun")
        service.pass(.seconds(241))
        #expect(service.obstacles.first?.contains("past its deadline of 4 min") ?? false, "\(service.obstacles)")
    }

    @Test func aFirstRunThatFailsIsNotReadyAndSaysWhy() {
        var service = Simulated()
        service.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        #expect(service.obstacles.count == 1)
        #expect(service.obstacles[0].contains("has no DELETE privilege"), "\(service.obstacles)")
        #expect(service.obstacles[0].contains("GRANT DELETE"), "\(service.obstacles)")
    }

    @Test func aLookBackThatFailsIsNoObstacleBeforeAnythingIsDue() {
        var service = Simulated()
        let job = Job.transientSessions.name
        service.hear(
            .attemptStarted(job: job, scheduledAt: service.now.wall - .seconds(30), origin: .catchUp, number: 1))
        service.hear(
            .attemptFailed(.ended(job, .failed, at: service.now.wall, failure: .databaseAway), retryAfter: .seconds(1)))
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .failing)
        service.hear(.nothingMissed(job: job))
        #expect(service.condition == .waiting)
        service.hear(.successKnown(job: job, at: service.now.wall - .seconds(100)))
        #expect(service.condition == .healthy)
        #expect(service.page.contains("No run of this process yet."), "a success is known, which was another's")
        service.pass(.seconds(3600))
        #expect(service.obstacles.count == 1)
    }

    @Test func aDatabaseThatIsAwayForOneIntervalLeavesItReady() {
        var service = Simulated()
        service.answer(1)
        service.answer(1, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .failing)
        service.answer(1)
        #expect(service.condition == .healthy)
    }

    @Test func aDatabaseThatIsAwayForThreeIntervalsDoesNot() {
        var service = Simulated()
        service.answer(1)
        service.answer(3, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.condition == .overdue)
        #expect(service.obstacles.first?.contains("has not succeeded for 15 min") ?? false, "\(service.obstacles)")
        #expect(service.obstacles.first?.contains("connection to db:5432 refused") ?? false)
        service.answer(1)
        #expect(service.obstacles.isEmpty)
    }

    @Test func theBudgetIsTwoIntervalsAndTheDeadlineToTheSecond() {
        var service = Simulated()
        service.answer(1)
        service.pass(.seconds(2 * 300 + 240))
        #expect(service.obstacles.isEmpty)
        service.pass(.seconds(1))
        #expect(service.obstacles.count == 1)
    }

    @Test func aWeekendIsNoOutage() throws {
        var job = Job.transientSessions
        job.schedule = try Schedule("0 0 * * mon-fri")
        var service = Simulated([job], at: "2026-05-14T23:00:00Z")
        service.answer(1, job)
        // Friday's success is enough until Tuesday.
        service.pass(.seconds(3 * 86_400 + 3600))
        #expect(service.obstacles.isEmpty, "\(service.obstacles)")
        service.pass(.seconds(86_400))
        #expect(service.obstacles.count == 1)
    }

    @Test func aDisabledJobIsNobodysObstacle() {
        var job = Job.transientSessions
        job.isEnabled = false
        var service = Simulated([job])
        service.pass(.seconds(86_400))
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .disabled)
    }

    @Test(arguments: [Duration.seconds(365 * 86_400), .seconds(-365 * 86_400)])
    func aClockThatIsSetChangesNoAge(step: Duration) {
        var service = Simulated()
        service.answer(1)
        service.setClock(by: step)
        service.arm(.transientSessions)
        #expect(service.obstacles.isEmpty)
        service.pass(.seconds(841))
        #expect(service.obstacles.count == 1, "whatever the clock says, a quarter of an hour has passed")
    }

    @Test func aReplicaThatNeverWinsAClaimIsReadyByTheOthersSuccess() {
        var service = Simulated()
        for _ in 0..<10 {
            service.pass(.seconds(300))
            service.run(.transientSessions, .skipped, lastSuccessAt: service.now.wall - .seconds(290))
            #expect(service.obstacles.isEmpty)
        }
        #expect(service.condition == .healthy)
        // The others have stopped: their last success grows old.
        let last = service.now.wall
        for _ in 0..<3 {
            service.pass(.seconds(300))
            service.run(.transientSessions, .skipped, lastSuccessAt: last)
        }
        #expect(service.obstacles.count == 1)
    }

    @Test func aRunOfAnotherProcessIsNotTakenForOneHere() {
        var service = Simulated()
        let job = Job.transientSessions.name
        service.answer(1)
        service.pass(.seconds(300))
        service.beginRun()
        let inProgress = #"mcp_cleanup_run_in_progress{job="\#(job)"} "#
        #expect(service.registry.text.contains(inProgress + "1"))
        service.hear(
            .runHeldElsewhere(.ended(job, .skipped, at: service.now.wall), lookAgainAfter: .seconds(60)))
        #expect(service.registry.text.contains(inProgress + "0"))
        #expect(service.page.contains("<dt>Running elsewhere</dt>"))
        #expect(!service.page.contains("<dt>Running for</dt>"))
        #expect(service.obstacles.isEmpty)
        service.pass(.seconds(60))
        service.beginRun(attempt: 2)
        #expect(service.registry.text.contains(inProgress + "1"))
        #expect(service.page.contains("<dt>Running for</dt>"))
    }

    @Test func aCappedRunIsASuccessAndACanceledOneIsNone() {
        var service = Simulated()
        service.answer(1, .transientSessions, .capped)
        #expect(service.condition == .healthy)
        service.answer(3, .transientSessions, .canceled, failure: .canceled)
        #expect(service.condition == .overdue)
        #expect(!(service.obstacles.first?.contains("canceled") ?? true))
    }

    @Test func oneJobIsEnoughToNotBeReady() {
        var service = Simulated([.transientSessions, .dormantSessions()])
        service.answer(1)
        #expect(service.obstacles.isEmpty)
        service.run(.dormantSessions(), .failed, failure: .noPrivilege)
        #expect(service.obstacles.count == 1)
        #expect(service.obstacles.first?.hasPrefix(Job.dormantSessions().name) ?? false)
    }

    @Test func aServiceThatStopsIsNotReady() {
        var service = Simulated()
        service.answer(1)
        service.hear(.stopping)
        #expect(service.obstacles == ["the service is stopping"])
    }

    @Test func aFireTimeThatNobodyAnsweredIsADeadTimer() {
        var service = Simulated()
        #expect(service.state.deadTimer(at: service.now) == nil)
        // 12:05:00 comes, and with it nothing.
        service.pass(.seconds(270 + 59))
        #expect(service.state.deadTimer(at: service.now) == nil)
        service.pass(.seconds(2))
        #expect(service.state.deadTimer(at: service.now)?.contains("2026-05-13T12:05:00Z") ?? false)
        service.run()
        #expect(service.state.deadTimer(at: service.now) == nil)
    }

    @Test func keepsABoundedNumberOfRuns() {
        var service = Simulated()
        service.answer(500)
        #expect(service.state.jobs[0].recent.count == JobState.recentLimit)
    }
}
