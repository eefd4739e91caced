import Postgres

/// A connection, and how much time is left on it: every transaction of a run or a command goes through here.
///
/// Each transaction has limits that the server keeps, and a deadline after which this process gives up.
struct DatabaseSession: Sendable {
    let connection: Connection
    let budget: RunBudget

    /// Opens a transaction with one message, and leaves it open.
    ///
    /// - Parameters:
    ///   - limit: the longest time that a statement may take; that of any transaction unless given.
    ///   - lockLimit: the longest wait for a lock; half of `limit` unless given.
    func open(
        _ script: Script, isReadOnly: Bool, limit wanted: Duration? = nil, lockLimit: Duration? = nil
    ) async throws(RunFailure) -> Script.Answers {
        let limit = try budget.limit(wanted)
        var whole = await begin(isReadOnly: isReadOnly, limit: limit, lockLimit: lockLimit)
        whole.add(script)
        return try await send(whole, by: budget.giveUp(after: limit), startsWriting: !isReadOnly)
    }

    /// Sends statements of the transaction that is open, and leaves it open.
    func `continue`(_ script: Script, limit: Duration? = nil) async throws(RunFailure) -> Script.Answers {
        try await send(script, by: budget.giveUp(after: limit ?? budget.transactionLimit))
    }

    /// Runs one statement that reads, in the transaction that is open and then ends, or else in one of its own.
    ///
    /// - Parameters:
    ///   - limit: the longest time that the statement may take; that of any transaction unless given.
    ///   - path: `role` for a statement with the condition of an operator's own job.
    ///   - prefersIndexes: true for a search in the order of an index, or for the first rows that an index finds.
    ///   - unfiltered: tables of which row security must hide nothing.
    func read(
        _ sql: String, limit wanted: Duration? = nil, path: Transaction.SearchPath = .catalog,
        prefersIndexes: Bool = false, unfiltered: [TableName] = []
    ) async throws(RunFailure) -> QueryResult {
        let limit = try budget.limit(wanted)
        let lockLimit = min(limit / 2, budget.transactionLimit)
        var script =
            await connection.hasOpenTransaction
            ? Script(Transaction.setPath(path))
            : begin(isReadOnly: true, limit: limit, lockLimit: lockLimit, path: path)
        if !unfiltered.isEmpty { script.add(Transaction.refuseFilters(of: unfiltered)) }
        if prefersIndexes { script.add(Transaction.preferIndexes) }
        script.add(sql, as: .answer)
        script.add("COMMIT")
        return try await send(script, by: budget.giveUp(after: limit)).read(.answer) { $0 }
    }

    /// Runs a run's first search, in the transaction that is open and then ends, or else in one of its own.
    ///
    /// - Parameter records: true if the statement writes to the history when nothing is due. Its commit does not wait for the
    ///   disk: a run that has done nothing is repeated if it is lost. The others are as in `read`.
    func search(
        _ sql: String, limit: Duration, path: Transaction.SearchPath, unfiltered: [TableName], records: Bool
    ) async throws(RunFailure) -> QueryResult {
        var script =
            await connection.hasOpenTransaction
            ? Transaction.setLimits(limit).adding(Transaction.setPath(path))
            : begin(isReadOnly: !records, limit: limit, path: path)
        if !unfiltered.isEmpty { script.add(Transaction.refuseFilters(of: unfiltered)) }
        if path == .catalog { script.add(Transaction.preferIndexes) }
        script.add("SET LOCAL \(records ? "synchronous_commit = off" : "transaction_read_only = on")")
        script.add(sql, as: .answer)
        script.add("COMMIT")
        return try await send(script, by: budget.giveUp(after: limit), startsWriting: records).read(.answer) { $0 }
    }

    /// Runs a transaction that writes, with one message.
    ///
    /// - Parameter script: without COMMIT, which is added.
    func write(_ script: Script) async throws(RunFailure) -> Script.Answers {
        try await open(script.adding("COMMIT"), isReadOnly: false)
    }

    /// Runs a transaction that closes a run, with `closed` as its last statement: also when the run's time is up or its
    /// task is canceled.
    ///
    /// - Returns: the answers, and a warning at COMMIT: no standby has confirmed it.
    func writeFinally(
        _ script: Script
    ) async throws(RunFailure) -> (answers: Script.Answers, warning: ServerMessage?) {
        let limit = max(min(budget.transactionLimit, budget.untilDeadline), .milliseconds(1))
        var whole = await begin(isReadOnly: false, limit: limit)
        whole.add(script)
        whole.add("COMMIT")
        let answers = try await send(
            whole, by: .now + limit, startsWriting: true, during: .committing, heedsCancellation: false)
        // At COMMIT. A warning that a trigger raises has a context.
        return (answers, await connection.warnings.first { !$0.hasContext })
    }

    /// Leaves the open transaction, so that the connection can be used again; closes the connection if it cannot.
    func rollBack() async {
        guard await connection.hasOpenTransaction else { return }
        do {
            _ = try await connection.script(
                "ROLLBACK", deadline: .now + max(budget.untilDeadline, .milliseconds(1)), heedsCancellation: false)
        } catch {
            // The error that led here says more.
            await connection.close()
        }
    }

    func begin(
        isReadOnly: Bool, limit: Duration, lockLimit: Duration? = nil, path: Transaction.SearchPath = .catalog
    ) async -> Script {
        Transaction.begin(
            isReadOnly: isReadOnly, limit: limit, lockLimit: lockLimit, path: path,
            serverVersion: await connection.serverVersion)
    }

    /// Sends a script; leaves the transaction if it fails.
    ///
    /// - Parameter startsWriting: true if the script begins a READ WRITE transaction, which a standby refuses.
    func send(
        _ script: Script, by deadline: ContinuousClock.Instant, startsWriting: Bool = false,
        during step: PostgresError.Step = .querying, heedsCancellation: Bool = true
    ) async throws(RunFailure) -> Script.Answers {
        do {
            let results = try await connection.script(
                script.text, during: step, deadline: deadline, heedsCancellation: heedsCancellation)
            return script.answers(results)
        } catch {
            let failure = budget.failure(error)
            let hasBegun = await connection.hasOpenTransaction
            await rollBack()
            // "Cannot set transaction read-write mode during recovery": the server is, or has just become, a standby.
            throw startsWriting && !hasBegun && failure.sqlState == "0A000" ? .serverReadOnly : failure
        }
    }
}
