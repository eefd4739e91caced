import Postgres

/// A connection, and how much time is left on it: every transaction of a run or a command goes through here. Each has limits
/// that the server keeps, and a deadline after which this process gives up.
struct DatabaseSession: Sendable {
    let connection: Connection
    let budget: RunBudget

    /// Sends statements in the transaction that is open, or opens one with the same message; leaves it open.
    ///
    /// - Parameter limit: the longest time that a statement may take; `RunBudget.transactionLimit` unless given.
    func open(
        _ script: Script, isReadOnly: Bool, limit wanted: Duration? = nil, lockLimit: Duration? = nil
    ) async throws(RunFailure) -> Script.Answers {
        let limit = try budget.limit(wanted)
        let isOpen = await connection.hasOpenTransaction
        var whole = isOpen ? Script() : await begin(isReadOnly: isReadOnly, limit: limit, lockLimit: lockLimit)
        whole.add(script)
        return try await send(whole, by: budget.giveUp(after: limit), startsWriting: !isReadOnly)
    }

    /// Sends statements of the transaction that is open, or outside of transactions.
    func `continue`(_ script: Script, limit: Duration? = nil) async throws(RunFailure) -> Script.Answers {
        try await send(script, by: budget.giveUp(after: limit ?? budget.transactionLimit))
    }

    /// Runs one statement that reads, and commits: in the transaction that is open, or else in one of its own.
    ///
    /// - Parameters:
    ///   - limit: the longest time that the statement may take; `RunBudget.transactionLimit` unless given.
    ///   - path: `role` for a statement with the condition of an operator's own job.
    ///   - prefersIndexes: true for a search in the order of an index, or for the first rows that an index finds.
    ///   - unfiltered: tables of which row security must hide nothing.
    ///   - records: true if the statement writes to the history when nothing is due. Its commit does not wait for the
    ///     disk: if its row is lost, a run that has done nothing is repeated.
    func read(
        _ sql: String, limit wanted: Duration? = nil, path: Transaction.SearchPath = .catalog,
        prefersIndexes: Bool = false, unfiltered: [TableName] = [], records: Bool = false
    ) async throws(RunFailure) -> QueryResult {
        let limit = try budget.limit(wanted)
        let lockLimit = min(limit / 2, budget.transactionLimit)
        var script: Script
        if await connection.hasOpenTransaction {
            script = Transaction.setLimits(limit, lockLimit).adding(Transaction.setPath(path))
            if !records { script.add("SET LOCAL transaction_read_only = on") }
        } else {
            script = await begin(isReadOnly: !records, limit: limit, lockLimit: lockLimit, path: path)
        }
        if records { script.add("SET LOCAL synchronous_commit = off") }
        if !unfiltered.isEmpty { script.add(Transaction.refuseFilters(of: unfiltered)) }
        if prefersIndexes { script.add(Transaction.preferIndexes) }
        script.add(sql, as: .answer)
        script.add("COMMIT")
        return try await send(script, by: budget.giveUp(after: limit), startsWriting: records).read(.answer) { $0 }
    }

    /// Runs a transaction that writes, with one message: the script and COMMIT.
    func write(_ script: Script) async throws(RunFailure) -> Script.Answers {
        try await open(script.adding("COMMIT"), isReadOnly: false)
    }

    /// Runs a transaction that closes a run, also when the run's time is up or its task is canceled.
    ///
    /// - Returns: the answers, and a warning at COMMIT: no standby has confirmed it.
    func writeFinally(
        _ script: Script
    ) async throws(RunFailure) -> (answers: Script.Answers, warning: ServerMessage?) {
        let limit = max(min(budget.transactionLimit, budget.untilDeadline), .milliseconds(1))
        var whole = await begin(isReadOnly: false, limit: limit)
        whole.add(Transaction.showWarnings)
        whole.add(script)
        whole.add("COMMIT")
        let answers = try await send(
            whole, by: .now + limit, startsWriting: true, during: .committing, heedsCancellation: false)
        // The warning at COMMIT has no context; one that a trigger raises has.
        return (answers, await connection.warnings.first { !$0.hasContext })
    }

    /// Rolls back the open transaction, so that the connection can be used again; closes the connection if that fails.
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

    /// Sends a script; rolls the transaction back if it fails.
    /// - Parameter startsWriting: true if the script begins a READ WRITE transaction, which a standby refuses.
    func send(
        _ script: Script, by deadline: ContinuousClock.Instant, startsWriting: Bool = false,
        during step: PostgresError.Step = .querying, heedsCancellation: Bool = true
    ) async throws(RunFailure) -> Script.Answers {
        do {
            let results = try await connection.script(
                script.text, during: step, deadline: deadline, heedsCancellation: heedsCancellation)
            return Script.Answers(script: script, results: results)
        } catch {
            let failure = budget.failure(error)
            let hasBegun = await connection.hasOpenTransaction
            await rollBack()
            // "Cannot set transaction read-write mode during recovery": the server is, or has just become, a standby.
            throw startsWriting && !hasBegun && failure.sqlState == "0A000" ? .serverReadOnly : failure
        }
    }
}

/// The time that is left for a run or a command; monotonic, and counting while the machine sleeps.
struct RunBudget: Sendable {
    private let end: ContinuousClock.Instant
    private let deadline: Duration

    /// Slack after the server's own timeout before this process gives up: 1 s, or a sixth of a short deadline. Three
    /// times this is reserved: for the reply, the cancel request, and its confirmation with the closing UPDATE.
    let grace: Duration

    /// The longest time that one transaction may take, and that this process may be silent in it.
    let transactionLimit: Duration

    /// - Parameter lease: the time without a heartbeat after which a run's owner counts as dead.
    init(deadline: Duration, lease: Duration = .seconds(60)) {
        self.deadline = deadline
        // Three times a sixth is reserved of a deadline below 6 s, so half of it is left for work.
        grace = min(.seconds(1), deadline / 6)
        end = .now + deadline - grace * 3
        transactionLimit = lease / 3
    }

    /// The time left for work; negative when the time is up.
    var remaining: Duration { ContinuousClock.now.duration(to: end) }

    /// The time left until the deadline itself; negative after it.
    var untilDeadline: Duration { remaining + grace * 3 }

    /// Returns when to give up on a transaction that the server was told to end after `limit`.
    func giveUp(after limit: Duration) -> ContinuousClock.Instant { min(.now + limit, end) + grace }

    /// Returns what an error in a transaction means for the run. A server that was told to end a statement when the run's time
    /// is up reports only that the statement was canceled.
    func failure(_ error: any Error) -> RunFailure {
        let failure = RunFailure(error)
        return failure.sqlState == "57014" && remaining < grace ? .deadlinePassed(deadline) : failure
    }

    /// Returns the limit for a transaction that starts now.
    ///
    /// - Throws: `deadlinePassed` when no time is left.
    func limit(_ wanted: Duration? = nil) throws(RunFailure) -> Duration {
        let limit = min(wanted ?? transactionLimit, remaining)
        guard limit > .zero else { throw .deadlinePassed(deadline) }
        return limit
    }
}
