package import Time

/// A run to make, or to resume.
package struct RunRequest: Hashable, Sendable {
    /// The fire time, or, for `--once`, the instant at which the run was asked for.
    package var scheduledAt: UTCInstant
    package var origin: RunOrigin
    /// The tokens by which the attempts before this one, in this process, owned the run or tried to:
    /// `RunReport.claimTokens`.
    package var previousTokens: [String]
    /// Rows that the attempts before this one deleted, where no history has counted them: `max-rows` is for the run.
    package var rowsDeletedBefore: Int

    /// The attempt that follows if this one fails for a transient cause; nil where none does.
    package var retry: Retry?

    package struct Retry: Hashable, Sendable {
        /// The wait after the failed attempt; another job's retry may be joined instead, at about that time.
        package let delay: Duration
        /// No attempt begins at this instant of the host's clock or later.
        package let end: UTCInstant

        package init(delay: Duration, before end: UTCInstant) {
            self.delay = delay
            self.end = end
        }
    }

    package init(
        scheduledAt: UTCInstant, origin: RunOrigin, previousTokens: [String] = [], rowsDeletedBefore: Int = 0,
        retry: Retry? = nil
    ) {
        self.scheduledAt = scheduledAt
        self.origin = origin
        self.previousTokens = previousTokens
        self.rowsDeletedBefore = rowsDeletedBefore
        self.retry = retry
    }

    /// Returns the wait until the next attempt, for the run's row; nil where none follows.
    ///
    /// - Parameter now: the host's clock at the end of the attempt.
    func waitAfter(_ failure: RunFailure?, at now: UTCInstant) -> Duration? {
        guard let failure, failure.mayPass, let retry, now + retry.delay < retry.end else { return nil }
        return retry.delay
    }
}
