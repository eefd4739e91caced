import Postgres

/// The due rows that a run leaves: skipped ones, which were locked, and refused ones.
///
/// Counts are those of the last pass over the table, since a row that was locked in one pass may be deleted in the next.
struct LeftRows: Sendable {
    /// Why the database would not delete a row.
    enum Cause: Hashable, Sendable {
        case error(ServerMessage)
        /// A BEFORE DELETE trigger or a rule kept it.
        case kept
        /// Its deletion alone takes longer than a transaction may.
        case timeLimit
    }

    /// Rows that are known to be refused are not tried again in a later pass. Bounded: 10,000 take 160 KB.
    private var known: Set<RowAddress> = []
    private static let mostKnown = 10_000
    /// The first 10,000 rows that this pass found refused: the other end of the walk may find the same ones.
    private var met: Set<RowAddress> = []
    /// Refused rows of this pass that are not in `met`.
    private var unknownRefused = 0
    private(set) var skipped = 0
    /// Rows of this pass whose deletion waited for a lock until the time limit.
    private var waits = 0
    private var causes: [Cause: Int] = [:]
    /// Rows refused one after the other, with nothing deleted between.
    private var streak = 0
    private var isAtOtherEnd = false
    /// True if the walk gave up at both ends of the due rows.
    private(set) var hasGivenUp = false

    /// After this many consecutive refusals in the order of age, more of the same kind are expected to follow.
    private static let mostInARow = 1000
    /// After this many waits in vain, other locks are expected to be held for long too.
    private static let mostLongWaits = 20

    var refused: Int { met.count + unknownRefused }
    var hasRefused: Bool { !causes.isEmpty }
    var isEmpty: Bool { refused == 0 && skipped == 0 }
    /// True if the walk has to stop, or to begin at the other end.
    var isBlocked: Bool { streak >= Self.mostInARow }
    /// True if the rest of the pass should wait only briefly for locks.
    var hasWaitedEnough: Bool { waits >= Self.mostLongWaits }
    /// True if a row was refused because another row of the table refers to it: it can be deleted after that one.
    private(set) var refersToItself = false

    mutating func beginPass() {
        met = []
        unknownRefused = 0
        skipped = 0
        waits = 0
        streak = 0
        isAtOtherEnd = false
    }

    mutating func beginOtherEnd() {
        streak = 0
        isAtOtherEnd = true
    }

    /// Returns the rows without those that are known to be refused, which it counts.
    mutating func withoutRefused(_ rows: ArraySlice<RowAddress>) -> ArraySlice<RowAddress> {
        guard !known.isEmpty else { return rows }
        return rows.filter { row in
            guard known.contains(row) else { return true }
            met.insert(row)
            return false
        }[...]
    }

    /// A batch was committed: rows that it did not delete are locked, or moved, or kept.
    mutating func passed(_ rows: ArraySlice<RowAddress>, _ batch: BatchRunner.Batch) {
        if batch.deleted > 0 { streak = 0 }
        for row in batch.kept { refuse(row, .kept) }
        skipped += rows.count - batch.deleted - batch.kept.count
    }

    /// A row cannot be deleted without a longer wait for a lock. The walk continues behind any number of such rows.
    mutating func skip() {
        skipped += 1
        waits += 1
    }

    /// - Parameter mayPass: true if the row may be deleted once others are: the next pass tries it again.
    mutating func refuse(_ row: RowAddress, _ cause: Cause, mayPass: Bool = false) {
        if mayPass { refersToItself = true }
        // Eight causes are enough: a later one says nothing new.
        if causes[cause] != nil || causes.count < 8 { causes[cause, default: 0] += 1 }
        guard !met.contains(row) else { return }
        if known.count < Self.mostKnown, !mayPass { known.insert(row) }
        if met.count < Self.mostKnown { met.insert(row) } else { unknownRefused += 1 }
        streak += 1
        if isBlocked, isAtOtherEnd { hasGivenUp = true }
    }

    /// Returns what the run fails with, or `nil` if no row was refused.
    func failure(_ target: Target, in session: DatabaseSession) async throws(RunFailure) -> RunFailure? {
        guard refused > 0, let cause = causes.max(by: { $0.value < $1.value })?.key else { return nil }
        return .rowsRefused(
            target.table, count: refused, try await refusal(cause, target, in: session), hasGivenUp: hasGivenUp)
    }

    /// Names the cause by what the catalog knows: a name in an error may be forged by the application's code.
    private func refusal(
        _ cause: Cause, _ target: Target, in session: DatabaseSession
    ) async throws(RunFailure) -> Refusal {
        switch cause {
        case .timeLimit: return .timeLimit
        case .kept:
            guard let oid = target.survey.oid else { return .trigger([]) }
            let names = try await session.read(SurveySQL.keepers(of: oid))
            return .trigger(try names.reading { try $0.rows.map { try $0.text("name") } })
        case .error(let message):
            guard let name = message.constraint else { return .error(message.sqlState) }
            let known = try await session.read(SurveySQL.knows(constraint: name)).reading {
                try $0.onlyRow().integer("known")
            }
            return known > 0 ? .constraint(name, message.sqlState) : .error(message.sqlState)
        }
    }
}
