import CLibpq
import Dispatch

/// A script under way.
struct Exchange {
    let connection: LibpqConnection
    let queue: DispatchQueue
    let step: PostgresError.Step
    let started = ContinuousClock.now
    var deadline: ContinuousClock.Instant
    var heedsCancellation: Bool
    var incoming: IncomingBytes
    var reader = ResultReader()

    /// In bytes, the most that a server may send without completing a row or a statement. Our statements' longest row
    /// is an array of 50,000 row addresses: 1.2 MB. libpq holds six copies of an error of this length: 36 MB.
    static let mostBytesOfAMessage = 6 << 20
    /// The first wait for a confirmation before the request to cancel is repeated, a round trip; doubled each time.
    private static let firstConfirmationWait = Duration.milliseconds(100)

    /// Sends what libpq has queued, and collects results until it has no more.
    mutating func complete(isolation: isolated (any Actor)? = #isolation) async throws(PostgresError) {
        while true {
            let unsent = PQflush(connection.pointer)
            guard unsent >= 0 else { throw lost }
            if unsent == 1 {
                // Nothing has to be read meanwhile: a server takes in a whole script before it answers.
                try await wait(for: .write)
            } else if PQisBusy(connection.pointer) == 1 {
                try await wait(for: .read)
                try consumeInput()
            } else if let raw = PQgetResult(connection.pointer) {
                defer { PQclear(raw) }
                guard let bytes = try reader.take(raw, hiding: connection.secrets) else { throw lost }
                incoming.messageCame(bytes: bytes)
            } else {
                guard PQstatus(connection.pointer) == CONNECTION_OK else { throw lost }
                return
            }
        }
    }

    var lost: PostgresError { .connectionLost(during: step, message: onOneLine(connection.message)) }

    private func wait(
        for direction: SocketWait.Direction, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) {
        let outcome = await SocketWait.wait(
            for: direction, of: PQsocket(connection.pointer), until: deadline, on: queue,
            heedsCancellation: heedsCancellation)
        switch outcome {
        case .ready: return
        case .deadlinePassed: throw .timedOut(during: step, limit: started.duration(to: deadline))
        case .canceled: throw .canceled(during: step)
        }
    }

    /// Reads what the server has sent. Throws `connectionLost` at the stream's end, `unexpectedAnswer` above the bound.
    private mutating func consumeInput() throws(PostgresError) {
        let (pointer, limit) = (connection.pointer, Self.mostBytesOfAMessage)
        guard let read = incoming.read(PQsocket(pointer), limit: limit, { PQconsumeInput(pointer) }) else {
            throw .unexpectedAnswer("the server sent more than \(limit >> 20) MB at once")
        }
        guard read == 1 else { throw lost }
        connection.dropNotifications()
    }

    /// Asks the server, repeatedly if need be, to cancel the running statement, and waits for its confirmation. Returns
    /// true if the confirmation came: then the server can be given another statement.
    /// - Parameter limit: the longest that one request may take; the whole call may take twice as long.
    mutating func cancel(limit: Duration, isolation: isolated (any Actor)? = #isolation) async -> Bool {
        guard let request = CancelRequest(connection) else { return false }
        let end = ContinuousClock.now + limit * 2
        var confirmationWait = Self.firstConfirmationWait
        // The task may be canceled already.
        heedsCancellation = false
        // A request that overtakes its statement finds an idle backend, which forgets it: ask again.
        while ContinuousClock.now < end {
            let left = min(limit, ContinuousClock.now.duration(to: end))
            let isSent = await BlockingCalls.cancelRequests.run(limit: left, heedsCancellation: false) {
                request.send()
            }
            guard isSent == true else { return false }
            deadline = min(.now + confirmationWait, end)
            do {
                try await complete()
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
