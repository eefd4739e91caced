import Postgres
import Time

/// A run that this process owns, as its row was when it became the owner.
struct RunClaim: Hashable, Sendable {
    let run: RecordedRun
    /// Makes this attempt, and no other, the owner.
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
    /// The time for which its owner still counts as alive; not above zero when it counts as dead.
    var leaseLeft: Duration
    /// True if it was made before its fire time by the database's clock: by a host whose clock ran ahead.
    var isAhead: Bool
    /// The time until the next attempt, if an attempt failed and another one was to follow; negative when it is overdue.
    var retryWait: Duration?

    var isRunning: Bool { run.status == .running }

    fileprivate func isOwned(by tokens: [String]) -> Bool { tokens.contains(run.claimedBy) }

    /// True if the run has to be resumed by any process: a shutdown ended it, or its owner died.
    fileprivate var wasCutShort: Bool { run.status == .ended(.canceled) || run.status == .ended(.abandoned) }

    /// The run is under way elsewhere.
    fileprivate var held: ClaimDecision {
        // No later attempt renews the claim of `--once`: its end is near, so looking again after seconds is enough.
        let wait = run.origin == .once ? min(leaseLeft, .seconds(4)) : leaseLeft
        return .skip(.held(by: run.claimedBy, lookAgainAfter: wait))
    }
}

/// The consequence of what the history answered to a claim.
enum ClaimDecision: Hashable, Sendable {
    /// The row is ours, new or as we left it.
    case own(RecordedRun)
    /// The row is there and may become ours.
    case reopen(RecordedRun, keepsCutoff: Bool)
    /// This process ended the run before, and the answer was lost.
    case ended(RecordedRun, Outcome)
    /// Nothing was inserted, and what stood in the way has ended since: claim again.
    case claimAgain
    /// No run for us.
    case skip(RunReport.Skip)

    /// - Parameters:
    ///   - token: the token of this attempt.
    ///   - previous: the tokens by which the attempts before this one, in this process, owned the run or tried to.
    init(_ candidates: [ClaimCandidate], token: String, previous: [String]) {
        let other = candidates.first { !$0.isSameFireTime && $0.isRunning }
        if let other, other.leaseLeft <= .zero {
            // Its owner is dead, and another claim is closing it at this moment.
            self = .claimAgain
            return
        }
        guard let row = candidates.first(where: \.isSameFireTime) else {
            self = other?.held ?? .claimAgain
            return
        }
        if row.isOwned(by: [token]) {
            self = .own(row.run)
        } else if row.isRunning {
            let mayTake = row.isOwned(by: previous) || row.leaseLeft <= .zero
            self = mayTake ? .reopen(row.run, keepsCutoff: true) : row.held
        } else if row.isOwned(by: previous) {
            if let outcome = row.run.status.outcome, outcome == .succeeded || outcome == .capped {
                self = .ended(row.run, outcome)
            } else {
                self = other?.held ?? .reopen(row.run, keepsCutoff: true)
            }
        } else if row.run.origin == .once {
            self = .skip(.answered)
        } else if row.wasCutShort || row.retryWait.map({ $0 <= .zero }) ?? false {
            self = other?.held ?? .reopen(row.run, keepsCutoff: true)
        } else if let wait = row.retryWait {
            // The process that is to make the next attempt is given until then.
            self = other?.held ?? .skip(.held(by: row.run.claimedBy, lookAgainAfter: wait))
        } else if row.isAhead {
            // Not an answer: a clock that ran ahead must silence nothing.
            self = other?.held ?? .reopen(row.run, keepsCutoff: false)
        } else {
            self = .skip(.answered)
        }
    }
}

extension ClaimCandidate {
    /// Reads a row of `HistorySQL.claim`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        run = try RecordedRun(row)
        isSameFireTime = try row.bool("is_same_fire_time")
        leaseLeft = .milliseconds(try row.integer("lease_left_ms"))
        isAhead = try row.bool("is_ahead")
        if try row.textIfPresent("retry_wait_ms") != nil { retryWait = .milliseconds(try row.integer("retry_wait_ms")) }
    }
}
