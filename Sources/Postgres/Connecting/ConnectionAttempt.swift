import CLibpq
import Dispatch
import Synchronization
import Time

/// One attempt to connect to one address, whose calls into libpq can be abandoned.
///
/// `PQconnectPoll` is documented not to block, but it does: it computes as many rounds of SCRAM as the server asks for
/// (2,147,483,647 take half an hour), and reads files without a limit. So every step runs on one thread that all
/// attempts of the process share. When the deadline passes or the task is canceled during a step, the connection is
/// left to that thread, which ends it when libpq returns. Until libpq has returned, no other attempt can begin.
struct ConnectionAttempt {
    private static let queue = DispatchQueue(label: "mcp-cleanupd.postgres.connecting")
    /// Returns true once the step that libpq is executing has been abandoned; `nil` while libpq executes none.
    fileprivate static let isStepAbandoned = Mutex<(@Sendable () -> Bool)?>(nil)

    /// In bytes. A login takes a few kilobytes and a certificate chain; a server that sends more only fills memory.
    private static let mostBytes = 1 << 20

    /// Above what a step takes with an honest server: milliseconds, for a TLS handshake or 4,096 rounds of SCRAM.
    private static let longestStep = Duration.milliseconds(500)

    let parameters: ConnectionParameters
    let deadline: ContinuousClock.Instant
    let onNotice: @Sendable (ServerMessage) -> Void
    let started = ContinuousClock.now

    /// Connects and logs in, once. Waits for the socket by sources on `queue`.
    /// - Throws: `invalidParameters`, `unreachable`, `server`, `canceled`.
    func complete(
        on queue: DispatchQueue, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) -> LibpqConnection {
        try await requireFreeThread()
        let begun = try await step { [parameters, onNotice] in LibpqConnection(parameters, onNotice: onNotice) }
        guard let connection = begun else { throw .unreachable(.broken, message: "out of memory") }
        let pointer = connection.pointer
        if PQstatus(pointer) == CONNECTION_BAD && PQsocket(pointer) < 0 {
            throw ConnectFailure(message: connection.message, candidate: parameters.candidate).beforeAnyPacket
        }
        try await logIn(connection, on: queue)
        PQsetErrorVerbosity(pointer, PQERRORS_DEFAULT)
        // 0 is success: libpq manual, "Asynchronous Command Processing".
        guard PQsetnonblocking(pointer, 1) == 0 else {
            throw .unreachable(.broken, message: "the socket cannot be made non-blocking")
        }
        IncomingBytes.limitReceiveBuffer(of: PQsocket(pointer))
        return connection
    }

    /// Waits until libpq has ended an abandoned step, for `longestStep` at most: a hostile server can prolong that step to half
    /// an hour.
    /// - Throws: `unreachable` where libpq has not ended it by then, `canceled`.
    private func requireFreeThread() async throws(PostgresError) {
        guard Connection.isAbandonedThreadRunning else { return }
        let answer = FirstAnswer<Bool>()
        Self.queue.async { answer.give(true) }
        let end = min(deadline, .now + Self.longestStep)
        guard await !answer.value(until: end, orLate: false, orCanceled: false) else { return }
        if Task.isCancelled { throw .canceled(during: .connecting) }
        throw unreachable(.silent, ": an earlier attempt, which libpq has not ended yet, is in the way of this one")
    }

    private func logIn(
        _ connection: LibpqConnection, on queue: DispatchQueue, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) {
        var incoming = IncomingBytes()
        var polled = PGRES_POLLING_WRITING
        while polled != PGRES_POLLING_OK {
            if polled == PGRES_POLLING_FAILED {
                throw ConnectFailure(message: connection.message, candidate: parameters.candidate).error
            }
            // libpq may try a second socket, with TLS or without.
            let socket = PQsocket(connection.pointer)
            let outcome = await SocketWait.wait(
                for: polled == PGRES_POLLING_READING ? .read : .write, of: socket, until: deadline, on: queue)
            guard outcome == .ready else { throw interruption }
            let (counted, next) = try await step { [incoming] in
                var incoming = incoming
                let next = incoming.read(socket, limit: Self.mostBytes) { PQconnectPoll(connection.pointer) }
                return (incoming, next)
            }
            guard let next else {
                throw unreachable(
                    .broken, ": the server sent more than \(Self.mostBytes >> 20) MB before it let us in")
            }
            (incoming, polled) = (counted, next)
        }
    }

    private func unreachable(_ cause: PostgresError.Unreachability, _ words: String) -> PostgresError {
        .unreachable(cause, message: parameters.candidate.description + words)
    }

    private var interruption: PostgresError {
        if Task.isCancelled { return .canceled(during: .connecting) }
        return unreachable(.silent, " did not answer within \(started.duration(to: .now).secondsText)")
    }

    /// Runs one call of libpq on the shared thread. Throws when the deadline passed or the task was canceled meanwhile.
    private func step<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async throws(PostgresError) -> Value {
        let answer = FirstAnswer<Value?>()
        Self.queue.async {
            guard !answer.isGiven else { return }
            Self.isStepAbandoned.withLock { $0 = { answer.isGiven } }
            let value = body()
            Self.isStepAbandoned.withLock { $0 = nil }
            answer.give(value)
        }
        guard let value = await answer.value(until: deadline, orLate: nil, orCanceled: nil) else { throw interruption }
        return value
    }
}

extension Connection {
    /// True while libpq is still executing an attempt to connect that was abandoned, at its deadline or because its
    /// task was canceled. This may take half an hour; meanwhile every
    /// `open` fails within half a second, with `unreachable(.silent)`.
    package static var isAbandonedThreadRunning: Bool { ConnectionAttempt.isStepAbandoned.withLock { $0?() ?? false } }
}
