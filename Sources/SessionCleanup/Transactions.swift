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
            await rollBack(clock)
            throw RunFailure(error)
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
            await rollBack(clock)
            throw RunFailure(error)
        }
    }

    func begin(_ clock: RunClock) async throws(RunFailure) {
        let limit = try clock.limit()
        do {
            _ = try await script(Statements.begin(limit: limit), deadline: clock.giveUp(after: limit))
        } catch {
            await rollBack(clock)
            throw RunFailure(error)
        }
    }

    /// A statement of an open transaction.
    func statement(
        _ clock: RunClock, _ sql: String, _ parameters: [Parameter]
    ) async throws(PostgresError) -> QueryResult {
        try await query(sql, parameters, deadline: clock.giveUp(after: RunClock.transactionLimit))
    }

    func commit(_ clock: RunClock) async throws(PostgresError) {
        _ = try await script(
            "COMMIT", during: .committing, deadline: clock.giveUp(after: RunClock.transactionLimit))
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
