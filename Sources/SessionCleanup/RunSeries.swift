package import CleanupSchedule
package import Dispatch
package import Postgres

/// How to reach the database: anew for each connection, so that a rotated password needs no restart.
package struct DatabaseAccess: Sendable, CustomReflectable {
    /// Reads the URL from wherever it is kept.
    package let url: @Sendable () throws(RunFailure) -> DatabaseURL
    /// How long a connection may take to come about, name resolution and TLS included.
    package let connectTimeout: Duration
    /// The variables that libpq and its TLS library look at; never one that may hold the URL.
    package let environment: [String: String]
    /// A serial queue whose thread connections may use; see `Connection.open`.
    package let queue: DispatchQueue?
    package let onNotice: @Sendable (ServerMessage) -> Void

    package init(
        url: @escaping @Sendable () throws(RunFailure) -> DatabaseURL, connectTimeout: Duration,
        environment: [String: String], queue: DispatchQueue? = nil,
        onNotice: @escaping @Sendable (ServerMessage) -> Void
    ) {
        self.url = url
        self.connectTimeout = connectTimeout
        self.environment = environment.filter { $0.key.hasPrefix("PG") || ["HOME", "SSL_CERT_FILE"].contains($0.key) }
        self.queue = queue
        self.onNotice = onNotice
    }

    /// Nothing that `dump` or a description could print: PGPASSWORD is among the variables.
    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// - Parameter limit: the most that connecting may take, if less than the configured time.
    package func connect(limit: Duration? = nil) async throws(RunFailure) -> Connection {
        let url = try url()
        let timeout = min(connectTimeout, limit ?? connectTimeout)
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

    /// Executes one run and reports it; never throws. Cancellation of the task cancels the statement under way.
    package mutating func execute(_ run: CleanupRun, scheduledAt: UTCInstant) async -> RunReport {
        let startedAt = run.hostClock()
        let clock = RunClock(deadline: run.job.deadline)
        var progress = RunProgress()
        var cutoff: UTCInstant?
        var failure: RunFailure?
        do {
            let connection = try await openConnection(clock)
            let target = try await run.target(over: connection, clock: clock, shape: &shape)
            cutoff = target.cutoff
            try await run.delete(target, over: connection, clock: clock, progress: &progress)
        } catch {
            failure = error
            await connection?.rollBack(clock)
        }
        return RunReport(
            job: run.job.name, outcome: failure.map(Outcome.init) ?? .succeeded, scheduledAt: scheduledAt,
            startedAt: startedAt, finishedAt: run.hostClock(), cutoff: cutoff, progress: progress, attempts: 1,
            failure: failure)
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
        if let connection, await connection.isOpen {
            await connection.limitCancellation(to: clock.grace)
            return connection
        }
        let hadFullTime = clock.remaining >= access.connectTimeout
        do {
            let opened = try await access.connect(limit: clock.remaining)
            await opened.limitCancellation(to: clock.grace)
            connection = opened
            shape = nil
            return opened
        } catch {
            // A failure for want of this job's own time says nothing about the next job.
            if hadFullTime { connectFailure = error }
            throw error
        }
    }
}

extension Outcome {
    init(_ failure: RunFailure) {
        if failure.kind == .canceled {
            self = .canceled
        } else {
            self = failure.isTimeout ? .timedOut : .failed
        }
    }
}
