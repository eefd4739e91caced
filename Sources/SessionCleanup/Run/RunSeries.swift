import Postgres

/// Runs of several jobs one after the other, over one connection as long as it lasts.
package struct RunSeries: Sendable {
    private let access: DatabaseAccess
    private var connection: Connection?
    /// What the last run over the connection found; all runs of a series are over one table.
    private var survey: Survey?
    /// Set when no connection came about: the other jobs would wait for the same refusal.
    private var connectFailure: RunFailure?

    package init(_ access: DatabaseAccess) { self.access = access }

    /// Executes one run and reports it; never throws. Cancellation of the task cancels the statement under way.
    package mutating func execute(_ run: CleanupRun, _ request: RunRequest) async -> RunReport {
        let startedAt = run.hostClock()
        let budget = RunBudget(deadline: run.job.deadline, lease: run.history.lease)
        var report = RunReport(
            job: run.job.name, outcome: .succeeded, scheduledAt: request.scheduledAt, startedAt: startedAt,
            finishedAt: startedAt)
        do {
            let connection = try await openConnection(budget)
            try await Self.execute(run, request, over: connection, budget, survey: &survey, report: &report)
        } catch {
            report.failure = error
            report.outcome = Outcome(error)
            if let connection { await DatabaseSession(connection: connection, budget: budget).rollBack() }
            await close(run, request, &report, budget)
        }
        report.finishedAt = run.hostClock()
        report.earlierRuns?.grow()
        return report
    }

    /// On the connection's own queue, so that no message costs a change of thread.
    private static func execute(
        _ run: CleanupRun, _ request: RunRequest, over connection: isolated Connection, _ budget: RunBudget,
        survey: inout Survey?, report: inout RunReport
    ) async throws(RunFailure) {
        let session = DatabaseSession(connection: connection, budget: budget)
        try await run.execute(request, in: session, survey: &survey, report: &report)
    }

    /// Records in the history how a run failed, over a new connection if need be. If that fails too, the run's own
    /// failure stays the one to report; its row is closed by the next process that claims a run after its lease has ended.
    private mutating func close(
        _ run: CleanupRun, _ request: RunRequest, _ report: inout RunReport, _ budget: RunBudget
    ) async {
        guard report.claimToken != nil, report.outcome != .abandoned else { return }
        do {
            if let connection, await connection.isAlive() {
                return try await run.close(
                    request, &report, in: DatabaseSession(connection: connection, budget: budget))
            }
            let opened = try await access.connect(limit: budget.untilDeadline)
            await opened.limitCancellation(to: budget.grace)
            connection = opened
            survey = nil
            try await run.close(request, &report, in: DatabaseSession(connection: opened, budget: budget))
        } catch .claimLost where report.runID != nil {
            report.outcome = .abandoned
        } catch {
            // Also where no row came about.
        }
    }

    /// What the history has of a job's last runs; `nil` where it cannot be read, which fails nothing. Over the connection of
    /// the run that came before, within some seconds.
    package func recentRuns(of job: String) async -> RecentRuns? {
        guard let connection, await connection.isAlive() else { return nil }
        let session = DatabaseSession(connection: connection, budget: RunBudget(deadline: .seconds(6)))
        do {
            return try await RecentRuns.read([job], in: session)[job]
        } catch {
            await session.rollBack()
            return nil
        }
    }

    /// What a run would delete, and how it would look for it. Deletes nothing and records nothing.
    package mutating func preview(_ run: CleanupRun) async throws(RunFailure) -> RunPreview {
        let budget = RunBudget(deadline: run.job.deadline)
        let session = DatabaseSession(connection: try await openConnection(budget), budget: budget)
        do {
            return try await run.preview(in: session)
        } catch {
            await session.rollBack()
            throw error
        }
    }

    /// Closes the connection, if there is one.
    package mutating func end() async {
        await connection?.close()
        connection = nil
    }

    private mutating func openConnection(_ budget: RunBudget) async throws(RunFailure) -> Connection {
        if Task.isCancelled { throw .canceled }
        if let connectFailure { throw connectFailure }
        if let connection, await connection.isAlive() {
            await connection.limitCancellation(to: budget.grace)
            return connection
        }
        let hadFullTime = budget.remaining >= access.connectTimeout
        do {
            let opened = try await open(limit: budget.remaining)
            await opened.limitCancellation(to: budget.grace)
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
        survey = nil
        return opened
    }
}
