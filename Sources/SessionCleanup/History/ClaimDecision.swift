import Postgres
import Time

/// A run that this process owns, with its row as it was when the process became the owner.
struct RunClaim: Hashable, Sendable {
    let run: RecordedRun
    /// The token in the row, which makes this attempt, and no other, the owner.
    let token: String
    /// The time of the last renewal of the heartbeat.
    var renewed: ContinuousClock.Instant = .now

    var runID: Int { run.runID }
}

/// A row of the history, as a process that wants the run sees it.
struct ClaimCandidate: Hashable, Sendable {
    var run: RecordedRun
    /// True for the row of the fire time itself; false for another run of the job that is under way.
    var isSameFireTime: Bool
    /// The rest of its owner's lease; zero or negative if the owner counts as dead.
    var leaseLeft: Duration
    /// True if the run began before its fire time by the database's clock: the host that began it had a fast clock.
    var isAhead: Bool
    /// The time until the next attempt, if an attempt failed and another one was to follow; negative when it is overdue.
    var retryWait: Duration?

    fileprivate var held: ClaimDecision {
        // A run of `--once` has no later attempt to renew its claim, and ends soon: look again within 4 s.
        .skip(.held(by: run.claimedBy, lookAgainAfter: run.origin == .once ? min(leaseLeft, .seconds(4)) : leaseLeft))
    }
}

/// The decision that follows from the history's answer to a claim.
enum ClaimDecision: Hashable, Sendable {
    /// The row is ours, new or as we left it.
    case own(RecordedRun)
    /// The row exists, and this attempt may take it over or resume it.
    case reopen(RecordedRun, keepsCutoff: Bool)
    /// An earlier attempt of this process ended the run, and the answer to that was lost.
    case ended(RecordedRun, Outcome)
    /// Nothing was inserted, and the row in the way has ended since, or is being closed: claim again.
    case claimAgain
    case skip(RunReport.Skip)

    /// - Parameters:
    ///   - token: the token of this attempt.
    ///   - previous: the tokens by which the attempts before this one, in this process, owned the run or tried to.
    init(_ candidates: [ClaimCandidate], token: String, previous: [String]) {
        let other = candidates.first { !$0.isSameFireTime && $0.run.outcome == nil }
        if let other, other.leaseLeft <= .zero {
            // Its owner is dead, and another claim is closing it at this moment.
            self = .claimAgain
            return
        }
        guard let row = candidates.first(where: \.isSameFireTime) else {
            self = other?.held ?? .claimAgain
            return
        }
        let run = row.run
        let resumed = other?.held ?? .reopen(run, keepsCutoff: true)
        switch (run.outcome, isOurs: previous.contains(run.claimedBy)) {
        case _ where run.claimedBy == token: self = .own(run)
        case (nil, let isOurs): self = isOurs || row.leaseLeft <= .zero ? .reopen(run, keepsCutoff: true) : row.held
        case (let outcome?, true) where outcome == .succeeded || outcome == .capped: self = .ended(run, outcome)
        case (_, true): self = resumed
        case _ where run.origin == .once: self = .skip(.answered)
        // A shutdown ended it, or its owner died: any process resumes it.
        case (.canceled, _), (.abandoned, _): self = resumed
        default:
            if let wait = row.retryWait {
                // Until `retryWait` has passed, the run is left to the process that waits to make its next attempt.
                self = wait <= .zero ? resumed : other?.held ?? .skip(.held(by: run.claimedBy, lookAgainAfter: wait))
            } else if row.isAhead {
                // The row does not answer the fire time: a host's fast clock must not suppress a run.
                self = other?.held ?? .reopen(run, keepsCutoff: false)
            } else {
                self = .skip(.answered)
            }
        }
    }
}

extension ClaimCandidate {
    /// Reads a row of `HistorySQL.claim`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        self.init(
            run: try RecordedRun(row), isSameFireTime: try row.bool("is_same_fire_time"),
            leaseLeft: .milliseconds(try row.integer("lease_left_ms")), isAhead: try row.bool("is_ahead"),
            retryWait: try row.millisecondsIfPresent("retry_wait_ms"))
    }
}
