import CLibpq
package import Dispatch
import Time

/// One connection to a PostgreSQL server: libpq without its blocking calls.
///
/// Every wait has a deadline. After an error that leaves the protocol in doubt (`connectionLost`, `unexpectedAnswer`,
/// and `timedOut` and `canceled` unless the server has confirmed that the statement is at its end) the connection is
/// closed, and each later call throws `connectionLost`. A call made while another is under way traps.
package actor Connection {
    private let executor: QueueExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// `nil` once closed.
    private var handle: LibpqConnection?
    private var isBusy = false
    private var incoming = IncomingBytes()

    /// Enough for a round trip and the start of a process on a loaded server.
    private var cancelLimit = Duration.seconds(1)

    private init(queue: DispatchQueue?) { executor = QueueExecutor(target: queue) }

    /// Connects to the first of the URL's hosts that accepts the connection.
    ///
    /// Each host has its share of the time, and each of its addresses a share of the host's. A server's answer ends the
    /// search, unless the server is starting, stopping or full.
    /// - Parameters:
    ///   - deadline: when to give up, name resolution and TLS included.
    ///   - queue: a serial queue whose thread the connection may use, and block for milliseconds at a time.
    ///   - onNotice: called for each notice or warning of the server, on the connection's queue; must not block.
    /// - Throws: `invalidParameters`, `unreachable`, `server`, `canceled`.
    package static func open(
        _ url: DatabaseURL, deadline: ContinuousClock.Instant, environment: [String: String],
        queue: DispatchQueue? = nil, onNotice: @escaping @Sendable (ServerMessage) -> Void
    ) async throws(PostgresError) -> Connection {
        let tls = try url.tlsOverrides(environment: environment)
        return try await firstToAnswer(url.hosts(environment: environment), deadline: deadline) {
            (host, share) async throws(PostgresError) in
            try await firstToAnswer(host.resolved(deadline: share), deadline: share) {
                (address, share) async throws(PostgresError) in
                let attempt = ConnectionAttempt(
                    parameters: ConnectionParameters(url: url, tls: tls, candidate: address, environment: environment),
                    deadline: share, onNotice: onNotice)
                let connection = Connection(queue: queue)
                try await connection.establish(attempt)
                return connection
            }
        }
    }

    private static func firstToAnswer(
        _ candidates: [HostCandidate], deadline: ContinuousClock.Instant,
        attempt: (HostCandidate, ContinuousClock.Instant) async throws(PostgresError) -> Connection
    ) async throws(PostgresError) -> Connection {
        var failures: [PostgresError] = []
        for (index, candidate) in candidates.enumerated() {
            let left = ContinuousClock.now.duration(to: deadline)
            do {
                return try await attempt(candidate, .now + left / (candidates.count - index))
            } catch {
                guard error.leavesOtherHostsToTry else { throw error }
                failures.append(error)
            }
        }
        throw PostgresError(ofAllHosts: failures)
    }

    private func establish(_ attempt: ConnectionAttempt) async throws(PostgresError) {
        handle = try await attempt.complete(on: executor.queue)
    }

    /// Runs statements, separated by semicolons, in one round trip, and returns one result for each: the simple query
    /// protocol, in which an error skips the statements after it. When the deadline passes, or the task is canceled and
    /// `heedsCancellation` is true, the statement is canceled on the server.
    /// - Throws: every case but `invalidParameters` and `unreachable`. After `server` the connection stays usable, in a
    ///   failed transaction if one was open.
    package func script(
        _ sql: String, during step: PostgresError.Step = .querying, deadline: ContinuousClock.Instant,
        heedsCancellation: Bool = true
    ) async throws(PostgresError) -> [QueryResult] {
        // C would end the text at the NUL, and another statement would run. The error is the server's own for it.
        guard !sql.utf8.contains(0) else {
            let message = "invalid byte sequence for encoding \"UTF8\": 0x00"
            throw .server(ServerMessage(sqlState: "22021", text: message), during: step)
        }
        precondition(!isBusy, "one statement at a time")
        guard let handle else { throw .connectionLost(during: step, message: "it is closed") }
        if heedsCancellation, Task.isCancelled { throw .canceled(during: step) }
        isBusy = true
        defer { isBusy = false }
        handle.forgetNotices()
        guard incoming.scriptBegins(limit: Exchange.mostBytesOfAMessage) else {
            self.handle = nil
            throw .unexpectedAnswer("the server makes the connection keep more and more")
        }
        var exchange = Exchange(
            connection: handle, queue: executor.queue, step: step, deadline: deadline,
            heedsCancellation: heedsCancellation, incoming: incoming)
        defer { incoming = exchange.incoming }
        do throws(PostgresError) {
            guard PQsendQuery(handle.pointer, sql) == 1, PQsetSingleRowMode(handle.pointer) == 1 else {
                throw exchange.lost
            }
            try await exchange.complete()
        } catch {
            switch error {
            case .timedOut, .canceled:
                guard await exchange.cancel(limit: cancelLimit) else { fallthrough }
                // All was done before the request to cancel arrived.
                if exchange.reader.failure == nil { return exchange.reader.results }
            default: self.handle = nil
            }
            // A server that ends the session says why first; its message explains more than the end does.
            guard case .connectionLost = error, exchange.reader.failure != nil else { throw error }
        }
        if let failure = exchange.reader.failure { throw .server(failure, during: step) }
        return exchange.reader.results
    }

    /// Ends the connection. An open transaction is rolled back by the server.
    package func close() {
        precondition(!isBusy, "a statement is under way: cancel its task instead")
        handle = nil
    }

    /// Sets the limit for a request to cancel a statement; its confirmation may take as long again.
    package func limitCancellation(to limit: Duration) { cancelLimit = limit }

    /// False if the connection is closed, if an error has left it unusable, or if the server has ended it.
    package func isAlive() -> Bool {
        guard let handle else { return false }
        let (pointer, limit) = (handle.pointer, Exchange.mostBytesOfAMessage)
        // A server that ends the session sends its message before the end of the stream: fewer than eight reads.
        for _ in 0..<8 {
            guard SocketWait.isReady(PQsocket(pointer), .read) else { return true }
            guard incoming.read(PQsocket(pointer), limit: limit, { PQconsumeInput(pointer) }) == 1 else { break }
            handle.dropNotifications()
        }
        self.handle = nil
        return false
    }

    /// The last 16 WARNINGs of the last script. COMMIT sends one when no synchronous standby has confirmed it.
    package var warnings: [ServerMessage] { handle?.warnings ?? [] }

    /// True if a transaction is open, a failed one included.
    package var hasOpenTransaction: Bool {
        [PQTRANS_INTRANS, PQTRANS_INERROR].contains(PQtransactionStatus(handle?.pointer))
    }

    /// The server's version, such as 170002; 0 if the connection is closed.
    package var serverVersion: Int { Int(PQserverVersion(handle?.pointer)) }

    /// The process ID that came with the login: the server's `pg_backend_pid()`, or a pooler's own number; 0 if closed.
    package var greetedBy: Int { Int(PQbackendPID(handle?.pointer)) }

    /// The protection that was negotiated for the connection; `nil` if it is closed.
    package var transport: Transport? {
        guard let pointer = handle?.pointer else { return nil }
        func attribute(_ name: String) -> String { PQsslAttribute(pointer, name).map { String(cString: $0) } ?? "?" }
        if PQsslInUse(pointer) == 1 { return .tls(version: attribute("protocol"), cipher: attribute("cipher")) }
        let host = HostCandidate(host: PQhost(pointer).map { String(cString: $0) })
        return host.isUnixSocket ? .unixSocket : .plainTCP
    }

    package enum Transport: Hashable, Sendable {
        case unixSocket
        case tls(version: String, cipher: String)
        case plainTCP
    }

    /// Waits between two statements. Returns early when the server sends anything or ends, or the task is canceled.
    package func rest(for duration: Duration) async {
        guard let pointer = handle?.pointer else { return }
        _ = await SocketWait.wait(for: .read, of: PQsocket(pointer), until: .now + duration, on: executor.queue)
    }
}

/// Runs an actor's jobs on a serial Dispatch queue of its own, on the thread of the target if there is one: libpq may take
/// a lock or read a file, and must not block a thread of Swift's cooperative pool, which has one for each core.
private final class QueueExecutor: SerialExecutor {
    let queue: DispatchQueue

    init(target: DispatchQueue?) {
        queue = DispatchQueue(label: "mcp-cleanupd.postgres.connection", target: target)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }

    func checkIsolated() { dispatchPrecondition(condition: .onQueue(queue)) }
}
