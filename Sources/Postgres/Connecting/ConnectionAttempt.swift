import CLibpq
import Dispatch
import Synchronization
import Time

/// A libpq connection while it is set up, whose calls into libpq can be abandoned.
///
/// `PQconnectPoll` is documented not to block, and does: it computes as many rounds of SCRAM as the server asks for
/// (2,147,483,647 take half an hour), and reads files without a limit. So every step runs on one thread that all
/// attempts of the process share. When the deadline passes or the task is canceled during a step, the attempt is left
/// to that thread, which frees it when libpq returns. Until then no other attempt can begin.
final class ConnectionAttempt: Sendable {
    private static let queue = DispatchQueue(label: "mcp-cleanupd.postgres.connecting")
    fileprivate static let stuckSteps = Atomic(0)

    private struct State {
        var handle: Handle?
        var isInLibpq = false
        var isAbandoned = false
    }

    struct Handle: @unchecked Sendable {
        // Used by one thread at a time: by the attempt's step, and by the connection between two steps and after them.
        let pointer: OpaquePointer
    }

    private let state = Mutex(State())
    private let parameters: ConnectionParameters
    /// libpq keeps a pointer to it as long as the connection lives, which may be longer than the `Connection` does.
    private let notices: NoticeReceiver
    private let started = ContinuousClock.now
    private let deadline: ContinuousClock.Instant

    /// A server that lets us in needs a few kilobytes for it, and a certificate chain. Above this it only fills memory.
    private static let mostBytes = 1 << 20

    init(_ parameters: ConnectionParameters, notices: NoticeReceiver, deadline: ContinuousClock.Instant) {
        self.parameters = parameters
        self.notices = notices
        self.deadline = deadline
    }

    /// Connects and logs in, once. The caller has to finish the connection.
    /// - Throws: `invalidParameters`, `unreachable`, `server`, `canceled`.
    func complete(
        on queue: DispatchQueue, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) -> Handle {
        guard !Connection.isAbandonedThreadRunning else {
            throw unreachable(.silent, ": an earlier attempt, which libpq has not ended yet, is in the way of this one")
        }
        do throws(PostgresError) {
            let handle = try await start()
            try await logIn(handle, on: queue)
            PQsetErrorVerbosity(handle.pointer, PQERRORS_DEFAULT)
            // 0 is success: libpq manual, "Asynchronous Command Processing".
            guard PQsetnonblocking(handle.pointer, 1) == 0 else {
                throw .unreachable(.broken, message: "the socket cannot be made non-blocking")
            }
            IncomingBytes.limitReceiveBuffer(of: PQsocket(handle.pointer))
            return handle
        } catch {
            abandon()
            throw error
        }
    }

    private func start() async throws(PostgresError) -> Handle {
        let handle = try await step { [self] () -> Handle? in
            guard let connection = parameters.withCStrings({ PQconnectStartParams($0, $1, 0) }) else { return nil }
            PQsetErrorVerbosity(connection, PQERRORS_VERBOSE)
            notices.register(on: connection, hiding: parameters.secrets(in: connection))
            let handle = Handle(pointer: connection)
            state.withLock { $0.handle = handle }
            return handle
        }
        guard let handle else { throw .unreachable(.broken, message: "out of memory") }
        if PQstatus(handle.pointer) == CONNECTION_BAD && PQsocket(handle.pointer) < 0 {
            throw failure(handle).beforeAnyPacket
        }
        return handle
    }

    private func logIn(
        _ handle: Handle, on queue: DispatchQueue, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) {
        var incoming = IncomingBytes()
        var polled = PGRES_POLLING_WRITING
        while polled != PGRES_POLLING_OK {
            if polled == PGRES_POLLING_FAILED { throw failure(handle).error }
            // libpq may try a second socket, with TLS or without.
            let socket = PQsocket(handle.pointer)
            let outcome = await SocketWait.wait(
                for: polled == PGRES_POLLING_READING ? .read : .write, of: socket, until: deadline, on: queue)
            guard outcome == .ready else { throw interruption }
            let (counted, next) = try await step { [incoming] in
                var incoming = incoming
                let next = incoming.read(socket, limit: Self.mostBytes) { PQconnectPoll(handle.pointer) }
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

    private func failure(_ handle: Handle) -> ConnectFailure {
        let message = libpqMessage(of: handle.pointer, hiding: parameters.secrets(in: handle.pointer))
        return ConnectFailure(message: message, candidate: parameters.candidate)
    }

    private var interruption: PostgresError {
        if Task.isCancelled { return .canceled(during: .connecting) }
        return unreachable(.silent, " did not answer within \(started.duration(to: .now).secondsText)")
    }

    /// Runs one call of libpq on the shared thread. Throws when the deadline passed or the task was canceled meanwhile.
    private func step<Value: Sendable>(
        _ body: @escaping @Sendable () -> Value
    ) async throws(PostgresError) -> Value {
        let answer = FirstAnswer<Value?>()
        Self.queue.async {
            guard self.enterLibpq() else { return }
            let value = body()
            if self.leaveLibpq() { answer.give(value) }
        }
        guard let value = await answer.value(until: deadline, interrupt: { _ in answer.give(nil) }) else {
            throw interruption
        }
        return value
    }

    /// Returns false for an attempt that was abandoned before its turn came.
    private func enterLibpq() -> Bool {
        state.withLock { state in
            state.isInLibpq = !state.isAbandoned
            return state.isInLibpq
        }
    }

    /// Returns false for an attempt that was abandoned meanwhile, and is freed now.
    private func leaveLibpq() -> Bool {
        let (isAbandoned, handle) = state.withLock { state in
            state.isInLibpq = false
            return (state.isAbandoned, state.handle)
        }
        guard isAbandoned else { return true }
        PQfinish(handle?.pointer)
        Self.stuckSteps.subtract(1, ordering: .relaxed)
        return false
    }

    /// Frees the connection now, or leaves that to the thread that is in libpq with it.
    private func abandon() {
        let unused: Handle? = state.withLock { state in
            state.isAbandoned = true
            if state.isInLibpq { Self.stuckSteps.add(1, ordering: .relaxed) }
            return state.isInLibpq ? nil : state.handle
        }
        PQfinish(unused?.pointer)
    }
}

extension Connection {
    /// True while libpq has not returned from an attempt to connect that was abandoned at its deadline or with its
    /// task, which may take half an hour. Until it has, every `open` fails at once with `unreachable(.silent)`.
    package static var isAbandonedThreadRunning: Bool { ConnectionAttempt.stuckSteps.load(ordering: .relaxed) > 0 }
}
