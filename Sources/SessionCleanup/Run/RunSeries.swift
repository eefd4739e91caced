import Postgres

/// Runs of several jobs one after the other, over one connection as long as it lasts.
package struct RunSeries: Sendable {
    private let access: DatabaseAccess
    private var connection: Connection?
    /// The survey of the last run over the connection; `nil` before the first.
    private var survey: Survey?
    /// The failure to connect. The jobs that follow fail with it at once: they would wait for the same refusal.
    private var connectFailure: RunFailure?

    package init(_ access: DatabaseAccess) { self.access = access }

    /// Executes one run and reports it; never throws. Cancellation of the task cancels the statement under way.
    package mutating func execute(_ run: CleanupRun, _ request: RunRequest) async -> RunReport {
        let budget = RunBudget(deadline: run.job.deadline, lease: run.history.lease)
        var attempt = RunAttempt(run, request)
        do {
            let connection = try await openConnection(budget)
            try await attempt.execute(over: connection, budget, survey: &survey)
        } catch {
            attempt.report.failure = error
            attempt.report.outcome = Outcome(error)
            if let connection { await DatabaseSession(connection: connection, budget: budget).rollBack() }
            await close(&attempt, budget)
        }
        attempt.report.finishedAt = run.hostClock()
        let sinceClaim = attempt.claimedAt.duration(to: .now)
        attempt.report.earlierRuns?.lastSuccess?.age += sinceClaim
        return attempt.report
    }

    /// Records in the history how a run failed, over a new connection if need be. If that fails too, the row is closed by the
    /// next process that claims a run after the lease has ended.
    private mutating func close(_ attempt: inout RunAttempt, _ budget: RunBudget) async {
        guard attempt.report.claimToken != nil, attempt.report.outcome != .abandoned else { return }
        do {
            if await connection?.isAlive() != true { try await open(limit: budget.untilDeadline, budget) }
            guard let connection else { return }
            try await attempt.close(in: DatabaseSession(connection: connection, budget: budget))
        } catch .claimLost where attempt.report.runID != nil {
            attempt.report.outcome = .abandoned
        } catch {
            // The next claim after the lease closes the row. Where the attempt got no row, there is none to close.
        }
    }

    /// Returns a job's last runs from the history, over the open connection; `nil` where they cannot be read.
    package func recentRuns(of job: String) async -> RecentRuns? {
        guard let connection, await connection.isAlive() else { return nil }
        let session = DatabaseSession(connection: connection, budget: RunBudget(deadline: .seconds(6)))
        // A failure does no harm: the runs are only shown.
        return try? await RecentRuns.read([job], in: session)[job]
    }

    /// Returns how many rows a run would delete, and the plan of its search. Deletes nothing and records nothing.
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
        let (hadFullTime, started) = (budget.remaining >= access.connectTimeout, ContinuousClock.now)
        do {
            let opened = try await open(limit: budget.remaining, budget)
            access.onConnection(.success(started.duration(to: .now)))
            return opened
        } catch {
            if error.kind != .canceled { access.onConnection(.failure(error)) }
            // If this job had less time left than a connection may take, its failure says nothing about the next job.
            if hadFullTime { connectFailure = error }
            throw error
        }
    }

    @discardableResult
    private mutating func open(limit: Duration, _ budget: RunBudget) async throws(RunFailure) -> Connection {
        let opened = try await access.connect(limit: limit)
        await opened.limitCancellation(to: budget.grace)
        (connection, survey) = (opened, nil)
        return opened
    }
}
