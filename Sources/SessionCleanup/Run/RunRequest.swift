package import Time

/// Which run is to be made, or gone on with.
package struct RunRequest: Hashable, Sendable {
    /// The fire time, or, for `--once`, when the run was asked for.
    package var scheduledAt: UTCInstant
    package var origin: RunOrigin
    /// What the attempts before this one, in this process, owned the run by or tried to: `RunReport.claimTokens`.
    package var previousTokens: [String]
    /// Rows that the attempts before this one deleted, where no history has counted them: `max-rows` is for the run.
    package var rowsDeletedBefore: Int

    package init(
        scheduledAt: UTCInstant, origin: RunOrigin, previousTokens: [String] = [], rowsDeletedBefore: Int = 0
    ) {
        self.scheduledAt = scheduledAt
        self.origin = origin
        self.previousTokens = previousTokens
        self.rowsDeletedBefore = rowsDeletedBefore
    }
}
