import Postgres

/// A run's transactions: each with limits that the server keeps, and with an end to our patience.
extension Connection {
    /// Opens a transaction that asks the server about itself and then one question more, if there is one, in one round
    /// trip; leaves it open for what follows.
    ///
    /// - Parameter sql: one statement without parameters.
    /// - Returns: the answers to `Statements.server` and to the statement.
    func openTransaction(
        _ clock: RunClock, then sql: String? = nil, isReadOnly: Bool
    ) async throws(RunFailure) -> [QueryResult] {
        let limit = try clock.limit()
        let begin = Statements.begin(isReadOnly: isReadOnly, limit: limit)
        return try await failing(clock, startsWriting: !isReadOnly) { connection in
            let questions = [Statements.server, sql].compactMap(\.self).joined(separator: "; ")
            let results = try await connection.script("\(begin) \(questions)", deadline: clock.giveUp(after: limit))
            // After BEGIN and three settings.
            return Array(results.dropFirst(4))
        }
    }

    /// A statement in the transaction that is open, or else in a read-only one of its own, and the transaction's end.
    ///
    /// - Parameters:
    ///   - wanted: how long it may take; a run's owner must not be silent for longer than it may unless said.
    ///   - unfiltered: a table of which row security must hide nothing; see `Statements.refuseFilters`.
    func finishTransaction(
        _ clock: RunClock, _ sql: String, _ parameters: [Parameter], limit wanted: Duration? = nil,
        unfiltered: TableName? = nil
    ) async throws(RunFailure) -> QueryResult {
        let limit = try clock.limit(wanted)
        let begin = Statements.begin(
            isReadOnly: true, limit: limit, lockLimit: min(limit / 2, clock.transactionLimit))
        let refusal = unfiltered.map(Statements.refuseFilters) ?? ""
        return try await failing(clock) { connection in
            let deadline = clock.giveUp(after: limit)
            if !connection.hasOpenTransaction {
                _ = try await connection.script("\(begin) \(refusal)", deadline: deadline)
            }
            let result = try await connection.query(sql, parameters, deadline: deadline)
            _ = try await connection.script("COMMIT", deadline: deadline)
            return result
        }
    }

    /// A search for rows, which may take as long as a transaction may.
    ///
    /// - Returns: `nil` when the server ended it for its length, and the plan has found a smaller step.
    func search(
        _ clock: RunClock, _ sql: String, _ parameters: [Parameter], unfiltered: TableName?,
        shrinking plan: inout SearchPlan
    ) async throws(RunFailure) -> QueryResult? {
        let started = ContinuousClock.now
        do {
            return try await finishTransaction(
                clock, sql, parameters, unfiltered: unfiltered)
        } catch {
            guard clock.isTooLong(error, since: started), plan.timedOut() else { throw error }
            return nil
        }
    }

    /// A script that ends the transaction that is open.
    func finishTransaction(_ clock: RunClock, script: String) async throws(RunFailure) -> [QueryResult] {
        try await failing(clock) { connection in
            try await connection.script(script, deadline: clock.giveUp(after: clock.transactionLimit))
        }
    }

    /// A writing transaction in one round trip.
    ///
    /// - Parameter script: its statements, with COMMIT as the last.
    /// - Returns: a result for each statement of the script.
    func transaction(
        _ clock: RunClock, _ script: String, unfiltered: TableName? = nil
    ) async throws(RunFailure) -> [QueryResult] {
        let limit = try clock.limit()
        let begin = "\(Statements.begin(limit: limit)) \(unfiltered.map(Statements.refuseFilters) ?? "")"
        return try await failing(clock, startsWriting: true) { connection in
            let results = try await connection.script("\(begin) \(script)", deadline: clock.giveUp(after: limit))
            return Array(results.dropFirst(unfiltered == nil ? 4 : 7))
        }
    }

    /// A writing transaction with which a run ends, also when its time is up or its task is canceled.
    func lastWords(_ clock: RunClock, _ script: String) async throws(RunFailure) -> [QueryResult] {
        let limit = max(min(clock.transactionLimit, clock.lastWords), .milliseconds(1))
        let begin = Statements.begin(limit: limit)
        return try await failing(clock, startsWriting: true) { connection in
            let results = try await connection.script(
                "\(begin) \(script)", during: .committing, deadline: .now + limit, heedsCancellation: false)
            return Array(results.dropFirst(4))
        }
    }

    /// Leaves the transaction when a part of it fails, and says what that means for the run.
    private func failing<Value>(
        _ clock: RunClock, startsWriting: Bool = false, _ body: (isolated Connection) async throws -> Value
    ) async throws(RunFailure) -> Value {
        do {
            return try await body(self)
        } catch {
            let failure = clock.failure(error)
            let hasBegun = hasOpenTransaction
            await rollBack(clock)
            // All that a server does not support about READ WRITE: it is, or has just become, a standby.
            throw startsWriting && !hasBegun && failure.sqlState == "0A000" ? .serverReadOnly : failure
        }
    }

    /// Starts a transaction that writes, with one statement in the same round trip.
    func begin(
        _ clock: RunClock, limit wanted: Duration, lockLimit: Duration, then statement: String
    ) async throws(RunFailure) {
        let limit = try clock.limit(wanted)
        let begin = Statements.begin(limit: limit, lockLimit: lockLimit)
        try await failing(clock, startsWriting: true) { connection in
            _ = try await connection.script("\(begin) \(statement)", deadline: clock.giveUp(after: limit))
        }
    }

    /// A statement of an open transaction.
    func statement(
        _ clock: RunClock, _ sql: String, _ parameters: [Parameter]
    ) async throws(PostgresError) -> QueryResult {
        try await query(sql, parameters, deadline: clock.giveUp(after: clock.transactionLimit))
    }

    /// Leaves a failed transaction, so that the connection can be used again; if it cannot, it is closed.
    func rollBack(_ clock: RunClock) async {
        guard hasOpenTransaction else { return }
        do {
            _ = try await script(
                "ROLLBACK", deadline: .now + max(clock.lastWords, .milliseconds(1)), heedsCancellation: false)
        } catch {
            // The error that led here says more.
            close()
        }
    }
}

extension [QueryResult] {
    /// What `read` makes of one of the results; an answer that is not there, or that it cannot read, fails the run.
    func reading<Value>(at index: Int, _ read: (QueryResult) throws -> Value) throws(RunFailure) -> Value {
        guard indices.contains(index) else { throw .database(.unexpectedAnswer("\(count) results")) }
        return try self[index].reading(read)
    }
}
