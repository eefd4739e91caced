import CLibpq
package import Dispatch
import Glibc
import Time

/// One connection to a PostgreSQL server: libpq without its blocking calls.
///
/// Everything here runs on a queue of its own, never on the cooperative pool, and every wait has a deadline. After an
/// error that leaves the protocol in doubt (`connectionLost`, `unexpectedAnswer`, and `timedOut` and `canceled` unless
/// the server has confirmed that the statement is at its end) the connection is closed, and each later call throws
/// `connectionLost`. One statement at a time: a call made while another is under way is a programming error and traps.
package actor Connection {
    let executor: QueueExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// `nil` once closed.
    var handle: OpaquePointer?
    var isBusy = false
    /// True if waits end when the task is canceled.
    var heedsCancellation = true
    /// The bytes that the server has sent during the statement.
    var incoming = IncomingBytes()
    let notices: NoticeReceiver

    /// The longest that a request to cancel a statement may take: a round trip and the start of a process on a loaded
    /// server, and short compared with any useful deadline. The request and the server's confirmation together may take
    /// twice as long.
    private(set) var cancelLimit = Duration.seconds(1)

    private init(queue: DispatchQueue?, onNotice: @escaping @Sendable (ServerMessage) -> Void) {
        executor = QueueExecutor(label: "mcp-cleanupd.postgres.connection", target: queue)
        notices = NoticeReceiver(onNotice)
    }

    isolated deinit {
        finish()
    }

    // MARK: Connecting

    /// Connects to the first of the URL's hosts that accepts the connection.
    ///
    /// Each host has its share of the time, and each of its addresses a share of the host's, so that a silent name server,
    /// or a host that drops packets, does not use up the time of the others. A server's answer ends the search, unless
    /// the server is starting, stopping or full.
    /// - Parameters:
    ///   - deadline: when to give up, name resolution and TLS included.
    ///   - queue: a serial queue whose thread the connection may use, and block for milliseconds at a time; without it,
    ///     the connection has a thread of its own.
    ///   - onNotice: called for each notice or warning of the server, on the connection's queue; must not block.
    /// - Throws: `invalidParameters`, `unreachable`, `server`, `canceled`.
    package static func open(
        _ url: DatabaseURL, deadline: ContinuousClock.Instant,
        environment: [String: String], queue: DispatchQueue? = nil,
        onNotice: @escaping @Sendable (ServerMessage) -> Void
    ) async throws(PostgresError) -> Connection {
        let security = try TransportSecurity(url: url, environment: environment) { access($0, R_OK) == 0 }
        return try await firstToAnswer(url.hosts(environment: environment), deadline: deadline) {
            (host, share) async throws(PostgresError) in
            try await firstToAnswer(host.resolved(deadline: share), deadline: share) {
                (address, share) async throws(PostgresError) in
                let parameters = ConnectionParameters(
                    url: url, security: security, candidate: address, environment: environment)
                let connection = Connection(queue: queue, onNotice: onNotice)
                try await connection.establish(parameters, to: address, deadline: share)
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
        _ parameters: ConnectionParameters, to candidate: HostCandidate, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        let attempt = ConnectionAttempt(parameters, to: candidate, notices: notices)
        handle = try await attempt.complete(until: deadline, on: executor.queue).pointer
    }

    /// True while libpq has not returned from an attempt to connect that was abandoned at its deadline or with its task.
    /// Until it has, every `open` fails at once with `unreachable(.silent)`. A server can keep libpq computing for half an
    /// hour.
    package static var isAbandonedThreadRunning: Bool { ConnectionAttempt.isAbandonedThreadRunning }

    /// Ends the connection. An open transaction is rolled back by the server.
    package func close() {
        precondition(!isBusy, "a statement is under way: cancel its task instead")
        finish()
    }

    func finish() {
        guard let connection = handle else { return }
        handle = nil
        PQfinish(connection)
    }

    /// Sets how long a request to cancel a statement may take, and again how long its confirmation may.
    package func limitCancellation(to limit: Duration) { cancelLimit = limit }

    // MARK: What is known of the connection

    /// False if the connection is closed, if an error has left it unusable, or if the server has ended it.
    package func isAlive() -> Bool {
        guard let connection = handle else { return false }
        // The server's message comes before the end of the stream, and is shorter than eight reads.
        for _ in 0..<8 {
            guard SocketWait.isReady(PQsocket(connection), .read) else { return true }
            guard PQconsumeInput(connection) == 1 else { break }
            dropNotifications(of: connection)
        }
        finish()
        return false
    }

    /// The WARNINGs that the server sent during the last statement or script: the last 16 of them. COMMIT
    /// sends one when no synchronous standby has confirmed it.
    package var warnings: [ServerMessage] { notices.warnings }

    /// True if a transaction is open, a failed one included.
    package var hasOpenTransaction: Bool {
        guard let handle else { return false }
        return [PQTRANS_INTRANS, PQTRANS_INERROR].contains(PQtransactionStatus(handle))
    }

    /// The server's version, such as 170002; 0 if the connection is closed.
    package var serverVersion: Int { Int(handle.map(PQserverVersion) ?? 0) }

    /// The process number that came with the login; 0 if the connection is closed. A pooler sends a number of its own,
    /// which is not that of `pg_backend_pid()`.
    package var greetedBy: Int { Int(handle.map(PQbackendPID) ?? 0) }

    /// The protection that was negotiated for the connection; `nil` if it is closed.
    package var transport: Transport? {
        guard let handle else { return nil }
        func attribute(_ name: String) -> String { PQsslAttribute(handle, name).map { String(cString: $0) } ?? "?" }
        if PQsslInUse(handle) == 1 { return .tls(version: attribute("protocol"), cipher: attribute("cipher")) }
        let host = PQhost(handle).map { String(cString: $0) } ?? ""
        return host.isEmpty || host.hasPrefix("/") || host.hasPrefix("@") ? .unixSocket : .plainTCP
    }

    /// The protection of a connection.
    package enum Transport: Hashable, Sendable {
        case unixSocket
        case tls(version: String, cipher: String)
        case plainTCP
    }

    /// Waits between two statements. Returns early when the server ends the connection or the task is canceled; the next
    /// statement throws then.
    package func rest(for duration: Duration) async {
        guard let handle else { return }
        _ = await SocketWait.wait(for: .read, of: PQsocket(handle), until: .now + duration, on: executor.queue)
    }
}
