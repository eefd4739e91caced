import Time

/// The database's clock beside the host's, with the time that asking took.
struct ClockComparison: Sendable {
    let database: UTCInstant
    /// The host's clock before the question was sent.
    let sent: UTCInstant
    /// The host's clock after the answer came.
    let received: UTCInstant

    /// How far the database is ahead; negative when it is behind, zero within the time that asking took.
    var skew: Duration {
        if database > received { return database - received }
        return database < sent ? database - sent : .zero
    }

    /// - Throws: `databaseClockAhead` above the limit: what is not due yet would be deleted.
    func refuseAhead(by limit: Duration) throws(RunFailure) {
        if skew > limit { throw .databaseClockAhead(database: database, host: received, limit: limit) }
    }
}
