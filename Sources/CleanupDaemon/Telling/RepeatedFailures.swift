import Time

/// Decides which of a row of failures are worth a message: the first, then fewer and fewer while the cause stays the same, and
/// the end. A database that is away for a day makes some thirty messages and not three thousand.
struct RepeatedFailures {
    /// Attempts that failed one after the other, for one cause.
    struct Series: Hashable {
        var attempts = 1
        let since: UTCInstant
    }

    private struct Episode {
        let cause: String
        var failures: Series
        var lastWritten: UTCInstant
        /// The pause between messages: from a minute, in which a server restarts, to an hour, to remind an operator.
        var interval = Duration.seconds(60)
        /// True once a message has said that a run failed, and not only an attempt.
        var hasFailedRun: Bool
    }

    private var episode: Episode?

    /// - Parameters:
    ///   - cause: equal for failures that tell an operator the same. Digits in it do not count: they are times and numbers.
    ///   - wasLast: true if no attempt of the run follows; the first such failure is always worth a message.
    ///   - wasCounted: true if this attempt was passed before, when another one was to follow: it is not counted again.
    /// - Returns: the failures with this cause; `nil` if it is too soon after the last message about them.
    mutating func attemptFailed(cause: String, at now: UTCInstant, wasLast: Bool, wasCounted: Bool = false) -> Series? {
        let cause = cause.filter { !$0.isNumber }
        guard var known = episode, known.cause == cause else {
            episode = Episode(
                cause: cause, failures: Series(since: now), lastWritten: now, hasFailedRun: wasLast)
            return episode?.failures
        }
        if !wasCounted { known.failures.attempts += 1 }
        defer { episode = known }
        // Without the second condition a clock that was set back would silence the episode until it caught up.
        let isTime = now - known.lastWritten >= known.interval || now < known.lastWritten
        guard isTime || (wasLast && !known.hasFailedRun) else { return nil }
        known.hasFailedRun = known.hasFailedRun || wasLast
        known.lastWritten = now
        known.interval = min(known.interval * 2, .seconds(3600))
        return known.failures
    }

    /// Returns the failures that a successful run ends; `nil` where there was none.
    mutating func runWentWell() -> Series? {
        defer { episode = nil }
        return episode?.failures
    }
}
