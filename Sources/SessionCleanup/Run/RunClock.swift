import Postgres

/// How much of a run's time is left; monotonic, and counting while the machine sleeps.
package struct RunClock: Sendable {
    private let end: ContinuousClock.Instant
    private let deadline: Duration

    /// How much later than the server's own timeout we give up on it: a round trip on a bad day. As long again is kept for
    /// a request to cancel, and again for the server's confirmation and for the run's last words: see
    /// `Connection.limitCancellation`.
    let grace: Duration

    /// What one transaction may take at most, and how long we may be silent in it: a third of the time after which an
    /// owner that is silent counts as dead.
    let transactionLimit: Duration

    /// - Parameters:
    ///   - deadline: how long the run may take from now on, its last words to the server included.
    ///   - lease: after which time without a sign of life the run's owner counts as dead.
    package init(deadline: Duration, lease: Duration = .seconds(60)) {
        self.deadline = deadline
        // A short deadline is kept too: half of it is for work then.
        grace = min(.seconds(1), deadline / 6)
        end = .now + deadline - grace * 3
        transactionLimit = lease / 3
    }

    /// Time left for work; negative when the time is up.
    package var remaining: Duration { ContinuousClock.now.duration(to: end) }

    /// Time left until the very deadline; negative after it.
    var lastWords: Duration { remaining + grace * 3 }

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

    /// Whether the server ended a transaction for its length; somebody who cancels a statement does it earlier.
    func isTooLong(_ failure: RunFailure, since started: ContinuousClock.Instant) -> Bool {
        failure.sqlState == "57014" && started.duration(to: .now) >= transactionLimit * 9 / 10
    }

    /// The limit for a transaction that starts now.
    /// - Throws: `deadlinePassed` when there is no time left.
    func limit(_ wanted: Duration? = nil) throws(RunFailure) -> Duration {
        let limit = min(wanted ?? transactionLimit, remaining)
        guard limit > .zero else { throw .deadlinePassed(deadline) }
        return limit
    }
}
