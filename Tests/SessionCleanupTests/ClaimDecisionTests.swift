import CleanupSchedule
@testable import SessionCleanup
import Testing
import Time

/// The table of decisions in docs/design.md.
@Suite struct ClaimDecisionTests {
    private static let alive = Duration.seconds(40)
    private static let previous = ["ours-1", "ours-2"]

    private static func row(
        _ outcome: Outcome? = nil, by owner: String = "other", origin: RunOrigin = .schedule,
        leaseLeft: Duration = alive, isAhead: Bool = false, retryWait: Duration? = nil
    ) -> ClaimCandidate {
        let start = UTCInstant(secondsSinceEpoch: 0)
        let run = RecordedRun(
            runID: 1, job: "j", outcome: outcome, origin: origin, scheduledAt: start, startedAt: start,
            heartbeatAt: start, finishedAt: nil, cutoff: start, rowsDeleted: 0, rowsSkipped: 0, rowsRefused: 0,
            batches: 0, attempts: 1, claimedBy: owner)
        return ClaimCandidate(
            run: run, isSameFireTime: true, leaseLeft: leaseLeft, isAhead: isAhead, retryWait: retryWait)
    }

    /// The job's run for another fire time.
    private static func neighbor(_ origin: RunOrigin = .schedule, leaseLeft: Duration = alive) -> ClaimCandidate {
        var neighbor = Self.row(by: "neighbor", origin: origin, leaseLeft: leaseLeft)
        neighbor.run.runID = 2
        neighbor.isSameFireTime = false
        return neighbor
    }

    private static let isHeldByNeighbor = ClaimDecision.skip(.held(by: "neighbor", lookAgainAfter: alive))

    private static func decide(_ candidates: ClaimCandidate...) -> ClaimDecision {
        ClaimDecision(candidates, token: "ours-3", previous: previous)
    }

    @Test func aRowWithOurTokenIsOurs() {
        #expect(Self.decide(Self.row(by: "ours-3")) == .own(Self.row(by: "ours-3").run))
    }

    @Test func withoutARowAnotherRunIsUnderWayOrTheClaimIsRepeated() {
        #expect(Self.decide() == .claimAgain)
        #expect(Self.decide(Self.neighbor()) == Self.isHeldByNeighbor)
    }

    /// A run of `--once` ends soon, and then no process renews its claim.
    @Test func aRunOfOnceIsLookedAtAgainSoon() {
        #expect(
            Self.decide(Self.neighbor(.once)) == .skip(.held(by: "neighbor", lookAgainAfter: .seconds(4))))
        #expect(
            Self.decide(Self.neighbor(.once, leaseLeft: .seconds(2)))
                == .skip(.held(by: "neighbor", lookAgainAfter: .seconds(2))))
    }

    @Test func aRunningRowIsLeftToAnOwnerWhoIsAlive() {
        #expect(Self.decide(Self.row()) == .skip(.held(by: "other", lookAgainAfter: Self.alive)))
        for left in [Duration.zero, .seconds(-1)] {
            let dead = Self.row(leaseLeft: left)
            #expect(Self.decide(dead) == .reopen(dead.run, keepsCutoff: true))
        }
    }

    @Test(arguments: previous)
    func theRunOfOurEarlierAttemptIsResumed(owner: String) {
        for outcome in [Outcome.failed, .timedOut, .canceled, .abandoned] {
            let row = Self.row(outcome, by: owner, retryWait: .seconds(10))
            #expect(Self.decide(row) == .reopen(row.run, keepsCutoff: true), "\(outcome)")
            #expect(Self.decide(row, Self.neighbor()) == Self.isHeldByNeighbor, "\(outcome)")
        }
        let running = Self.row(by: owner)
        #expect(Self.decide(running) == .reopen(running.run, keepsCutoff: true))
        for outcome in [Outcome.succeeded, .capped] {
            let row = Self.row(outcome, by: owner)
            #expect(Self.decide(row) == .ended(row.run, outcome), "\(outcome)")
        }
    }

    @Test(arguments: [Outcome.canceled, .abandoned])
    func aRunThatWasCutShortIsResumed(outcome: Outcome) {
        let row = Self.row(outcome)
        #expect(Self.decide(row) == .reopen(row.run, keepsCutoff: true))
        #expect(Self.decide(Self.neighbor(), row) == Self.isHeldByNeighbor)
        #expect(Self.decide(Self.row(outcome, origin: .once)) == .skip(.answered))
    }

    /// The process that waited to retry may be gone.
    @Test(arguments: [Outcome.failed, .timedOut])
    func aRunBetweenTwoAttemptsIsResumedOnceTheNextIsDue(outcome: Outcome) {
        let due = Self.row(outcome, retryWait: .zero)
        #expect(Self.decide(due) == .reopen(due.run, keepsCutoff: true))
        #expect(Self.decide(Self.neighbor(), due) == Self.isHeldByNeighbor)
        let early = Self.row(outcome, retryWait: .seconds(5))
        #expect(Self.decide(early) == .skip(.held(by: "other", lookAgainAfter: .seconds(5))))
        #expect(Self.decide(Self.neighbor(), early) == Self.isHeldByNeighbor)
    }

    @Test(arguments: [Outcome.succeeded, .capped, .failed, .timedOut])
    func anAnswerCountsUnlessItWasGivenBeforeItsTime(outcome: Outcome) {
        #expect(Self.decide(Self.row(outcome)) == .skip(.answered))
        let early = Self.row(outcome, isAhead: true)
        #expect(Self.decide(early) == .reopen(early.run, keepsCutoff: false))
        #expect(Self.decide(early, Self.neighbor()) == Self.isHeldByNeighbor)
        #expect(Self.decide(Self.row(outcome, origin: .once, isAhead: true)) == .skip(.answered))
    }
}
