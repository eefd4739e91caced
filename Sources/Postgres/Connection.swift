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
    private let executor: QueueExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// `nil` once closed.
    private var handle: OpaquePointer?
    private var isBusy = false
    /// Whether waits end when the task is canceled.
    private var heedsCancellation = true
    private let notices: NoticeReceiver

    /// How long a request to cancel a statement may take to get there: a round trip and a process start on a loaded
    /// server, and short against any deadline worth setting. The request and the server's confirmation together have
    /// twice that.
    private var cancelLimit = Duration.seconds(1)
    /// How long to wait for the confirmation before asking again, doubled each time: a round trip, mostly.
    private static let firstConfirmationWait = Duration.milliseconds(100)

    private init(queue: DispatchQueue?, onNotice: @escaping @Sendable (ServerMessage) -> Void) {
        executor = QueueExecutor(label: "mcp-cleanupd.postgres.connection", target: queue)
        notices = NoticeReceiver(onNotice)
    }

    isolated deinit {
        finish()
    }

    // MARK: Connecting

    /// Connects to the first of the URL's hosts that takes us.
    ///
    /// Each host gets its share of the time, and each of its addresses a share of that, so that a name server that is
    /// silent, or a host that swallows packets, does not use up the others' time. An answer by a server, except that it
    /// is starting, stopping or full, ends the search.
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
                let connection = Connection(queue: queue, onNotice: onNotice)
                try await connection.establish(
                    ConnectionParameters(url: url, security: security, candidate: address, environment: environment),
                    to: address, deadline: share)
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
        let started = ContinuousClock.now
        guard let connection = parameters.withCStrings({ PQconnectStartParams($0, $1, 0) }) else {
            throw .unreachable(.broken, message: "out of memory")
        }
        handle = connection
        func failure() -> ConnectFailure {
            ConnectFailure(
                message: libpqMessage(of: connection), candidate: candidate, secrets: parameters.secrets)
        }
        if PQstatus(connection) == CONNECTION_BAD && PQsocket(connection) < 0 {
            let failure = failure()
            finish()
            throw failure.beforeAnyPacket
        }
        PQsetErrorVerbosity(connection, PQERRORS_VERBOSE)
        notices.register(on: connection)
        var polled = PGRES_POLLING_WRITING
        while polled != PGRES_POLLING_OK {
            if polled == PGRES_POLLING_FAILED {
                let failure = failure()
                finish()
                throw failure.error
            }
            let outcome = await SocketWait.wait(
                for: polled == PGRES_POLLING_READING ? .read : .write, of: PQsocket(connection), until: deadline,
                on: executor.queue)
            switch outcome {
            case .ready:
                polled = PQconnectPoll(connection)
            case .deadlinePassed:
                finish()
                let waited = started.duration(to: .now).secondsText
                throw .unreachable(.silent, message: "\(candidate.description) did not answer within \(waited)")
            case .canceled:
                finish()
                throw .canceled(during: .connecting)
            }
        }
        PQsetErrorVerbosity(connection, PQERRORS_DEFAULT)
        // 0 is success: libpq manual, "Asynchronous Command Processing".
        guard PQsetnonblocking(connection, 1) == 0 else {
            finish()
            throw .unreachable(.broken, message: "the socket cannot be made non-blocking")
        }
    }

    /// Ends the connection. An open transaction is rolled back by the server.
    package func close() {
        precondition(!isBusy, "a statement is under way: cancel its task instead")
        finish()
    }

    private func finish() {
        guard let connection = handle else { return }
        handle = nil
        PQfinish(connection)
    }

    /// Sets how long a request to cancel a statement may take, and again how long its confirmation may.
    package func limitCancellation(to limit: Duration) { cancelLimit = limit }

    // MARK: What is known of the connection

    /// False once it is closed, an error has left it unusable or the server is heard to have ended it.
    package func isAlive() -> Bool {
        guard let connection = handle else { return false }
        // The server's last words come before the end of the stream, and nobody has this much to say.
        for _ in 0..<8 {
            guard SocketWait.isReady(PQsocket(connection), .read) else { return true }
            guard PQconsumeInput(connection) == 1 else { break }
        }
        finish()
        return false
    }

    /// The WARNINGs that the server sent during the last statement or script: the last 16 of them. In a script,
    /// `statementIndex` tells which statement each is about.
    package var warnings: [ServerMessage] { notices.warnings }

    /// Whether a transaction is open, be it a failed one.
    package var hasOpenTransaction: Bool {
        guard let handle else { return false }
        return [PQTRANS_INTRANS, PQTRANS_INERROR].contains(PQtransactionStatus(handle))
    }

    /// The server's version, such as 170002; 0 once closed.
    package var serverVersion: Int { Int(handle.map(PQserverVersion) ?? 0) }

    /// The process that greeted us. Another one than `pg_backend_pid()` names means that something stands in between:
    /// a pooler gives a number of its own. 0 once closed.
    package var greetedBy: Int { Int(handle.map(PQbackendPID) ?? 0) }

    /// How the connection is protected; `nil` once closed.
    package var transport: Transport? {
        guard let handle else { return nil }
        func attribute(_ name: String) -> String { PQsslAttribute(handle, name).map { String(cString: $0) } ?? "?" }
        if PQsslInUse(handle) == 1 { return .tls(version: attribute("protocol"), cipher: attribute("cipher")) }
        let host = PQhost(handle).map { String(cString: $0) } ?? ""
        return host.isEmpty || host.hasPrefix("/") || host.hasPrefix("@") ? .unixSocket : .plainTCP
    }

    /// What protects a connection, as negotiated.
    package enum Transport: Hashable, Sendable {
        case unixSocket
        case tls(version: String, cipher: String)
        case plainTCP
    }

    /// Lets time pass between two statements; less of it when the server ends the connection or the task is canceled,
    /// which the next statement tells.
    package func rest(for duration: Duration) async {
        guard let handle else { return }
        _ = await SocketWait.wait(for: .read, of: PQsocket(handle), until: .now + duration, on: executor.queue)
    }

    // MARK: Statements

    /// Runs one statement with parameters and waits for its rows.
    ///
    /// - Parameters:
    ///   - step: what the caller is doing, for the error.
    ///   - deadline: when to cancel the statement on the server and throw.
    ///   - heedsCancellation: false for what must not be called off half way.
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
    /// - Parameter heedsCancellation: false for what must not be called off half way.
    /// - Throws: as `query`.
    package func script(
        _ sql: String, during step: PostgresError.Step = .querying, deadline: ContinuousClock.Instant,
        heedsCancellation: Bool = true
    ) async throws(PostgresError) -> [QueryResult] {
        try refuseNUL(sql, during: step)
        return try await perform(
            isScript: true, during: step, deadline: deadline, heedsCancellation: heedsCancellation
        ) {
            PQsendQuery($0, sql) == 1
        }
    }

    /// C would end the text at a NUL, and the server would see another statement or another value than was meant. It
    /// refuses such a text in its own words wherever one reaches it; these are the same.
    private func refuseNUL(_ text: String, during step: PostgresError.Step) throws(PostgresError) {
        guard text.utf8.contains(0) else { return }
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00"
        throw .server(ServerMessage(sqlState: "22021", text: message), during: step)
    }

    private static func send(_ sql: String, _ parameters: [Parameter], over connection: OpaquePointer) -> Bool {
        let types = parameters.map { Oid($0.type) }
        let texts = parameters.map { $0.text.map { strdup($0) } }
        defer { for text in texts { free(text ?? nil) } }
        let values = texts.map { $0.map { UnsafePointer<CChar>($0) } ?? nil }
        return PQsendQueryParams(connection, sql, Int32(parameters.count), types, values, nil, nil, 0) == 1
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
        notices.begin(isScript: isScript)
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
            let message = libpqMessage(of: connection)
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

    /// Why a statement's exchange ended early.
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
                guard PQconsumeInput(connection) == 1 else { throw Interruption.lost }
            default: throw Interruption.lost
            }
        }
    }

    /// What the server has said so far.
    private struct Answer {
        let isScript: Bool
        var results: [QueryResult] = []
        var failure: ServerMessage?

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
                // A server that ends us says why first; that word explains more than the end of the connection.
                guard PQconsumeInput(connection) == 1 else { throw try lost(answer, during: step) }
            }
            guard let raw = PQgetResult(connection) else { break }
            defer { PQclear(raw) }
            switch PQresultStatus(raw) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
                answer.results.append(QueryResult(raw))
                notices.resultCame()
            case PGRES_FATAL_ERROR:
                // libpq makes an error without SQLSTATE itself, when the connection breaks.
                guard let message = ServerMessage(raw, statementIndex: answer.statementIndex) else {
                    throw try lost(answer, during: step)
                }
                answer.failure = answer.failure ?? message
            case let status:
                throw PostgresError.unexpectedAnswer(String(cString: PQresStatus(status)))
            }
        }
        guard answer.failure != nil || PQstatus(connection) == CONNECTION_OK else { throw Interruption.lost }
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

    /// Asks the server to cancel the running statement and waits, briefly, for its confirmation, so that when the
    /// caller hears of the end, the statement has ended on a reachable server too.
    /// - Returns: whether the server has confirmed it, and can be given another statement.
    private func cancelStatement(of connection: OpaquePointer, _ answer: inout Answer) async -> Bool {
        guard let request = CancelRequest(connection) else { return false }
        let deadline = ContinuousClock.now + cancelLimit * 2
        var patience = Self.firstConfirmationWait
        // A request that overtakes its statement finds an idle backend, which forgets it: ask again. The task may be
        // canceled already: the waits here go on all the same.
        while ContinuousClock.now < deadline {
            let limit = min(cancelLimit, ContinuousClock.now.duration(to: deadline))
            guard await BlockingCall.run(limit: limit, heedsCancellation: false, { request.send() }) == true else {
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
                guard PQconsumeInput(connection) == 1 else { return .impossible }
            }
            guard let result = PQgetResult(connection) else { return .given }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK: answer.results.append(QueryResult(result))
            case PGRES_FATAL_ERROR:
                guard let message = ServerMessage(result, statementIndex: answer.statementIndex) else {
                    return .impossible
                }
                answer.failure = answer.failure ?? message
            // In COPY, libpq would hand out the same result for ever.
            default: return .impossible
            }
        }
    }
}
