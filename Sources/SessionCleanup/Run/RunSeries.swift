package import Dispatch
package import Postgres

/// How to reach the database: anew for each connection, so that a rotated password needs no restart.
package struct DatabaseAccess: Sendable, CustomReflectable {
    /// Reads the URL from wherever it is kept.
    package let url: @Sendable () throws(RunFailure) -> DatabaseURL
    /// How long a connection may take to come about, name resolution and TLS included.
    package var connectTimeout: Duration
    /// The variables that libpq and its TLS library look at; never one that may hold the URL.
    package let environment: [String: String]
    /// A serial queue whose thread connections may use; see `Connection.open`.
    package let queue: DispatchQueue?
    package let onNotice: @Sendable (ServerMessage) -> Void
    /// Called when a connection has come about, with how long it took, or has not for a run that waited for it.
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

    /// Nothing that `dump` or a description could print: PGPASSWORD is among the variables.
    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// - Parameter limit: the most that connecting may take, if less than the configured time.
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
}

/// Runs of several jobs one after the other, over one connection as long as it lasts.
package struct RunSeries: Sendable {
    private let access: DatabaseAccess
    private var connection: Connection?
    /// What the last run over the connection found; all runs of a series are over one table.
    private var shape: SessionTable.Shape?
    /// Set when no connection came about: the other jobs would wait for the same refusal.
    private var connectFailure: RunFailure?

    package init(_ access: DatabaseAccess) { self.access = access }

    /// Opens the connection before there is a run to wait for it. Where that fails, the run tries again, and tells why.
    package mutating func connect(limit: Duration) async {
        // A cause that lasts is met again by the run, which reports it; one that does not is nobody's concern.
        _ = try? await open(limit: limit)
    }

    /// Executes one run and reports it; never throws. Cancellation of the task cancels the statement under way.
    package mutating func execute(_ run: CleanupRun, _ request: RunRequest) async -> RunReport {
        let startedAt = run.hostClock()
        let clock = RunClock(deadline: run.job.deadline, lease: run.history.lease)
        var report = RunReport(
            job: run.job.name, outcome: .succeeded, scheduledAt: request.scheduledAt, startedAt: startedAt,
            finishedAt: startedAt)
        do {
            let connection = try await openConnection(clock)
            try await run.execute(request, over: connection, clock: clock, shape: &shape, report: &report)
        } catch {
            report.failure = error
            report.outcome = Outcome(error)
            await connection?.rollBack(clock)
            await close(run, &report, clock)
        }
        report.finishedAt = run.hostClock()
        report.earlierRuns?.grow()
        return report
    }

    /// Lets the history know how a run failed, over a new connection if need be. Whatever that meets with, the run's own
    /// failure stays the one to report; its row is closed by whoever looks after its lease, then.
    private mutating func close(_ run: CleanupRun, _ report: inout RunReport, _ clock: RunClock) async {
        guard report.claimToken != nil, report.outcome != .abandoned else { return }
        do {
            if let connection, await connection.isAlive() {
                return try await run.close(&report, over: connection, clock: clock)
            }
            let opened = try await access.connect(limit: clock.lastWords)
            await opened.limitCancellation(to: clock.grace)
            connection = opened
            shape = nil
            try await run.close(&report, over: opened, clock: clock)
        } catch .claimLost where report.runID != nil {
            report.outcome = .abandoned
        } catch {
            // Also where no row came about.
        }
    }

    /// What a run would delete, and how it would look for it. Deletes nothing and records nothing.
    package mutating func preview(_ run: CleanupRun) async throws(RunFailure) -> RunPreview {
        let clock = RunClock(deadline: run.job.deadline)
        let connection = try await openConnection(clock)
        do {
            return try await run.preview(over: connection, clock: clock)
        } catch {
            await connection.rollBack(clock)
            throw error
        }
    }

    /// Closes the connection, if there is one.
    package mutating func end() async {
        await connection?.close()
        connection = nil
    }

    private mutating func openConnection(_ clock: RunClock) async throws(RunFailure) -> Connection {
        if Task.isCancelled { throw .canceled }
        if let connectFailure { throw connectFailure }
        if let connection, await connection.isAlive() {
            await connection.limitCancellation(to: clock.grace)
            return connection
        }
        let hadFullTime = clock.remaining >= access.connectTimeout
        do {
            let opened = try await open(limit: clock.remaining)
            await opened.limitCancellation(to: clock.grace)
            return opened
        } catch {
            if error.kind != .canceled { access.onConnection(.failure(error)) }
            // A failure for want of this job's own time says nothing about the next job.
            if hadFullTime { connectFailure = error }
            throw error
        }
    }

    private mutating func open(limit: Duration) async throws(RunFailure) -> Connection {
        let started = ContinuousClock.now
        let opened = try await access.connect(limit: limit)
        access.onConnection(.success(started.duration(to: .now)))
        connection = opened
        shape = nil
        return opened
    }
}
