import CLibpq
import Dispatch
import Synchronization
import Time

/// A libpq connection while it is set up, whose calls into libpq can be abandoned.
///
/// `PQconnectPoll` is documented not to block, and does: it computes as many rounds of SCRAM as the server asks for
/// (2,147,483,647 take half an hour), and reads files and asks Kerberos servers without a limit. So every step runs on one
/// thread that all attempts of the process share. When the deadline passes or the task is canceled during a step, the
/// attempt is left to that thread, which frees it when libpq returns. Until then no other attempt can begin: at most one
/// thread is ever stuck.
final class ConnectionAttempt: Sendable {
    /// One thread, so that a second one cannot be stuck.
    private static let queue = DispatchQueue(label: "mcp-cleanupd.postgres.connecting")
    private static let stuckSteps = Atomic(0)

    /// True while a step that was abandoned has not returned from libpq.
    static var isAbandonedThreadRunning: Bool { stuckSteps.load(ordering: .relaxed) > 0 }

    private struct State {
        var handle: Handle?
        var isInLibpq = false
        var isAbandoned = false
    }

    /// A connection of libpq.
    struct Handle: @unchecked Sendable {
        // Used by one thread at a time: by the attempt's step, and by the connection between two steps and after them.
        let pointer: OpaquePointer
    }

    private let state = Mutex(State())
    private let parameters: ConnectionParameters
    private let candidate: HostCandidate
    /// libpq keeps a pointer to it as long as the connection lives, which may be longer than the `Connection` does.
    private let notices: NoticeReceiver

    /// A server that lets us in needs a few kilobytes for it, and a certificate chain. Above this it only fills memory.
    private static let mostBytes = 1 << 20

    init(_ parameters: ConnectionParameters, to candidate: HostCandidate, notices: NoticeReceiver) {
        self.parameters = parameters
        self.candidate = candidate
        self.notices = notices
    }

    /// Connects and logs in.
    ///
    /// - Parameter queue: where the handlers of waits run.
    /// - Returns: a connection that the caller has to finish.
    /// - Throws: `invalidParameters`, `unreachable`, `server`, `canceled`.
    func complete(
        until deadline: ContinuousClock.Instant, on queue: DispatchQueue, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) -> Handle {
        guard !Self.isAbandonedThreadRunning else {
            let message = "an earlier attempt, which libpq has not ended yet, is in the way of this one"
            throw .unreachable(.silent, message: "\(candidate.description): \(message)")
        }
        let started = ContinuousClock.now
        let parameters = self.parameters
        let start = await step(until: deadline) { [notices] _ -> Handle? in
            guard let connection = parameters.withCStrings({ PQconnectStartParams($0, $1, 0) }) else { return nil }
            PQsetErrorVerbosity(connection, PQERRORS_VERBOSE)
            notices.register(on: connection, hiding: parameters.secrets(in: connection))
            return Handle(pointer: connection)
        }
        guard let start else { throw interruption(since: started) }
        guard let handle = start else { throw .unreachable(.broken, message: "out of memory") }
        if PQstatus(handle.pointer) == CONNECTION_BAD && PQsocket(handle.pointer) < 0 {
            throw failure(handle).beforeAnyPacket
        }
        try await logIn(handle, since: started, until: deadline, on: queue)
        PQsetErrorVerbosity(handle.pointer, PQERRORS_DEFAULT)
        // 0 is success: libpq manual, "Asynchronous Command Processing".
        guard PQsetnonblocking(handle.pointer, 1) == 0 else {
            PQfinish(handle.pointer)
            throw .unreachable(.broken, message: "the socket cannot be made non-blocking")
        }
        IncomingBytes.limitReceiveBuffer(of: PQsocket(handle.pointer))
        return handle
    }

    private func logIn(
        _ handle: Handle, since started: ContinuousClock.Instant, until deadline: ContinuousClock.Instant,
        on queue: DispatchQueue, isolation: isolated (any Actor)? = #isolation
    ) async throws(PostgresError) {
        var incoming = IncomingBytes()
        var polled = PGRES_POLLING_WRITING
        while polled != PGRES_POLLING_OK {
            if polled == PGRES_POLLING_FAILED { throw failure(handle).error }
            let isReading = polled == PGRES_POLLING_READING
            let outcome = await SocketWait.wait(
                for: isReading ? .read : .write, of: PQsocket(handle.pointer), until: deadline, on: queue)
            guard outcome == .ready else {
                PQfinish(handle.pointer)
                throw interruption(since: started)
            }
            // libpq may try a second socket, with TLS or without.
            incoming.willRead(PQsocket(handle.pointer))
            let socket = PQsocket(handle.pointer)
            guard incoming.sinceMessage <= Self.mostBytes else {
                PQfinish(handle.pointer)
                throw tooMuch
            }
            let read = await step(handle, until: deadline) { [incoming] _ in
                ReadGuard.run(socket, incoming, limit: Self.mostBytes) { PQconnectPoll(handle.pointer) }
            }
            guard let read else { throw interruption(since: started) }
            guard let next = read else {
                PQfinish(handle.pointer)
                throw tooMuch
            }
            polled = next
        }
    }

    private var tooMuch: PostgresError {
        let message = "the server sent more than \(Self.mostBytes >> 20) MB before it let us in"
        return .unreachable(.broken, message: "\(candidate.description): \(message)")
    }

    /// Describes why libpq ended the attempt, and frees the connection.
    private func failure(_ handle: Handle) -> ConnectFailure {
        let message = libpqMessage(of: handle.pointer, hiding: parameters.secrets(in: handle.pointer))
        PQfinish(handle.pointer)
        return ConnectFailure(message: message, candidate: candidate)
    }

    private func interruption(since started: ContinuousClock.Instant) -> PostgresError {
        if Task.isCancelled { return .canceled(during: .connecting) }
        let waited = started.duration(to: .now).secondsText
        return .unreachable(.silent, message: "\(candidate.description) did not answer within \(waited)")
    }

    // MARK: Steps

    /// Runs one call of libpq on the shared thread.
    ///
    /// - Returns: what `body` returned; `nil` when the deadline passed or the task was canceled first. The connection is
    ///   freed then, or will be by the shared thread.
    private func step<Value: Sendable>(
        _ handle: Handle? = nil, until deadline: ContinuousClock.Instant,
        isolation: isolated (any Actor)? = #isolation, _ body: @escaping @Sendable (Handle?) -> Value
    ) async -> Value? {
        let answer = FirstAnswer<Value?>()
        let limit = Deadlines.shared.add(at: deadline) { answer.give(nil) }
        defer { Deadlines.shared.cancel(limit) }
        Self.queue.async {
            guard self.enterLibpq(with: handle) else { return }
            let value = body(handle)
            // The first step makes the handle.
            if self.leaveLibpq(with: handle ?? value as? Handle) { answer.give(value) }
        }
        let value = await withTaskCancellationHandler {
            await answer.value
        } onCancel: {
            answer.give(nil)
        }
        if value == nil { abandon(handle) }
        return value
    }

    /// - Returns: false for an attempt that was abandoned before its turn came.
    private func enterLibpq(with handle: Handle?) -> Bool {
        state.withLock { state in
            guard !state.isAbandoned else { return false }
            state.isInLibpq = true
            return true
        }
    }

    /// - Returns: false for an attempt that was abandoned meanwhile, and is freed now.
    private func leaveLibpq(with handle: Handle?) -> Bool {
        let isAbandoned = state.withLock { state in
            state.isInLibpq = false
            state.handle = handle
            return state.isAbandoned
        }
        guard isAbandoned else { return true }
        if let handle { PQfinish(handle.pointer) }
        Self.stuckSteps.subtract(1, ordering: .relaxed)
        return false
    }

    /// Frees the connection now, or leaves that to the thread that is in libpq with it.
    private func abandon(_ handle: Handle?) {
        let unused: Handle? = state.withLock { state in
            state.isAbandoned = true
            if state.isInLibpq {
                Self.stuckSteps.add(1, ordering: .relaxed)
                return nil
            }
            return handle ?? state.handle
        }
        if let unused { PQfinish(unused.pointer) }
    }
}
