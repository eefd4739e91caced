import Postgres
import Time

/// A run's row in the history, for as long as this process owns the run.
struct RunClaim: Hashable, Sendable {
    let runID: Int64
    /// What makes this attempt, and no other, the owner.
    let token: String
    /// Fixed by whoever claimed the run first.
    let cutoff: UTCInstant
    /// This one included.
    let attempts: Int
    /// What the run's earlier attempts did, whoever made them.
    let rowsDeleted: Int
    let batches: Int
    /// When the heartbeat was renewed last.
    var renewed: ContinuousClock.Instant = .now
}

/// A row of the history, as a process that wants the run sees it.
struct ClaimCandidate: Hashable, Sendable {
    var runID: Int64
    /// Whether it is the row of the fire time itself, or else of another run of the job that is under way.
    var isSameFireTime: Bool
    var status: String
    var origin: String
    var claimedBy: String
    var cutoff: UTCInstant
    var attempts: Int
    var rowsDeleted: Int
    var batches: Int
    /// How long its owner still counts as alive; not above zero when it counts as dead.
    var leaseLeft: Duration
    /// Whether it was made before its fire time by the database's clock: by a host whose clock ran ahead.
    var isAhead: Bool
    /// True if an attempt failed for a transient cause and another one was to follow.
    var waitsToRetry = false

    var isRunning: Bool { status == "running" }
    var wasCutShort: Bool {
        status == Outcome.canceled.rawValue || status == Outcome.abandoned.rawValue || waitsToRetry
    }

    func claim(token: String) -> RunClaim {
        RunClaim(
            runID: runID, token: token, cutoff: cutoff, attempts: attempts, rowsDeleted: rowsDeleted, batches: batches)
    }
}

/// What follows from what the history said to a claim.
enum ClaimDecision: Hashable, Sendable {
    /// The row is ours, new or as we left it.
    case own(ClaimCandidate)
    /// The row is there and may become ours.
    case reopen(ClaimCandidate, keepsCutoff: Bool)
    /// This process ended the run before, and never heard the answer.
    case ended(ClaimCandidate)
    /// No run for us.
    case skip(RunReport.Skip)

    /// - Parameters:
    ///   - token: what this attempt would own the run by.
    ///   - previous: what the attempts before this one, in this process, owned it by or tried to.
    init(_ candidates: [ClaimCandidate], token: String, previous: [String]) {
        let other = candidates.first { !$0.isSameFireTime && $0.isRunning }
        guard let row = candidates.first(where: \.isSameFireTime) else {
            // Nothing was inserted, and what stood in the way has ended since: look again soon.
            self = .skip(
                other.map { .held(by: $0.claimedBy, lookAgainAfter: $0.leaseLeft) }
                    ?? .held(by: "another process", lookAgainAfter: .seconds(1)))
            return
        }
        if row.claimedBy == token {
            self = .own(row)
        } else if row.isRunning {
            let mayTake = previous.contains(row.claimedBy) || row.leaseLeft <= .zero
            self =
                mayTake
                ? .reopen(row, keepsCutoff: true) : .skip(.held(by: row.claimedBy, lookAgainAfter: row.leaseLeft))
        } else if previous.contains(row.claimedBy) {
            self = Outcome(rawValue: row.status)?.isFinal ?? true ? .ended(row) : .reopen(row, keepsCutoff: true)
        } else if row.wasCutShort, row.origin != RunOrigin.once.rawValue {
            // By the end or the death of its owner: no answer yet, and the run that is to be gone on with.
            self =
                other.map { .skip(.held(by: $0.claimedBy, lookAgainAfter: $0.leaseLeft)) }
                ?? .reopen(row, keepsCutoff: true)
        } else if row.isAhead, row.origin != RunOrigin.once.rawValue {
            // An answer given before its time is none: a clock that ran ahead must silence nothing.
            self =
                other.map { .skip(.held(by: $0.claimedBy, lookAgainAfter: $0.leaseLeft)) }
                ?? .reopen(row, keepsCutoff: false)
        } else {
            self = .skip(.answered)
        }
    }
}

extension Outcome {
    /// Whether an attempt that ended so is the run's last.
    fileprivate var isFinal: Bool {
        switch self {
        case .succeeded, .capped: true
        case .failed, .timedOut, .canceled, .abandoned, .skipped: false
        }
    }
}

extension ClaimCandidate {
    /// Reads a row of `HistoryStatements.claim`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        runID = Int64(try row.integer("run_id"))
        isSameFireTime = try row.bool("is_same_fire_time")
        status = try row.text("status")
        origin = try row.text("origin")
        claimedBy = try row.text("claimed_by")
        cutoff = try row.instant("cutoff_at")
        attempts = try row.integer("attempts")
        rowsDeleted = try row.integer("rows_deleted")
        batches = try row.integer("batches")
        leaseLeft = .milliseconds(try row.integer("lease_left_ms"))
        isAhead = try row.bool("is_ahead")
        waitsToRetry = try row.bool("waits_to_retry")
    }
}
