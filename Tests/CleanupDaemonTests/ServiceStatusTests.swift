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

    private let now = TwoClocks(wall: UTCInstant(rfc3339: "2026-05-13T12:00:00Z")!, elapsed: .zero)

    private func started() -> ServiceState {
        var status = fresh
        status.record(
            .started([
                (Self.transient, instant("2026-05-13T12:05:00Z")), (Self.dormant, instant("2026-05-14T00:00:00Z")),
            ]), at: now)
        return status
    }

    private var fresh: ServiceState {
        ServiceState(jobs: [Self.transient, Self.dormant], version: "1", host: "h", startedAt: now)
    }

    @Test func saysNothingBeforeTheStart() {
        var status = fresh
        status.record(.fireTimeArmed(job: Self.transient.name, instant("2026-05-13T12:05:00Z")), at: now)
        #expect(status.statusLine == "")
    }

    @Test func saysWhatComesNextAndHowTheLastRunsEnded() {
        var status = started()
        #expect(status.statusLine == "next: transient 12:05:00Z, dormant 00:00:00Z")
        status.record(.fireTimeArmed(job: Self.transient.name, instant("2026-05-13T12:10:00Z")), at: now)
        status.record(
            .attemptStarted(
                job: Self.transient.name, scheduledAt: instant("2026-05-13T12:05:00Z"), origin: .schedule, number: 1),
            at: now)
        #expect(status.statusLine == "running: transient; next: transient 12:10:00Z, dormant 00:00:00Z")
        status.record(.runConcluded(report(Self.transient, removed: 2900)), at: now)
        #expect(
            status.statusLine
                == "next: transient 12:10:00Z, dormant 00:00:00Z; last: transient succeeded, 2,900 removed")
    }

    @Test func saysWhatIsWrongUntilItIsRight() {
        var status = started()
        status.record(
            .attemptEnded(report(Self.transient, failure: .serverReadOnly), nextAfter: .seconds(2)), at: now)
        #expect(status.statusLine.contains("; wrong: transient: \(RunFailure.serverReadOnly); retrying at 12:00:02Z"))
        status.record(.runConcluded(report(Self.transient, failure: .serverReadOnly)), at: now)
        #expect(status.statusLine.contains("last: transient failed, 0 removed; wrong: transient: "))
        status.record(.runConcluded(report(Self.transient)), at: now)
        #expect(!status.statusLine.contains("wrong"))
    }

    @Test func namesTheDayOfAFireTimeThatIsFarAway() {
        var status = started()
        status.record(.fireTimeArmed(job: Self.dormant.name, instant("2027-01-01T00:00:00Z")), at: now)
        #expect(status.statusLine == "next: transient 12:05:00Z, dormant 2027-01-01T00:00:00Z")
        status.record(.fireTimeArmed(job: Self.transient.name, nil), at: now)
        #expect(status.statusLine == "next: dormant 00:00:00Z")
        status.record(.fireTimeArmed(job: Self.dormant.name, nil), at: now)
        #expect(status.statusLine == "next: nothing, every job is disabled")
    }

    @Test func saysThatAnotherProcessHasTheRun() {
        var status = started()
        var held = report(Self.transient)
        held.outcome = .skipped
        held.skip = .held(by: "another", lookAgainAfter: .seconds(60))
        let attempt = ServiceEvent.attemptStarted(
            job: Self.transient.name, scheduledAt: instant("2026-05-13T12:05:00Z"), origin: .schedule, number: 1)
        status.record(attempt, at: now)
        status.record(.attemptEnded(held, nextAfter: .seconds(61)), at: now)
        #expect(
            status.statusLine == "running in another process: transient; next: transient 12:05:00Z, dormant 00:00:00Z")
        status.record(attempt, at: now)
        #expect(status.statusLine == "running: transient; next: transient 12:05:00Z, dormant 00:00:00Z")
        status.record(.attemptEnded(held, nextAfter: .seconds(61)), at: now)
        status.record(.runConcluded(held), at: now)
        #expect(status.statusLine.hasSuffix("; last: transient left to another process"))
        held.skip = .answered
        status.record(.runConcluded(held), at: now)
        #expect(status.statusLine.hasSuffix("; last: transient left to another process"))
    }

    @Test func saysThatAConfigurationWasRefusedUntilOneIsInForce() {
        var status = started()
        status.record(.runConcluded(report(Self.transient, removed: 1)), at: now)
        let before = status.statusLine
        status.record(.reloadFailed("line 3: no such key"), at: now)
        #expect(status.statusLine == before + "; wrong: configuration, the old one is in force: line 3: no such key")
        status.record(.reloaded([(Self.transient, instant("2026-05-13T13:00:00Z"))], waitingForRestart: []), at: now)
        #expect(status.statusLine == "next: transient 13:00:00Z; last: transient succeeded, 1 removed")
    }

    @Test func saysThatItStops() {
        var status = started()
        status.record(.stopping, at: now)
        #expect(status.statusLine == "stopping")
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
            if verdict != nil { written.append(minute) }
        }
        #expect(Array(written.prefix(7)) == [0, 1, 3, 4, 12, 28, 60])
        #expect(written.count < 32)
        let end = failures.runWentWell()
        #expect(end?.attempts == 24 * 60 && end?.since == start)
        let again = failures.runWentWell()
        #expect(again == nil)
    }

    @Test func writesAnotherCauseAtOnce() {
        var failures = RepeatedFailures()
        let verdicts = ["a", "a", "b", "a"].map { failures.attemptFailed(cause: $0, at: start, wasLast: true) }
        let first = RepeatedFailures.Series(since: start)
        #expect(verdicts == [first, nil, first, first])
    }

    @Test func writesTheFirstRunThatFailsAfterItsAttempts() {
        var failures = RepeatedFailures()
        let verdicts = [false, false, true, false, true].map {
            failures.attemptFailed(cause: "a", at: start, wasLast: $0)
        }
        #expect(verdicts == [.init(since: start), nil, .init(attempts: 3, since: start), nil, nil])
    }

    @Test func isNotSilencedByAClockThatWasSetBack() {
        var failures = RepeatedFailures()
        _ = failures.attemptFailed(cause: "a", at: start, wasLast: true)
        let verdict = failures.attemptFailed(cause: "a", at: start - .seconds(86_400), wasLast: true)
        #expect(verdict != nil)
    }
}
