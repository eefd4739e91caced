import CLibpq
import Glibc
import Time

extension Connection {
    /// Runs one statement with parameters and waits for its rows.
    ///
    /// - Parameters:
    ///   - step: the caller's step, for the error.
    ///   - deadline: when to cancel the statement on the server and throw.
    ///   - heedsCancellation: false for a statement that must run to its end after the task is canceled.
    /// - Throws: every case but `invalidParameters` and `unreachable`. After `server` the connection stays usable, in
    ///   a failed transaction if one was open.
    package func query(
        _ sql: String, _ parameters: [Parameter] = [], during step: PostgresError.Step = .querying,
        deadline: ContinuousClock.Instant, heedsCancellation: Bool = true
    ) async throws(PostgresError) -> QueryResult {
        for parameter in parameters { try refuseNUL(parameter.text ?? "", during: step) }
        try refuseNUL(sql, during: step)
        let results = try await perform(
            isScript: false, during: step, deadline: deadline, heedsCancellation: heedsCancellation
        ) { connection in
            Self.send(sql, parameters, over: connection)
        }
        guard let last = results.last else { throw .unexpectedAnswer("no result") }
        return last
    }

    /// Runs several statements, separated by semicolons, in one round trip; one result each.
    ///
    /// The simple query protocol: no parameters, and an error skips the statements after it.
    /// - Parameter heedsCancellation: false for a script that must run to its end after the task is canceled.
    /// - Throws: as `query`.
    package func script(
        _ sql: String, during step: PostgresError.Step = .querying, deadline: ContinuousClock.Instant,
        heedsCancellation: Bool = true
    ) async throws(PostgresError) -> [QueryResult] {
        try refuseNUL(sql, during: step)
        return try await perform(
            isScript: true, during: step, deadline: deadline, heedsCancellation: heedsCancellation
        ) {
            PQsendQuery($0, sql) == 1 && PQsetSingleRowMode($0) == 1
        }
    }

    /// Refuses a text with a NUL, where C would end it: the server would get another statement or another value. The error
    /// is the server's own for such a text.
    private func refuseNUL(_ text: String, during step: PostgresError.Step) throws(PostgresError) {
        guard text.utf8.contains(0) else { return }
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00"
        throw .server(ServerMessage(sqlState: "22021", text: message), during: step)
    }

    private static func send(_ sql: String, _ parameters: [Parameter], over connection: OpaquePointer) -> Bool {
        let types = parameters.map { Oid($0.type) }
        let texts = parameters.map { $0.text.map { strdup($0) } }
        defer { for text in texts { free(text ?? nil) } }
        // Copies that are freed at the end of this function; libpq copies them into its buffer before it returns.
        let values = texts.map { $0.map { UnsafePointer<CChar>($0) } ?? nil }
        return PQsendQueryParams(connection, sql, Int32(parameters.count), types, values, nil, nil, 0) == 1
            && PQsetSingleRowMode(connection) == 1
    }

    private func perform(
        isScript: Bool, during step: PostgresError.Step, deadline: ContinuousClock.Instant, heedsCancellation: Bool,
        send: (OpaquePointer) -> Bool
    ) async throws(PostgresError) -> [QueryResult] {
        precondition(!isBusy, "one statement at a time")
        guard let connection = handle else { throw .connectionLost(during: step, message: "it is closed") }
        self.heedsCancellation = heedsCancellation
        defer { self.heedsCancellation = true }
        if heedsCancellation, Task.isCancelled { throw .canceled(during: step) }
        isBusy = true
        defer { isBusy = false }
        notices.begin()
        incoming = IncomingBytes()
        let started = ContinuousClock.now
        var answer = Answer(isScript: isScript)
        do {
            guard send(connection) else { throw Interruption.lost }
            try await flush(connection, until: deadline)
            try await receive(&answer, from: connection, during: step, until: deadline)
            return try answer.results(during: step)
        } catch let error as PostgresError {
            if case .server = error, PQstatus(connection) == CONNECTION_OK { throw error }
            finish()
            throw error
        } catch let interruption as Interruption {
            let message = onOneLine(libpqMessage(of: connection, hiding: notices.secrets))
            let isAtItsEnd = interruption == .lost ? false : await cancelStatement(of: connection, &answer)
            if !isAtItsEnd || PQstatus(connection) != CONNECTION_OK { finish() }
            // All was done before the request to cancel arrived.
            if isAtItsEnd, answer.failure == nil { return answer.results }
            switch interruption {
            case .lost: throw .connectionLost(during: step, message: message)
            case .deadlinePassed: throw .timedOut(during: step, limit: started.duration(to: deadline))
            case .canceled: throw .canceled(during: step)
            }
        } catch {
            preconditionFailure("neither of the two error types thrown above: \(error)")
        }
    }

    /// The reason for which a statement's exchange ended early.
    private enum Interruption: Error {
        case lost
        case deadlinePassed
        case canceled
    }

    /// Sends what libpq has queued, reading meanwhile: the server may have to be read before it reads on.
    private func flush(_ connection: OpaquePointer, until deadline: ContinuousClock.Instant) async throws {
        while true {
            switch PQflush(connection) {
            case 0: return
            case 1:
                try await wait(for: [.read, .write], of: connection, until: deadline)
                guard try consumeInput(of: connection) else { throw Interruption.lost }
            default: throw Interruption.lost
            }
        }
    }

    /// The server's answer so far.
    private struct Answer {
        let isScript: Bool
        var reader = ResultReader()
        var failure: ServerMessage?

        var results: [QueryResult] { reader.results }
        /// In a script, the index of the statement that the server is at.
        var statementIndex: Int? { isScript ? results.count : nil }

        func results(during step: PostgresError.Step) throws(PostgresError) -> [QueryResult] {
            if let failure { throw .server(failure, during: step) }
            return results
        }
    }

    /// Collects results until libpq has no more, and the first error among them.
    private func receive(
        _ answer: inout Answer, from connection: OpaquePointer, during step: PostgresError.Step,
        until deadline: ContinuousClock.Instant
    ) async throws {
        while true {
            while PQisBusy(connection) == 1 {
                try await wait(for: .read, of: connection, until: deadline)
                // A server that ends the session says why first; its message explains more than the end does.
                guard try consumeInput(of: connection) else { throw try lost(answer, during: step) }
            }
            guard let raw = PQgetResult(connection) else { break }
            defer { PQclear(raw) }
            guard try take(raw, into: &answer) else { throw try lost(answer, during: step) }
        }
        guard answer.failure != nil || PQstatus(connection) == CONNECTION_OK else { throw Interruption.lost }
    }

    /// Copies what a result holds.
    ///
    /// - Returns: false for the result that libpq makes when the connection breaks.
    /// - Throws: `unexpectedAnswer` for a result that none of our statements has, or one above the bounds.
    private func take(_ raw: OpaquePointer, into answer: inout Answer) throws(PostgresError) -> Bool {
        var bytes = 0
        switch PQresultStatus(raw) {
        case PGRES_SINGLE_TUPLE:
            bytes = try answer.reader.addRow(raw)
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
            try answer.reader.endStatement(raw)
        case PGRES_FATAL_ERROR:
            // libpq makes an error without SQLSTATE itself, when the connection breaks.
            guard let message = ServerMessage(raw, statementIndex: answer.statementIndex, secrets: notices.secrets)
            else {
                return false
            }
            answer.failure = answer.failure ?? message
        // In COPY, libpq would hand out the same result without an end.
        case let status:
            throw .unexpectedAnswer(String(cString: PQresStatus(status)))
        }
        incoming.messageCame(bytes: bytes)
        return true
    }

    /// Reads what the server has sent, if that is not above the bound.
    ///
    /// - Returns: false when the connection has ended.
    /// - Throws: `unexpectedAnswer` above the bound.
    private func consumeInput(of connection: OpaquePointer) throws(PostgresError) -> Bool {
        incoming.willRead(PQsocket(connection))
        guard incoming.sinceMessage <= Self.mostBytesOfAMessage else { throw Self.tooLong }
        let read = ReadGuard.run(PQsocket(connection), incoming, limit: Self.mostBytesOfAMessage) {
            PQconsumeInput(connection)
        }
        guard let read else { throw Self.tooLong }
        guard read == 1 else { return false }
        dropNotifications(of: connection)
        return true
    }

    /// The most that a server may send without completing a row or a statement. The longest row that a statement of ours
    /// has is an array of 50,000 row addresses: 1.2 MB. libpq keeps an error of this length six times over: 36 MB.
    private static let mostBytesOfAMessage = 6 << 20
    private static let tooLong = PostgresError.unexpectedAnswer(
        "the server sent more than \(mostBytesOfAMessage >> 20) MB at once")

    /// Frees what `NOTIFY` brought. Nothing here listens, and libpq would keep all of it.
    func dropNotifications(of connection: OpaquePointer) {
        while let notification = PQnotifies(connection) { PQfreemem(notification) }
    }

    private func lost(_ answer: Answer, during step: PostgresError.Step) throws(PostgresError) -> Interruption {
        _ = try answer.results(during: step)
        return .lost
    }

    private func wait(
        for directions: SocketWait.Directions, of connection: OpaquePointer, until deadline: ContinuousClock.Instant
    ) async throws(Interruption) {
        switch await SocketWait.wait(
            for: directions, of: PQsocket(connection), until: deadline, on: executor.queue,
            heedsCancellation: heedsCancellation)
        {
        case .ready: return
        case .deadlinePassed: throw .deadlinePassed
        case .canceled: throw .canceled
        }
    }

    /// The first wait for the confirmation before the request is repeated, doubled each time: mostly a round trip.
    private static let firstConfirmationWait = Duration.milliseconds(100)

    /// Asks the server to cancel the running statement and waits, briefly, for its confirmation, so that when this
    /// returns, the statement has ended on a reachable server too.
    /// - Returns: whether the server has confirmed it, and can be given another statement.
    private func cancelStatement(of connection: OpaquePointer, _ answer: inout Answer) async -> Bool {
        guard let request = CancelRequest(connection) else { return false }
        let deadline = ContinuousClock.now + cancelLimit * 2
        var patience = Self.firstConfirmationWait
        // A request that overtakes its statement finds an idle backend, which forgets it: ask again. The task may be
        // canceled already: the waits here go on all the same.
        while ContinuousClock.now < deadline {
            let limit = min(cancelLimit, ContinuousClock.now.duration(to: deadline))
            guard
                await BlockingCalls.cancelRequests.run(limit: limit, heedsCancellation: false, { request.send() })
                    == true
            else {
                return false
            }
            switch await confirmation(by: min(.now + patience, deadline), &answer) {
            case .given: return true
            case .impossible: return false
            case .late: patience = patience * 2
            }
        }
        return false
    }

    private enum Confirmation { case given, impossible, late }

    /// Reads what the server still says, until it is ready for another statement or the connection ends.
    private func confirmation(by deadline: ContinuousClock.Instant, _ answer: inout Answer) async -> Confirmation {
        guard let connection = handle else { return .impossible }
        while true {
            while PQisBusy(connection) == 1 {
                let outcome = await SocketWait.wait(
                    for: .read, of: PQsocket(connection), until: deadline, on: executor.queue, heedsCancellation: false)
                guard outcome == .ready else { return .late }
                // Above the bound as at the end of the connection there is nothing to wait for.
                guard (try? consumeInput(of: connection)) == true else { return .impossible }
            }
            guard let result = PQgetResult(connection) else { return .given }
            defer { PQclear(result) }
            // A result that cannot be taken leaves the connection in doubt.
            guard (try? take(result, into: &answer)) == true else { return .impossible }
        }
    }
}
