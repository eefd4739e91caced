@testable import SessionCleanup
import Testing
import Time

/// The report of a run of several attempts, which is made of theirs.
@Suite struct RunReportTests {
    private static let scheduled = UTCInstant(secondsSinceEpoch: 1_778_673_900)

    /// The report of an attempt of one second; `second` counts from the fire time to its start.
    private static func attempt(
        at second: Int, failing: Bool = true, deleted: Int = 0, tokens: [String] = []
    ) -> RunReport {
        let start = scheduled + .seconds(second)
        var report = RunReport(
            job: "job", outcome: failing ? .failed : .skipped, scheduledAt: scheduled, startedAt: start,
            finishedAt: start + .seconds(1))
        report.failure = failing ? .serverReadOnly : nil
        report.skip = failing ? nil : .held(by: "other", lookAgainAfter: .seconds(60))
        report.progress.rowsDeleted = deleted
        report.claimTokens = tokens
        return report
    }

    /// One that found only that another process has the run.
    private static func look(at second: Int) -> RunReport { attempt(at: second, failing: false) }

    @Test(arguments: [
        // Attempts, in order; the number of those that count; the seconds from the first of these to the last attempt.
        ([attempt(at: 1), attempt(at: 4)], 2, 3), ([look(at: 1), attempt(at: 62)], 1, 0),
        ([look(at: 1), look(at: 62), look(at: 123), attempt(at: 184), attempt(at: 186)], 2, 2),
        ([attempt(at: 1), look(at: 4), attempt(at: 65)], 2, 64),
        ([attempt(at: 1), look(at: 4), look(at: 65), attempt(at: 126), attempt(at: 128)], 3, 127),
    ])
    func countsAttemptsFromTheFirstThatWasNoLook(attempts: [RunReport], count: Int, seconds: Int) throws {
        let last = try #require(attempts.last)
        let total = attempts.dropFirst().reduce(attempts[0]) { $1.following($0) }
        #expect(total.attempts == count)
        #expect(total.startedAt == last.startedAt - .seconds(seconds))
        #expect(total.untilLastAttempt == .seconds(seconds))
        #expect(total.lastAttemptDuration == .seconds(1))
        #expect(total.skip == nil && total.failure != nil && total.finishedAt == last.finishedAt)
    }

    @Test func addsWhatItsAttemptsDidWhereNoHistoryHasCountedIt() {
        let first = Self.attempt(at: 1, deleted: 300)
        #expect(Self.attempt(at: 4, deleted: 20).following(first).progress.rowsDeleted == 320)
        #expect(
            Self.attempt(at: 4, deleted: 20).following(Self.look(at: 3).following(first)).progress.rowsDeleted == 320)
        var counted = Self.attempt(at: 4, deleted: 320)
        (counted.runID, counted.attempts) = (7, 5)
        let total = counted.following(first)
        #expect(total.progress.rowsDeleted == 320 && total.attempts == 5 && total.startedAt == first.startedAt)
    }

    /// A run may have attempts for months.
    @Test func keepsABoundedNumberOfClaims() {
        let total = (1...100).map { Self.attempt(at: $0, tokens: ["token-\($0)"]) }.reduce(Self.look(at: 0)) {
            $1.following($0)
        }
        #expect(total.claimTokens == (85...100).map { "token-\($0)" })
        #expect(total.attempts == 100)
    }
}
