import CleanupSchedule
@testable import SessionCleanup
import Testing
import Time

/// The table in docs/design.md.
@Suite struct ClaimDecisionTests {
    private static let alive = Duration.seconds(40)
    private static let previous = ["ours-1", "ours-2"]

    private static func row(
        _ status: String = "running", by owner: String = "other", origin: RunOrigin = .schedule,
        leaseLeft: Duration = alive, isAhead: Bool = false
    ) -> ClaimCandidate {
        ClaimCandidate(
            runID: 1, isSameFireTime: true, status: status, origin: origin.rawValue, claimedBy: owner,
            cutoff: UTCInstant(secondsSinceEpoch: 0), attempts: 1, rowsDeleted: 0, batches: 0, leaseLeft: leaseLeft,
            isAhead: isAhead)
    }

    /// The job's run for another fire time.
    private static let neighbor: ClaimCandidate = {
        var neighbor = Self.row(by: "neighbor")
        neighbor.runID = 2
        neighbor.isSameFireTime = false
        return neighbor
    }()

    private static func decide(_ candidates: ClaimCandidate...) -> ClaimDecision {
        ClaimDecision(candidates, token: "ours-3", previous: previous)
    }

    @Test func aRowWithOurTokenIsOurs() {
        #expect(Self.decide(Self.row(by: "ours-3")) == .own(Self.row(by: "ours-3")))
    }

    @Test func withoutARowNothingWasMissedOrAnotherRunIsUnderWay() {
        #expect(Self.decide() == .skip(.held(by: "another process", lookAgainAfter: .seconds(1))))
        #expect(Self.decide(Self.neighbor) == .skip(.held(by: "neighbor", lookAgainAfter: Self.alive)))
    }

    @Test func aRunningRowIsLeftToAnOwnerWhoIsAlive() {
        #expect(Self.decide(Self.row()) == .skip(.held(by: "other", lookAgainAfter: Self.alive)))
        for left in [Duration.zero, .seconds(-1)] {
            let dead = Self.row(leaseLeft: left)
            #expect(Self.decide(dead) == .reopen(dead, keepsCutoff: true))
        }
    }

    @Test(arguments: previous)
    func whatOurEarlierAttemptsLeftIsGoneOnWith(owner: String) {
        for status in ["running", "failed", "timed_out", "canceled", "abandoned"] {
            let row = Self.row(status, by: owner)
            #expect(Self.decide(row) == .reopen(row, keepsCutoff: true), "\(status)")
        }
        for status in ["succeeded", "capped"] {
            #expect(Self.decide(Self.row(status, by: owner)) == .ended(Self.row(status, by: owner)), "\(status)")
        }
    }

    @Test(arguments: ["canceled", "abandoned"])
    func whatWasCutShortIsGoneOnWith(status: String) {
        #expect(Self.decide(Self.row(status)) == .reopen(Self.row(status), keepsCutoff: true))
        #expect(
            Self.decide(Self.neighbor, Self.row(status))
                == .skip(.held(by: "neighbor", lookAgainAfter: Self.alive)))
        #expect(Self.decide(Self.row(status, origin: .once)) == .skip(.answered))
    }

    /// The process that waited to retry may be gone.
    @Test(arguments: ["failed", "timed_out"])
    func aRunBetweenTwoAttemptsIsResumed(status: String) {
        var row = Self.row(status)
        row.waitsToRetry = true
        #expect(Self.decide(row) == .reopen(row, keepsCutoff: true))
        #expect(Self.decide(Self.neighbor, row) == .skip(.held(by: "neighbor", lookAgainAfter: Self.alive)))
    }

    @Test(arguments: ["succeeded", "capped", "failed", "timed_out"])
    func anAnswerCountsUnlessItWasGivenBeforeItsTime(status: String) {
        #expect(Self.decide(Self.row(status)) == .skip(.answered))
        let early = Self.row(status, isAhead: true)
        #expect(Self.decide(early) == .reopen(early, keepsCutoff: false))
        #expect(Self.decide(early, Self.neighbor) == .skip(.held(by: "neighbor", lookAgainAfter: Self.alive)))
        #expect(Self.decide(Self.row(status, origin: .once, isAhead: true)) == .skip(.answered))
    }
}
