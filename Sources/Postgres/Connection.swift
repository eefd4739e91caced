import CLibpq
package import Dispatch
import Glibc
import Time

/// One connection to a PostgreSQL server: libpq without its blocking calls.
///
/// Every wait has a deadline. After an error that leaves the protocol in doubt (`connectionLost`, `unexpectedAnswer`,
/// and `timedOut` and `canceled` unless the server has confirmed that the statement is at its end) the connection is
/// closed, and each later call throws `connectionLost`. A call made while another is under way traps.
package actor Connection {
    let executor: QueueExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// `nil` once closed.
    private(set) var handle: OpaquePointer?
    var isBusy = false
    let notices: NoticeReceiver

    /// The longest that a request to cancel a statement may take, and half of what it may take with the server's
    /// confirmation: a round trip and the start of a process on a loaded server.
    private(set) var cancelLimit = Duration.seconds(1)

    private init(queue: DispatchQueue?, onNotice: @escaping @Sendable (ServerMessage) -> Void) {
        executor = QueueExecutor(target: queue)
        notices = NoticeReceiver(onNotice)
    }

    isolated deinit { finish() }

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
        let security = try TransportSecurity(url: url, environment: environment) { access($0, R_OK) == 0 }
        return try await firstToAnswer(url.hosts(environment: environment), deadline: deadline) {
            (host, share) async throws(PostgresError) in
            try await firstToAnswer(host.resolved(deadline: share), deadline: share) {
                (address, share) async throws(PostgresError) in
                let parameters = ConnectionParameters(
                    url: url, security: security, candidate: address, environment: environment)
                let connection = Connection(queue: queue, onNotice: onNotice)
                try await connection.establish(parameters, deadline: share)
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

    private func establish(
        _ parameters: ConnectionParameters, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        let attempt = ConnectionAttempt(parameters, notices: notices, deadline: deadline)
        handle = try await attempt.complete(on: executor.queue).pointer
    }

    /// Ends the connection. An open transaction is rolled back by the server.
    package func close() {
        precondition(!isBusy, "a statement is under way: cancel its task instead")
        finish()
    }

    func finish() {
        PQfinish(handle)
        handle = nil
    }

    /// Sets how long a request to cancel a statement may take, and again how long its confirmation may.
    package func limitCancellation(to limit: Duration) { cancelLimit = limit }

    /// False if the connection is closed, if an error has left it unusable, or if the server has ended it.
    package func isAlive() -> Bool {
        guard let handle else { return false }
        // The server's message comes before the end of the stream, and is shorter than eight reads.
        for _ in 0..<8 {
            guard SocketWait.isReady(PQsocket(handle), .read) else { return true }
            guard PQconsumeInput(handle) == 1 else { break }
            dropNotifications(of: handle)
        }
        finish()
        return false
    }

    /// The last 16 WARNINGs of the last script. COMMIT sends one when no synchronous standby has confirmed it.
    package var warnings: [ServerMessage] { notices.warnings }

    /// True if a transaction is open, a failed one included.
    package var hasOpenTransaction: Bool {
        [PQTRANS_INTRANS, PQTRANS_INERROR].contains(PQtransactionStatus(handle))
    }

    /// The server's version, such as 170002; 0 if the connection is closed.
    package var serverVersion: Int { Int(PQserverVersion(handle)) }

    /// The number that came with the login: the server's `pg_backend_pid()`, or a pooler's own; 0 if it is closed.
    package var greetedBy: Int { Int(PQbackendPID(handle)) }

    /// The protection that was negotiated for the connection; `nil` if it is closed.
    package var transport: Transport? {
        guard let handle else { return nil }
        func attribute(_ name: String) -> String { PQsslAttribute(handle, name).map { String(cString: $0) } ?? "?" }
        if PQsslInUse(handle) == 1 { return .tls(version: attribute("protocol"), cipher: attribute("cipher")) }
        let host = HostCandidate(host: PQhost(handle).map { String(cString: $0) })
        return host.isUnixSocket ? .unixSocket : .plainTCP
    }

    package enum Transport: Hashable, Sendable {
        case unixSocket
        case tls(version: String, cipher: String)
        case plainTCP
    }

    /// Waits between two statements, until the server ends the connection or the task is canceled at most.
    package func rest(for duration: Duration) async {
        guard let handle else { return }
        _ = await SocketWait.wait(for: .read, of: PQsocket(handle), until: .now + duration, on: executor.queue)
    }
}

/// Runs an actor's jobs on a serial Dispatch queue of its own: libpq may take a lock or read a file, and must not block
/// a thread of Swift's cooperative pool, which has one for each core.
final class QueueExecutor: SerialExecutor {
    let queue: DispatchQueue

    /// - Parameter target: a serial queue whose thread the jobs use, or `nil` for a thread of their own.
    init(target: DispatchQueue?) {
        queue = DispatchQueue(label: "mcp-cleanupd.postgres.connection", target: target)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }

    func checkIsolated() { dispatchPrecondition(condition: .onQueue(queue)) }
}
