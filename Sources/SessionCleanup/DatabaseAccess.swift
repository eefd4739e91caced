package import Dispatch
package import Postgres

/// Access to the database. The URL is read again for each connection, so that a rotated password needs no restart.
package struct DatabaseAccess: Sendable, CustomReflectable {
    /// Reads the URL from its source.
    package var url: @Sendable () throws(RunFailure) -> DatabaseURL
    /// The longest time that connecting may take, name resolution and TLS included.
    package var connectTimeout: Duration
    /// The variables that libpq and its TLS library look at; never one that may hold the URL.
    package let environment: [String: String]
    /// A serial queue whose thread connections may use; see `Connection.open`.
    package let queue: DispatchQueue?
    package let onNotice: @Sendable (ServerMessage) -> Void
    /// Called with the time that a run's connecting took, or with the failure to connect.
    package let onConnection: @Sendable (Result<Duration, RunFailure>) -> Void

    package init(
        url: @escaping @Sendable () throws(RunFailure) -> DatabaseURL, connectTimeout: Duration,
        environment: [String: String], queue: DispatchQueue? = nil,
        onNotice: @escaping @Sendable (ServerMessage) -> Void,
        onConnection: @escaping @Sendable (Result<Duration, RunFailure>) -> Void = { _ in }
    ) {
        self.url = url
        self.connectTimeout = connectTimeout
        self.environment = environment.filter { $0.key.hasPrefix("PG") || ["HOME", "SSL_CERT_FILE"].contains($0.key) }
        self.queue = queue
        self.onNotice = onNotice
        self.onConnection = onConnection
    }

    /// Empty, so that neither `dump` nor a description prints the variables: PGPASSWORD may be among them.
    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// - Parameter limit: the longest time that connecting may take, if less than the configured time.
    package func connect(limit: Duration? = nil) async throws(RunFailure) -> Connection {
        let url = try url()
        let timeout = min(connectTimeout, url.connectTimeout ?? connectTimeout, limit ?? connectTimeout)
        do {
            return try await Connection.open(
                url, deadline: .now + timeout, environment: environment, queue: queue, onNotice: onNotice)
        } catch {
            throw RunFailure(error)
        }
    }

    /// Opens a connection, lets `body` use it, and closes it, all within the deadline.
    func withSession<Value>(
        deadline: Duration, _ body: (DatabaseSession) async throws -> Value
    ) async throws(RunFailure) -> Value {
        let budget = RunBudget(deadline: deadline)
        let session = DatabaseSession(connection: try await connect(limit: budget.remaining), budget: budget)
        await session.connection.limitCancellation(to: budget.grace)
        let result: Result<Value, RunFailure>
        do {
            result = .success(try await body(session))
        } catch {
            result = .failure(RunFailure(error))
        }
        await session.connection.close()
        return try result.get()
    }
}
