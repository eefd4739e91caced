@testable import CleanupDaemon
import CleanupSchedule
@testable import SessionCleanup
import Testing
import Time

@Suite struct ServiceStatusTests {
    private static let transient = Job.transientSessions
    private static let dormant = Job.dormantSessions()

    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: text)! }

    private func report(_ job: Job, removed: Int = 0, failure: RunFailure? = nil) -> RunReport {
        RunReport(
            job: job.name, outcome: failure == nil ? .succeeded : .failed, scheduledAt: instant("2026-05-13T12:05:00Z"),
            startedAt: instant("2026-05-13T12:05:00Z"), finishedAt: instant("2026-05-13T12:05:01Z"), cutoff: nil,
            progress: RunProgress(rowsDeleted: removed), attempts: 1, failure: failure)
    }

    private func started() -> ServiceStatus {
        var status = ServiceStatus()
        status.hear(
            .started([
                (Self.transient, instant("2026-05-13T12:05:00Z")), (Self.dormant, instant("2026-05-14T00:00:00Z")),
            ]))
        return status
    }

    @Test func saysNothingBeforeTheStart() {
        var status = ServiceStatus()
        status.hear(.fireTimeArmed(job: Self.transient.name, instant("2026-05-13T12:05:00Z")))
        #expect(status.text == "")
    }

    @Test func saysWhatComesNextAndHowTheLastRunsEnded() {
        var status = started()
        #expect(status.text == "next: transient 12:05:00Z, dormant 00:00:00Z")
        status.hear(.fireTimeArmed(job: Self.transient.name, instant("2026-05-13T12:10:00Z")))
        status.hear(
            .attemptStarted(
                job: Self.transient.name, scheduledAt: instant("2026-05-13T12:05:00Z"), origin: .schedule, number: 1))
        #expect(status.text == "running: transient; next: transient 12:10:00Z, dormant 00:00:00Z")
        status.hear(.runConcluded(report(Self.transient, removed: 2900)))
        #expect(
            status.text == "next: transient 12:10:00Z, dormant 00:00:00Z; last: transient succeeded, 2,900 removed")
    }

    @Test func saysWhatIsWrongUntilItIsRight() {
        var status = started()
        status.hear(.attemptFailed(report(Self.transient, failure: .serverReadOnly), retryAfter: .seconds(2)))
        #expect(status.text.contains("; wrong: transient: \(RunFailure.serverReadOnly); another attempt in 2 s"))
        status.hear(.runConcluded(report(Self.transient, failure: .serverReadOnly)))
        #expect(status.text.contains("last: transient failed, 0 removed; wrong: transient: "))
        status.hear(.runConcluded(report(Self.transient)))
        #expect(!status.text.contains("wrong"))
    }

    @Test func namesTheDayOfAFireTimeThatIsFarAway() {
        var status = started()
        status.hear(.fireTimeArmed(job: Self.dormant.name, instant("2027-01-01T00:00:00Z")))
        #expect(status.text == "next: transient 12:05:00Z, dormant 2027-01-01T00:00:00Z")
        status.hear(.fireTimeArmed(job: Self.transient.name, nil))
        #expect(status.text == "next: dormant 00:00:00Z")
        status.hear(.fireTimeArmed(job: Self.dormant.name, nil))
        #expect(status.text == "next: nothing, every job is disabled")
    }

    @Test func saysThatAnotherProcessHasTheRun() {
        var status = started()
        var held = report(Self.transient)
        held.outcome = .skipped
        held.skip = .held(by: "another", lookAgainAfter: .seconds(60))
        let attempt = ServiceEvent.attemptStarted(
            job: Self.transient.name, scheduledAt: instant("2026-05-13T12:05:00Z"), origin: .schedule, number: 1)
        status.hear(attempt)
        status.hear(.runHeldElsewhere(held, lookAgainAfter: .seconds(61)))
        #expect(status.text == "running in another process: transient; next: transient 12:05:00Z, dormant 00:00:00Z")
        status.hear(attempt)
        #expect(status.text == "running: transient; next: transient 12:05:00Z, dormant 00:00:00Z")
        status.hear(.runHeldElsewhere(held, lookAgainAfter: .seconds(61)))
        status.hear(.runConcluded(held))
        #expect(status.text.hasSuffix("; last: transient left to another process"))
        held.skip = .answered
        status.hear(.runConcluded(held))
        #expect(status.text.hasSuffix("; last: transient left to another process"))
    }

    @Test func saysThatAConfigurationWasRefusedUntilOneIsInForce() {
        var status = started()
        status.hear(.runConcluded(report(Self.transient, removed: 1)))
        let before = status.text
        status.hear(.reloadFailed("line 3: no such key"))
        #expect(status.text == before + "; wrong: configuration, the old one is in force: line 3: no such key")
        status.hear(.reloaded([(Self.transient, instant("2026-05-13T13:00:00Z"))], waitingForRestart: []))
        #expect(status.text == "next: transient 13:00:00Z; last: transient succeeded, 1 removed")
    }

    @Test func saysThatItStops() {
        var status = started()
        status.hear(.stopping)
        #expect(status.text == "stopping")
    }
}

@Suite struct RepeatedFailureTests {
    private let start = UTCInstant(rfc3339: "2026-05-13T12:00:00Z")!

    @Test func writesADayOfFailuresInSomeThirtyLines() {
        var failures = RepeatedFailures()
        var written: [Int] = []
        for minute in 0..<(24 * 60) {
            let verdict = failures.attemptFailed(
                cause: "no answer within 14.\(minute) s", at: start + .seconds(60 * minute), wasLast: minute % 5 == 4)
            if verdict != .isKnown { written.append(minute) }
        }
        #expect(Array(written.prefix(7)) == [0, 1, 3, 4, 12, 28, 60])
        #expect(written.count < 32)
        let end = failures.runWentWell()
        #expect(end == .init(attempts: 24 * 60, since: start))
        let again = failures.runWentWell()
        #expect(again == nil)
    }

    @Test func writesAnotherCauseAtOnce() {
        var failures = RepeatedFailures()
        let verdicts = ["a", "a", "b", "a"].map { failures.attemptFailed(cause: $0, at: start, wasLast: true) }
        #expect(verdicts == [.begins, .isKnown, .begins, .begins])
    }

    @Test func writesTheFirstRunThatFailsAfterItsAttempts() {
        var failures = RepeatedFailures()
        let verdicts = [false, false, true, false, true].map {
            failures.attemptFailed(cause: "a", at: start, wasLast: $0)
        }
        #expect(verdicts == [.begins, .isKnown, .goesOn(attempts: 3, since: start), .isKnown, .isKnown])
    }

    @Test func isNotSilencedByAClockThatWasSetBack() {
        var failures = RepeatedFailures()
        _ = failures.attemptFailed(cause: "a", at: start, wasLast: true)
        let verdict = failures.attemptFailed(cause: "a", at: start - .seconds(86_400), wasLast: true)
        #expect(verdict != .isKnown)
    }
}
