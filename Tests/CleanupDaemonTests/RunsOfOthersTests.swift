@testable import CleanupDaemon
@testable import SessionCleanup
import Testing
import Time

/// The reads of the history for the page: a process that is alone makes one and no more.
@Suite struct RunsOfOthersTests {
    private static let start = UTCInstant(rfc3339: "2026-05-13T12:00:00Z")!

    /// A run that has ended. When it began, the history's last run had ended at `last`, in seconds.
    private static func run(after last: Int?, end: Int?, skipped: Bool = false) -> RunReport {
        var report = RunReport(
            job: "j", outcome: skipped ? .skipped : .succeeded, scheduledAt: start, startedAt: start, finishedAt: start)
        report.earlierRuns = EarlierRuns(lastEnd: last.map { start + .seconds($0) }, lastSuccess: nil)
        report.recordedEnd = end.map { start + .seconds($0) }
        return report
    }

    private static func recent(end: Int) -> RecentRuns {
        let at = start + .seconds(end)
        let run = RecordedRun(
            runID: 1, job: "j", outcome: .succeeded, origin: .schedule, scheduledAt: at, startedAt: at,
            heartbeatAt: at, finishedAt: at, cutoff: at, rowsDeleted: 0, rowsSkipped: 0, rowsRefused: 0, batches: 0,
            attempts: 1, claimedBy: "x")
        return RecentRuns(runs: [run], deletions: [:])
    }

    @Test func aProcessThatIsAloneReadsOnce() {
        let others = RunsOfOthers()
        #expect(others.areUnknown(after: Self.run(after: nil, end: 1)))
        others.became(Self.recent(end: 1), of: "j")
        for second in 1..<1000 {
            #expect(!others.areUnknown(after: Self.run(after: second, end: second + 1), now: .now + .seconds(second)))
        }
    }

    @Test func aRunOfAnotherProcessIsReadWithinAMinute() {
        let (others, now) = (RunsOfOthers(), ContinuousClock.now)
        _ = others.areUnknown(after: Self.run(after: nil, end: 1), now: now)
        others.became(Self.recent(end: 1), of: "j", now: now)
        // Another process made the run that ended after 5 s, and later all runs.
        #expect(!others.areUnknown(after: Self.run(after: 5, end: 6), now: now + .seconds(59)))
        #expect(others.areUnknown(after: Self.run(after: 6, end: 7), now: now + .seconds(60)), "it is not forgotten")
        others.became(Self.recent(end: 7), of: "j", now: now + .seconds(60))
        #expect(!others.areUnknown(after: Self.run(after: 7, end: nil, skipped: true), now: now + .seconds(300)))
        #expect(others.areUnknown(after: Self.run(after: 300, end: nil, skipped: true), now: now + .seconds(301)))
    }

    @Test func nothingIsReadWithoutAHistory() {
        var report = Self.run(after: nil, end: nil)
        report.earlierRuns = nil
        #expect(!RunsOfOthers().areUnknown(after: report))
    }
}
