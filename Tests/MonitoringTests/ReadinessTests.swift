import CleanupDaemon
import CleanupSchedule
@testable import Monitoring
import SessionCleanup
import Testing
import Time

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

    @Test func aCatchUpThatFailsIsNoObstacleBeforeAnythingIsDue() {
        var service = Simulated()
        let job = Job.transientSessions.name
        service.record(
            .attemptStarted(job: job, scheduledAt: service.now.wall - .seconds(30), origin: .catchUp, number: 1))
        service.record(
            .attemptEnded(.ended(job, .failed, at: service.now.wall, failure: .databaseAway), nextAfter: .seconds(1)))
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .failing)
    }

    @Test func aHistoryThatCannotBeReadIsNoObstacleBeforeAnythingIsDue() {
        var service = Simulated()
        service.record(.lookBackFailed(.databaseAway))
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .waiting)
        service.tell(lastSuccess: service.now.wall - .seconds(100), ago: .seconds(100), of: .transientSessions)
        #expect(service.condition == .healthy)
        #expect(service.page.contains("No run is known yet."), "a success is known, which was another's")
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
        #expect(
            service.obstacles.first?.contains("has not succeeded for 15 min; the limit is 14 min") ?? false,
            "\(service.obstacles)")
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
        #expect(service.obstacles.count == 1, "the clock was set, and a quarter of an hour has passed")
    }

    @Test func aReplicaThatNeverWinsAClaimIsReadyByTheOthersSuccess() {
        var service = Simulated()
        for _ in 0..<10 {
            service.pass(.seconds(300))
            service.run(.transientSessions, .skipped, lastSuccessAt: service.now.wall - .seconds(290))
            #expect(service.obstacles.isEmpty)
        }
        #expect(service.condition == .healthy)
        // The other processes have stopped: their last success grows old.
        let last = service.now.wall
        for _ in 0..<3 {
            service.pass(.seconds(300))
            service.run(.transientSessions, .skipped, lastSuccessAt: last)
        }
        #expect(service.obstacles.count == 1)
    }

    @Test func aReplicaIsNotReadyWhileTheWinnersFail() {
        var service = Simulated()
        service.answer(1, .transientSessions, .skipped)
        #expect(service.obstacles.first?.contains("neither here nor in another process") ?? false)
        #expect(service.condition == .overdue)
        service.pass(.seconds(300))
        service.run(.transientSessions, .skipped, lastSuccessAt: service.now.wall - .seconds(1))
        #expect(service.obstacles.isEmpty)
        #expect(service.condition == .healthy)
    }

    @Test func aFailureIsNotForgottenByARunThatAnotherProcessMadeButByItsSuccess() {
        var service = Simulated()
        service.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        service.answer(1, .transientSessions, .skipped)
        #expect(service.obstacles.first?.contains("has no DELETE privilege") ?? false, "\(service.obstacles)")
        let failed = service.now.wall - .seconds(300)
        // A success before the failure does not end it.
        service.run(.transientSessions, .skipped, lastSuccessAt: failed - .seconds(1))
        #expect(service.condition == .failing)
        service.pass(.seconds(100))
        service.run(.transientSessions, .skipped, lastSuccessAt: failed + .seconds(1))
        #expect(service.condition == .healthy)
    }

    @Test func aFirstRunThatAnotherProcessIsAtIsNoObstacle() {
        var service = Simulated()
        service.pass(.seconds(270))
        service.beginRun()
        var report = RunReport.ended(Job.transientSessions.name, .skipped, at: service.now.wall)
        report.skip = .held(by: "other", lookAgainAfter: .seconds(60))
        service.record(.runConcluded(report))
        #expect(service.obstacles.isEmpty)
        service.pass(.seconds(241))
        #expect(service.obstacles.first?.contains("past its deadline") ?? false, "\(service.obstacles)")
    }

    // MARK: Clocks

    @Test func aHostsClockThatWasSetBackKeepsNoSuccessYoung() {
        var service = Simulated()
        service.answer(1)
        let success = service.now.wall
        service.setClock(by: .seconds(-3 * 3600))
        for run in 1...3 {
            service.pass(.seconds(300))
            // Each run reads the success from the history: ahead of the host's clock, ever older by the database's.
            service.tell(lastSuccess: success, ago: .seconds(300 * run), of: .transientSessions)
            service.run(.transientSessions, .failed, failure: .databaseAway)
        }
        #expect(service.condition == .overdue)
    }

    @Test func aClockThatRanAheadSilencesNothingOnceItIsRight() throws {
        var fresh = Simulated()
        fresh.setClock(by: .seconds(-7200))
        fresh.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        #expect(fresh.obstacles.count == 1, "it is due, though before its start by the clock")
        var service = Simulated()
        service.answer(1)
        service.setClock(by: .seconds(-7200))
        service.answer(4, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.condition == .overdue)
        #expect(service.isAlerted())
        #expect(try #require(service.value(.lastRun)) > #require(service.value(.lastSuccess)), "McpCleanupFailing")
        // With history, the true time comes from there.
        let success = service.now.wall - .seconds(1300)
        service.setClock(by: .seconds(7200))
        service.run()
        service.setClock(by: .seconds(-7200))
        service.tell(lastSuccess: success, ago: .seconds(1300), of: .transientSessions)
        #expect(try #require(service.value(.lastSuccess)) <= service.now.wall.fractionalSeconds)
    }

    // MARK: Reloads

    private func job(_ schedule: String, isEnabled: Bool = true) throws -> Job {
        var job = Job.transientSessions
        job.schedule = try Schedule(schedule)
        job.isEnabled = isEnabled
        return job
    }

    @Test func aRarerScheduleIsNoOutage() throws {
        var service = Simulated()
        service.answer(1)
        service.pass(.seconds(120))
        service.reload([try job("@hourly")])
        service.pass(.seconds(3000))
        #expect(service.obstacles.isEmpty && !service.isAlerted(), "\(service.obstacles)")
        // Two hours after 12:07, and the deadline.
        service.pass(.seconds(4200 + 241))
        #expect(service.obstacles.count == 1 && service.isAlerted())
    }

    @Test func aMoreFrequentScheduleCountsFromTheReload() throws {
        let daily = try job("@daily")
        var service = Simulated([daily], at: "2026-05-13T23:00:00Z")
        service.answer(1, daily)
        service.pass(.seconds(10 * 3600))
        service.reload([.transientSessions])
        service.pass(.seconds(840))
        #expect(service.obstacles.isEmpty && !service.isAlerted(), "\(service.obstacles)")
        service.pass(.seconds(1))
        #expect(service.obstacles.count == 1 && service.isAlerted(), "\(service.obstacles)")
        service.answer(1)
        #expect(service.obstacles.isEmpty && !service.isAlerted())
        service.pass(.seconds(841))
        #expect(service.obstacles.count == 1 && service.isAlerted(), "a success counts for itself again")
    }

    @Test func aJobThatIsEnabledAgainIsNotYetDue() throws {
        let (nightly, disabled) = (try job("@daily"), try job("@daily", isEnabled: false))
        for outcome in [Outcome.succeeded, .failed] {
            var service = Simulated([nightly], at: "2026-05-13T23:00:00Z")
            service.answer(1, nightly, outcome, failure: outcome == .failed ? .noPrivilege : nil)
            service.reload([disabled])
            service.pass(.seconds(60 * 3600))
            #expect(service.condition == .disabled && !service.isAlerted(nightly))
            service.reload([nightly])
            #expect(service.obstacles.isEmpty && !service.isAlerted(nightly), "\(service.obstacles)")
            service.answer(1, nightly, .failed, failure: .databaseAway)
            service.pass(.seconds(3 * 86_400))
            #expect(service.obstacles.count == 1)
        }
        // A job that was not there before has a past that the history knows.
        var service = Simulated([.dormantSessions()])
        service.reload([.transientSessions])
        service.tell(lastSuccess: service.now.wall - .seconds(86_400), ago: .seconds(86_400), of: .transientSessions)
        #expect(service.obstacles.isEmpty && !service.isAlerted(), "\(service.obstacles)")
    }

    @Test func aReloadThatChangesNothingMakesNoSuccessYounger() {
        var service = Simulated()
        service.answer(1)
        for _ in 0..<3 {
            service.pass(.seconds(300))
            service.reload([.transientSessions])
        }
        #expect(service.obstacles.count == 1 && service.isAlerted())
        var slower = Job.transientSessions
        slower.deadline = .seconds(299)
        service.reload([slower])
        #expect(service.obstacles.count == 1, "two intervals and a longer deadline have passed too")
        slower.deadline = .seconds(301)
        service.reload([slower])
        #expect(service.obstacles.isEmpty)
    }

    @Test func aRunOfAnotherProcessIsNotTakenForOneHere() {
        var service = Simulated()
        let job = Job.transientSessions.name
        service.answer(1)
        service.pass(.seconds(300))
        service.beginRun()
        let inProgress = #"mcp_cleanup_run_in_progress{job_name="\#(job)"} "#
        #expect(service.metrics.text.contains(inProgress + "1"))
        service.record(
            .attemptEnded(.ended(job, .skipped, at: service.now.wall), nextAfter: .seconds(60)))
        #expect(service.metrics.text.contains(inProgress + "0"))
        #expect(service.visible.contains("State ▶ running; another process runs it"))
        #expect(service.obstacles.isEmpty)
        service.pass(.seconds(60))
        service.beginRun(attempt: 2)
        #expect(service.metrics.text.contains(inProgress + "1"))
        #expect(service.visible.contains("State ▶ running for 1 min, attempt 2"))
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
        service.record(.stopping)
        #expect(service.obstacles == ["the service is stopping"])
    }

    @Test func aFireTimeThatNobodyAnsweredIsADeadTimer() {
        var service = Simulated()
        #expect(service.state.fault(at: service.now) == nil)
        // 12:05:00 comes, but no run begins.
        service.pass(.seconds(270 + 59))
        #expect(service.state.fault(at: service.now) == nil)
        service.pass(.seconds(2))
        #expect(service.state.fault(at: service.now)?.contains("2026-05-13T12:05:00Z") ?? false)
        service.run()
        #expect(service.state.fault(at: service.now) == nil)
    }

    @Test func anAttemptThatIsAMinutePastItsDeadlineIsAFaultAndNotReady() {
        var service = Simulated()
        service.answer(1)
        service.pass(.seconds(300))
        service.beginRun()
        service.arm(.transientSessions)
        service.pass(.seconds(240 + 60))
        service.arm(.transientSessions)
        #expect(service.state.fault(at: service.now) == nil && service.obstacles.isEmpty)
        service.pass(.seconds(1))
        let fault = service.state.fault(at: service.now)
        #expect(fault?.hasSuffix("is 1 min 1 s past its deadline of 4 min") ?? false, "\(fault ?? "")")
        #expect(service.obstacles == [fault])
        service.record(.stopping)
        #expect(service.state.fault(at: service.now) != nil, "it hangs all the same")
        // Waits between attempts, and runs of other processes, have no deadline here.
        var waiting = Simulated()
        waiting.beginRun()
        waiting.record(
            .attemptEnded(
                .ended(Job.transientSessions.name, .skipped, at: waiting.now.wall), nextAfter: .seconds(900)))
        waiting.pass(.seconds(600))
        waiting.arm(.transientSessions)
        #expect(waiting.state.fault(at: waiting.now) == nil)
    }

    @Test func keepsABoundedNumberOfRuns() {
        var service = Simulated()
        service.answer(500)
        #expect(service.state.jobs[0].recent.count == JobState.recentLimit)
    }
}
