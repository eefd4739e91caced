import Postgres

/// A run's transactions: each with limits that the server keeps, and with an end to our patience.
extension Connection {
    /// A read-only transaction of one statement without parameters, in one round trip.
    func transaction(_ clock: RunClock, _ sql: String) async throws(RunFailure) -> QueryResult {
        let limit = try clock.limit()
        do {
            let results = try await script(
                "\(Statements.begin(isReadOnly: true, limit: limit)) \(sql) COMMIT;",
                deadline: clock.giveUp(after: limit))
            // BEGIN, three settings, the statement, COMMIT.
            guard results.count == 6 else { throw PostgresError.unexpectedAnswer("\(results.count) results") }
            return results[4]
        } catch {
            let failure = clock.failure(error)
            await rollBack(clock)
            throw failure
        }
    }

    /// A read-only transaction of one statement with parameters.
    func transaction(
        _ clock: RunClock, limit wanted: Duration, _ sql: String, _ parameters: [Parameter]
    ) async throws(RunFailure) -> QueryResult {
        let limit = try clock.limit(wanted)
        let deadline = clock.giveUp(after: limit)
        do {
            _ = try await script(Statements.begin(isReadOnly: true, limit: limit), deadline: deadline)
            let result = try await query(sql, parameters, deadline: deadline)
            _ = try await script("COMMIT", deadline: deadline)
            return result
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
        // A task of its own is not canceled with ours; its end is waited for.
        let commit = Task { () async -> PostgresError? in
            do throws(PostgresError) {
                _ = try await script("COMMIT", during: .committing, deadline: deadline)
                return nil
            } catch {
                return error
            }
        }
        if let error = await commit.value { throw error }
    }

    /// Leaves a failed transaction, so that the connection can be used again; if it cannot, it is closed.
    func rollBack(_ clock: RunClock) async {
        guard isOpen else { return }
        do {
            _ = try await script("ROLLBACK", deadline: clock.giveUp(after: RunClock.transactionLimit))
        } catch {
            // The error that led here says more.
            close()
        }
    }
}
