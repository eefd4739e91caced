import CLibpq
import Time

extension Connection {
    /// Runs statements, separated by semicolons, in one round trip, and returns one result for each: the simple query
    /// protocol, in which an error skips the statements after it. At the deadline, or with its task if that is heeded,
    /// the statement is canceled on the server.
    /// - Throws: every case but `invalidParameters` and `unreachable`. After `server` the connection stays usable, in a
    ///   failed transaction if one was open.
    package func script(
        _ sql: String, during step: PostgresError.Step = .querying, deadline: ContinuousClock.Instant,
        heedsCancellation: Bool = true
    ) async throws(PostgresError) -> [QueryResult] {
        // C would end the text there, and the server would get another statement. The error is its own for such a text.
        guard !sql.utf8.contains(0) else {
            let message = "invalid byte sequence for encoding \"UTF8\": 0x00"
            throw .server(ServerMessage(sqlState: "22021", text: message), during: step)
        }
        precondition(!isBusy, "one statement at a time")
        guard let connection = handle else { throw .connectionLost(during: step, message: "it is closed") }
        if heedsCancellation, Task.isCancelled { throw .canceled(during: step) }
        isBusy = true
        defer { isBusy = false }
        notices.begin()
        var exchange = Exchange(
            connection: connection, step: step, deadline: deadline, heedsCancellation: heedsCancellation)
        do throws(PostgresError) {
            guard PQsendQuery(connection, sql) == 1, PQsetSingleRowMode(connection) == 1 else { throw lost(exchange) }
            try await flush(&exchange)
            try await receive(&exchange)
        } catch {
            switch error {
            case .timedOut, .canceled:
                guard await cancelStatement(&exchange) else { fallthrough }
                // All was done before the request to cancel arrived.
                if exchange.reader.failure == nil { return exchange.reader.results }
            default: finish()
            }
            // A server that ends the session says why first; its message explains more than the end does.
            guard case .connectionLost = error, exchange.reader.failure != nil else { throw error }
        }
        if let failure = exchange.reader.failure { throw .server(failure, during: step) }
        return exchange.reader.results
    }

    /// A script under way.
    private struct Exchange {
        let connection: OpaquePointer
        let step: PostgresError.Step
        let started = ContinuousClock.now
        var deadline: ContinuousClock.Instant
        var heedsCancellation: Bool
        var incoming = IncomingBytes()
        var reader = ResultReader()
    }

    private func lost(_ exchange: Exchange) -> PostgresError {
        let message = libpqMessage(of: exchange.connection, hiding: notices.secrets)
        return .connectionLost(during: exchange.step, message: onOneLine(message))
    }

    /// Sends what libpq has queued, reading meanwhile: the server may have to be read before it reads on.
    private func flush(_ exchange: inout Exchange) async throws(PostgresError) {
        while true {
            switch PQflush(exchange.connection) {
            case 0: return
            case 1:
                try await wait(for: [.read, .write], exchange)
                try consumeInput(&exchange)
            default: throw lost(exchange)
            }
        }
    }

    /// Collects results until libpq has no more.
    private func receive(_ exchange: inout Exchange) async throws(PostgresError) {
        while true {
            while PQisBusy(exchange.connection) == 1 {
                try await wait(for: .read, exchange)
                try consumeInput(&exchange)
            }
            guard let raw = PQgetResult(exchange.connection) else { break }
            defer { PQclear(raw) }
            guard let bytes = try exchange.reader.take(raw, hiding: notices.secrets) else { throw lost(exchange) }
            exchange.incoming.messageCame(bytes: bytes)
        }
        guard PQstatus(exchange.connection) == CONNECTION_OK else { throw lost(exchange) }
    }

    private func wait(for directions: SocketWait.Directions, _ exchange: Exchange) async throws(PostgresError) {
        let outcome = await SocketWait.wait(
            for: directions, of: PQsocket(exchange.connection), until: exchange.deadline, on: executor.queue,
            heedsCancellation: exchange.heedsCancellation)
        switch outcome {
        case .ready: return
        case .deadlinePassed:
            throw .timedOut(during: exchange.step, limit: exchange.started.duration(to: exchange.deadline))
        case .canceled: throw .canceled(during: exchange.step)
        }
    }

    /// Reads what the server has sent: throws `connectionLost` at its end, `unexpectedAnswer` above the bound.
    private func consumeInput(_ exchange: inout Exchange) throws(PostgresError) {
        let connection = exchange.connection
        let read = exchange.incoming.read(PQsocket(connection), limit: Self.mostBytesOfAMessage) {
            PQconsumeInput(connection)
        }
        guard let read else {
            throw .unexpectedAnswer("the server sent more than \(Self.mostBytesOfAMessage >> 20) MB at once")
        }
        guard read == 1 else { throw lost(exchange) }
        dropNotifications(of: connection)
    }

    /// The most that a server may send without completing a row or a statement. The longest row that a statement of
    /// ours has is an array of 50,000 row addresses: 1.2 MB. libpq keeps an error of this length six times over: 36 MB.
    private static let mostBytesOfAMessage = 6 << 20

    /// Frees what `NOTIFY` brought, and libpq would keep.
    func dropNotifications(of connection: OpaquePointer) {
        while let notification = PQnotifies(connection) { PQfreemem(notification) }
    }

    /// The first wait for the confirmation before the request is repeated, doubled each time: mostly a round trip.
    private static let firstConfirmationWait = Duration.milliseconds(100)

    /// Asks the server to cancel the running statement and waits, briefly, for its confirmation. Returns true if it
    /// came, and the server can be given another statement.
    private func cancelStatement(_ exchange: inout Exchange) async -> Bool {
        guard let request = CancelRequest(exchange.connection) else { return false }
        let end = ContinuousClock.now + cancelLimit * 2
        var confirmationWait = Self.firstConfirmationWait
        // The task may be canceled already.
        exchange.heedsCancellation = false
        // A request that overtakes its statement finds an idle backend, which forgets it: ask again.
        while ContinuousClock.now < end {
            let limit = min(cancelLimit, ContinuousClock.now.duration(to: end))
            let isSent = await BlockingCalls.cancelRequests.run(limit: limit, heedsCancellation: false) {
                request.send()
            }
            guard isSent == true else { return false }
            exchange.deadline = min(.now + confirmationWait, end)
            do {
                try await receive(&exchange)
                return true
            } catch .timedOut {
                confirmationWait = confirmationWait * 2
            } catch {
                return false
            }
        }
        return false
    }
}

/// A request to cancel the statement that a connection runs. For any thread: libpq manual, PQcancel.
private final class CancelRequest: Sendable {
    // PGcancel is a copy of the connection's address and key, which PQcancel only reads.
    private nonisolated(unsafe) let pointer: OpaquePointer

    init?(_ connection: OpaquePointer) {
        guard let pointer = PQgetCancel(connection) else { return nil }
        self.pointer = pointer
    }

    deinit { PQfreeCancel(pointer) }

    /// Connects, sends the request, and waits without a limit. Returns true if it was sent.
    func send() -> Bool {
        var message = [CChar](repeating: 0, count: 256)
        return PQcancel(pointer, &message, Int32(message.count)) == 1
    }
}
