import Postgres

/// How much of a run's time is left; monotonic, and counting while the machine sleeps.
package struct RunClock: Sendable {
    private let end: ContinuousClock.Instant
    private let deadline: Duration

    /// How much later than the server's own timeout we give up on it: a round trip on a bad day. As long again is kept for
    /// a request to cancel, and again for the server's confirmation: see `Connection.limitCancellation`.
    let grace: Duration

    /// - Parameter deadline: how long the run may take from now on, its last words to the server included.
    package init(deadline: Duration) {
        self.deadline = deadline
        // A short deadline is kept too: half of it is for work then.
        grace = min(.seconds(1), deadline / 6)
        end = .now + deadline - grace * 3
    }

    /// What one transaction may take at most: a third of the 60 s after which an owner that is silent counts as dead.
    static let transactionLimit = Duration.seconds(20)

    /// Time left for work; negative when the time is up.
    package var remaining: Duration { ContinuousClock.now.duration(to: end) }

    /// When to give up on a transaction that the server was told to end after `limit`.
    func giveUp(after limit: Duration) -> ContinuousClock.Instant { min(.now + limit, end) + grace }

    /// What an error in one of the run's transactions means for the run.
    ///
    /// The server is told to end a statement when the run's time is up, and cannot say that this was why. Within the
    /// grace of that moment it was.
    func failure(_ error: any Error) -> RunFailure {
        let failure = RunFailure(error)
        return failure.sqlState == "57014" && remaining < grace ? .deadlinePassed(deadline) : failure
    }

    /// The limit for a transaction that starts now.
    /// - Throws: `deadlinePassed` when there is no time left.
    func limit(_ wanted: Duration = transactionLimit) throws(RunFailure) -> Duration {
        let limit = min(wanted, remaining)
        guard limit > .zero else { throw .deadlinePassed(deadline) }
        return limit
    }
}
