import Postgres

/// The time that is left for a run or a command; monotonic, and counting while the machine sleeps.
package struct RunBudget: Sendable {
    private let end: ContinuousClock.Instant
    private let deadline: Duration

    /// Slack after the server's own timeout before this process gives up: 1 s, or a sixth of a short deadline. Three are
    /// reserved: for the reply, the cancel request, and its confirmation with the closing UPDATE.
    let grace: Duration

    /// The longest time that one transaction may take, and that this process may be silent in it: a third of the lease,
    /// after which a silent owner counts as dead.
    let transactionLimit: Duration

    /// - Parameters:
    ///   - deadline: the longest time from now on, the closing UPDATE included.
    ///   - lease: the time without a heartbeat after which a run's owner counts as dead.
    package init(deadline: Duration, lease: Duration = .seconds(60)) {
        self.deadline = deadline
        // Half of a short deadline is left for work.
        grace = min(.seconds(1), deadline / 6)
        end = .now + deadline - grace * 3
        transactionLimit = lease / 3
    }

    /// The time left for work; negative when the time is up.
    package var remaining: Duration { ContinuousClock.now.duration(to: end) }

    /// The time left until the deadline itself; negative after it.
    var untilDeadline: Duration { remaining + grace * 3 }

    /// Returns when to give up on a transaction that the server was told to end after `limit`.
    func giveUp(after limit: Duration) -> ContinuousClock.Instant { min(.now + limit, end) + grace }

    /// Returns what an error in a transaction means for the run.
    ///
    /// The server is told to end a statement when the run's time is up, and reports only that the statement was
    /// canceled (57014). Within the grace of that instant the deadline was the cause.
    func failure(_ error: any Error) -> RunFailure {
        let failure = RunFailure(error)
        return failure.sqlState == "57014" && remaining < grace ? .deadlinePassed(deadline) : failure
    }

    /// Returns the limit for a transaction that starts now.
    /// - Throws: `deadlinePassed` when no time is left.
    func limit(_ wanted: Duration? = nil) throws(RunFailure) -> Duration {
        let limit = min(wanted ?? transactionLimit, remaining)
        guard limit > .zero else { throw .deadlinePassed(deadline) }
        return limit
    }
}
