package import Time

/// The database's clock beside the host's, with the time that asking took.
package struct ClockComparison: Sendable {
    package let database: UTCInstant
    /// The host's clock before the question was sent.
    package let sent: UTCInstant
    /// The host's clock after the answer came.
    package let received: UTCInstant

    package init(database: UTCInstant, sent: UTCInstant, received: UTCInstant) {
        self.database = database
        self.sent = sent
        self.received = received
    }

    /// How far the database is ahead; negative when it is behind, zero within the time that asking took.
    package var skew: Duration {
        if database > received { return database - received }
        return database < sent ? database - sent : .zero
    }

    /// - Throws: `databaseClockAhead` above the limit: what is not due yet would be deleted.
    package func refuseAhead(by limit: Duration) throws(RunFailure) {
        if skew > limit { throw .databaseClockAhead(database: database, host: received, limit: limit) }
    }
}
