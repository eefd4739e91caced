package import Time

/// Which run is to be made, or gone on with.
package struct RunRequest: Hashable, Sendable {
    /// The fire time, or, for `--once`, when the run was asked for.
    package var scheduledAt: UTCInstant
    package var origin: RunOrigin
    /// What the attempts before this one, in this process, owned the run by or tried to: `RunReport.claimTokens`.
    package var previousTokens: [String]
    /// Whether only the history can tell if there is anything to do: after a start, for the last fire time before it.
    /// Without history nothing was missed.
    package var isLookBack: Bool

    package init(
        scheduledAt: UTCInstant, origin: RunOrigin, previousTokens: [String] = [], isLookBack: Bool = false
    ) {
        self.scheduledAt = scheduledAt
        self.origin = origin
        self.previousTokens = previousTokens
        self.isLookBack = isLookBack
    }
}
