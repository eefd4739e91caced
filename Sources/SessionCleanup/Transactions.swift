import Postgres

/// A run's transactions: each with limits that the server keeps, and with an end to our patience.
extension Connection {
    /// Opens a read-only transaction with one statement without parameters, in one round trip, and leaves it open for
    /// the one that follows.
    func openTransaction(_ clock: RunClock, _ sql: String) async throws(RunFailure) -> QueryResult {
        let limit = try clock.limit(clock.remaining)
        let begin = Statements.begin(
            isReadOnly: true, limit: limit, lockLimit: min(limit / 2, RunClock.transactionLimit))
        return try await failing(clock) { connection in
            let results = try await connection.script("\(begin) \(sql)", deadline: clock.giveUp(after: limit))
            // BEGIN, three settings, the statement.
            guard results.count == 5 else { throw PostgresError.unexpectedAnswer("\(results.count) results") }
            return results[4]
        }
    }

    /// A statement in the read-only transaction that is open, or else in one of its own, and the transaction's end.
    func finishTransaction(
        _ clock: RunClock, _ sql: String, _ parameters: [Parameter]
    ) async throws(RunFailure) -> QueryResult {
        // It may take what is left of the run's time: it holds no row's lock.
        let limit = try clock.limit(clock.remaining)
        let begin = Statements.begin(
            isReadOnly: true, limit: limit, lockLimit: min(limit / 2, RunClock.transactionLimit))
        return try await failing(clock) { connection in
            let deadline = clock.giveUp(after: limit)
            if !connection.hasOpenTransaction { _ = try await connection.script(begin, deadline: deadline) }
            let result = try await connection.query(sql, parameters, deadline: deadline)
            _ = try await connection.script("COMMIT", deadline: deadline)
            return result
        }
    }

    /// Leaves the transaction when a part of it fails, and says what that means for the run.
    private func failing<Value>(
        _ clock: RunClock, _ body: (isolated Connection) async throws -> Value
    ) async throws(RunFailure) -> Value {
        do {
            return try await body(self)
        } catch {
            let failure = clock.failure(error)
            await rollBack(clock)
            throw failure
        }
    }

    /// Starts a transaction that writes.
    func begin(
        _ clock: RunClock, limit wanted: Duration = RunClock.transactionLimit, lockLimit: Duration? = nil
    ) async throws(RunFailure) {
        let limit = try clock.limit(wanted)
        do {
            _ = try await script(
                Statements.begin(limit: limit, lockLimit: lockLimit), deadline: clock.giveUp(after: limit))
        } catch {
            let failure = clock.failure(error)
            await rollBack(clock)
            // All that a server does not support about READ WRITE: it is, or has just become, a standby.
            throw failure.sqlState == "0A000" ? .serverReadOnly : failure
        }
    }

    /// A statement of an open transaction.
    func statement(
        _ clock: RunClock, _ sql: String, _ parameters: [Parameter]
    ) async throws(PostgresError) -> QueryResult {
        try await query(sql, parameters, deadline: clock.giveUp(after: RunClock.transactionLimit))
    }

    /// Commits, even when the task is canceled meanwhile: it takes a moment, and a COMMIT that is called off leaves
    /// nobody knowing whether the rows are gone.
    func commit(_ clock: RunClock) async throws(PostgresError) {
        let deadline = clock.giveUp(after: RunClock.transactionLimit)
        _ = try await script("COMMIT", during: .committing, deadline: deadline, heedsCancellation: false)
    }

    /// Leaves a failed transaction, so that the connection can be used again; if it cannot, it is closed.
    func rollBack(_ clock: RunClock) async {
        guard hasOpenTransaction else { return }
        do {
            _ = try await script("ROLLBACK", deadline: clock.giveUp(after: RunClock.transactionLimit))
        } catch {
            // The error that led here says more.
            close()
        }
    }
}
