import Postgres

/// Executes one batch at a time, and finds out what stood in the way of one that failed.
struct BatchRunner: Sendable {
    let run: CleanupRun
    let target: Target
    let session: DatabaseSession
    /// `nil` where there is no history.
    var claim: RunClaim?
    /// Consecutive batches that failed because a row was being moved to another partition (40001). Such a batch was
    /// rolled back and is repeated.
    private var conflicts = 0

    /// The most `conflicts`. For each, a client must have moved a row within the milliseconds of a batch.
    private static let mostConflicts = 10
    /// The lock timeout of one pass, and of the parts of a batch that met a lock: otherwise each of 100 locked rows
    /// among 10,000 would cost the whole `batch.lock-timeout`.
    private static let shortLockLimit = Duration.milliseconds(2)

    init(_ run: CleanupRun, _ target: Target, claim: RunClaim?, in session: DatabaseSession) {
        self.run = run
        self.target = target
        self.claim = claim
        self.session = session
    }

    /// The result of a batch that was committed.
    struct Batch: Sendable {
        let locked: Int
        let deleted: Int
        /// Rows that were locked and are still there.
        let kept: [RowAddress]
        /// The server's time for the whole transaction.
        let cost: Duration
        let roundTrip: Duration
        /// True if its transaction took a number (xid).
        let hasNumber: Bool
        /// `pg_snapshot_xmax` after its commit: the number after the highest one whose transaction has ended.
        let next: Int
        /// A warning at COMMIT: no standby has confirmed it.
        let warning: ServerMessage?
    }

    /// Why a batch failed, where that does not fail the attempt.
    enum Obstacle: Hashable, Sendable {
        /// A lock was not granted within the lock timeout, or the server ended a deadlock.
        case locked
        /// The server ended it at its statement timeout.
        case tooLong
        /// More rows were due on the pages than one batch may take.
        case tooMany
        /// Nothing was deleted, and the batch is to be repeated: a row was being moved to another partition, or the
        /// run's own row was locked for a moment.
        case toBeRepeated
        /// The database would not delete a row.
        case refused(ServerMessage)
    }

    enum Outcome: Sendable {
        case done(Batch)
        case failed(Obstacle)
    }

    /// Executes a batch: one transaction in one message, in which nothing is deleted unless the run is still ours. From its
    /// first lock to its commit it waits for nothing but the server and, for `batch.lock-timeout` at most, for locks.
    ///
    /// - Parameters:
    ///   - limit: the longest time that a batch of several rows may work; half of the server's `deadlock_timeout`, if
    ///     that is less. `nil` for a batch of one row, which may take as long as any transaction.
    ///   - waitsBriefly: true to wait at most 2 ms for a lock: in one pass, after a batch with some of these rows met
    ///     one, or once a pass has waited in vain for 20 rows.
    mutating func execute(
        _ rows: BatchSQL.Rows, of relation: BatchSQL.Relation, limit wanted: Duration?, waitsBriefly: Bool
    ) async throws(RunFailure) -> Outcome {
        let longest = session.budget.transactionLimit
        let limit = try session.budget.limit(wanted.map { min($0, target.survey.deadlockTimeout / 2, longest) })
        let lockLimit = waitsBriefly ? min(Self.shortLockLimit, run.limits.lockTimeout) : run.limits.lockTimeout
        let script = try await script(rows, of: relation, limit: limit, lockLimit: lockLimit)
        let sent = ContinuousClock.now
        let answers: Script.Answers
        do {
            answers = try await session.send(
                script, by: session.budget.giveUp(after: session.budget.transactionLimit), startsWriting: true)
        } catch {
            let duration = sent.duration(to: .now)
            guard let obstacle = obstacle(in: error, script, of: rows, after: duration, limit: limit) else {
                throw error
            }
            if obstacle == .toBeRepeated {
                conflicts += 1
                if conflicts > Self.mostConflicts { throw error }
            }
            return .failed(obstacle)
        }
        if claim != nil, try answers.read(.batch, { try $0.onlyRow().integer("held") }) != 1 {
            // Another process has the run now, or locks its row for a moment.
            try await renewClaim()
            return .failed(.toBeRepeated)
        }
        conflicts = 0
        return .done(try await batch(answers, sent: sent))
    }

    private func script(
        _ rows: BatchSQL.Rows, of relation: BatchSQL.Relation, limit: Duration, lockLimit: Duration
    ) async throws(RunFailure) -> Script {
        let batch = BatchSQL(
            relation: relation, rule: target.rule, cutoff: target.cutoff, rows: rows, recording: target.recording)
        let longest = try session.budget.limit()
        // Triggers run under the role's own search path.
        var script = await session.begin(
            isReadOnly: false, limit: longest, lockLimit: run.limits.lockTimeout, path: .role)
        // What is reported as deleted survives a crash of the server.
        if target.survey.commitsAsynchronously { script.add("SET LOCAL synchronous_commit = on") }
        if target.survey.hidesWarnings { script.add(Transaction.showWarnings) }
        // Rows of the job's own table that row security begins to hide are skipped here; the search after that fails.
        if !target.others.isEmpty { script.add(Transaction.refuseFilters(of: target.others)) }
        // A lock on the table itself, or on one of its parts, is met here, and is not blamed on rows.
        script.add("LOCK TABLE \(relation.named) IN ROW EXCLUSIVE MODE")
        if lockLimit < run.limits.lockTimeout {
            script.add("SET LOCAL lock_timeout = \(Transaction.milliseconds(lockLimit))")
        }
        if limit < longest { script.add("SET LOCAL statement_timeout = \(Transaction.milliseconds(limit))") }
        script.add(batch.statement(claim: claim), as: .batch)
        // Deferred triggers and constraints fail here, where rows can still be blamed.
        script.add("SET CONSTRAINTS ALL IMMEDIATE")
        // A COMMIT that waits for a standby must not be cut short: it would be committed, and not replicated.
        if limit < longest { script.add("SET LOCAL statement_timeout = \(Transaction.milliseconds(longest))") }
        script.add("COMMIT")
        script.add(BatchSQL.cost, as: .cost)
        return script
    }

    private mutating func batch(
        _ answers: Script.Answers, sent: ContinuousClock.Instant
    ) async throws(RunFailure) -> Batch {
        let duration = sent.duration(to: .now)
        let (cost, next) = try answers.read(.cost) { result in
            let row = try result.onlyRow()
            return (Duration.microseconds(try row.integer("cost")), try row.integer("next"))
        }
        // The warning at COMMIT has no context; one that a trigger raises has.
        let warning = await session.connection.warnings.first { !$0.hasContext }
        let batch = try answers.read(.batch) { result in
            let row = try result.onlyRow()
            let deleted = try row.integer("deleted")
            // With a claim, the transaction locked the run's row, and so took a number.
            return Batch(
                locked: try row.integer("locked"), deleted: deleted, kept: try Self.kept(row), cost: cost,
                roundTrip: max(duration - cost, .zero), hasNumber: claim != nil || deleted > 0, next: next,
                warning: warning)
        }
        if batch.deleted > 0 { claim?.renewed = sent }
        return batch
    }

    private static func kept(_ row: QueryResult.Row) throws(PostgresError) -> [RowAddress] {
        guard let addresses = try row.textIfPresent("kept_addresses") else { return [] }
        let partitions = RowAddress.numbers(in: try row.text("kept_partitions"))
        return try RowAddress.list(addresses) { partitions.indices.contains($0) ? UInt32(partitions[$0]) : nil }
    }

    /// Returns what a failure says about the batch's rows, or `nil` if it says nothing about them: then the attempt fails.
    private func obstacle(
        in failure: RunFailure, _ script: Script, of rows: BatchSQL.Rows, after duration: Duration, limit: Duration
    ) -> Obstacle? {
        guard case .database(.server(let message, _)) = failure, let index = message.statementIndex,
            script.isAtOrAfter(.batch, index)
        else { return nil }
        // RAISE made the error: its SQLSTATE is the application's choice, and says nothing about the server.
        if message.isRaised { return .refused(message) }
        switch (message.sqlState.rawValue, message.sqlState.conditionClass) {
        case ("55P03", _), ("40P01", _): return .locked
        case ("40001", _): return .toBeRepeated
        case ("22012", _) where rows.failsIfTooMany && !message.hasContext: return .tooMany
        // Near the limit it is the server's timeout; earlier, an operator has canceled the statement.
        case ("57014", _): return duration >= limit * 9 / 10 ? .tooLong : nil
        // Connection, transaction state, resources, operator, system, configuration file: not the rows' failures.
        case (_, "08"), (_, "25"), (_, "53"), (_, "57"), (_, "58"), (_, "F0"): return nil
        case (_, "23"), (_, "27"), (_, "44"), (_, "P0"): return .refused(message)
        default: return message.hasContext ? .refused(message) : nil
        }
    }

    /// Renews the run's heartbeat.
    ///
    /// - Throws: `claimLost` if the run is another process's now.
    mutating func renewClaim() async throws(RunFailure) {
        guard let claim else { return }
        let sent = ContinuousClock.now
        let answers = try await session.write(Script(HistorySQL.renew(claim), as: .row))
        guard try answers.read(.row, { $0.rows.count }) == 1 else { throw .claimLost }
        self.claim?.renewed = sent
    }

    /// Executes a DELETE of no rows: if that fails too, a statement trigger raises, and no row is to blame.
    ///
    /// - Throws: the failure of a DELETE of no rows, if it fails.
    func probe() async throws(RunFailure) {
        let sql = "DELETE FROM \(target.table.quoted) WHERE false"
        var script = await session.begin(isReadOnly: false, limit: try session.budget.limit(), path: .role)
        script.add(sql)
        script.add("SET CONSTRAINTS ALL IMMEDIATE")
        script.add("ROLLBACK")
        _ = try await session.send(script, by: session.budget.giveUp(after: session.budget.transactionLimit))
    }
}

/// Decides whether the next batch may delete in one pass, which costs half of locking its rows first.
///
/// A pass that meets a locked row has worked in vain, and where one row is locked others may be: the batches after it
/// go through SKIP LOCKED, twice as many after each consecutive failure.
struct OnePass: Sendable {
    private let isPossible: Bool
    /// Batches that go through SKIP LOCKED before one pass is tried again.
    private var left = 0
    /// The value of `left` after the last failure; 0 after one pass that succeeded.
    private var length = 0
    /// True once one pass over addresses has left a row, which was moved, renewed, or kept by a new trigger. What is
    /// still due is found again, and locking it first shows which rows are kept.
    private var hasLeftRow = false

    /// The most of `left`: a try in 32 batches costs at most a thirtieth of their time.
    private static let longest = 32

    init(isPossible: Bool) { self.isPossible = isPossible }

    var isWorthTrying: Bool { isPossible && left == 0 }
    var isWorthTryingByAddress: Bool { isWorthTrying && !hasLeftRow }

    /// One pass met a lock, or found more rows than a batch may take or has time for.
    mutating func failed() {
        length = min(max(1, length * 2), Self.longest)
        left = length
    }

    /// A batch has been committed.
    ///
    /// - Parameter leftRow: true if it was to delete more rows than it did.
    mutating func batchEnded(inOnePass: Bool, leftRow: Bool) {
        if inOnePass { length = 0 } else { left = max(0, left - 1) }
        if inOnePass, leftRow { hasLeftRow = true }
    }
}
