import Time

/// Decides which of a row of failures are worth a message: the first, then fewer and fewer while the cause stays the same, and
/// the end. A database that is away for a day makes some thirty messages and not three thousand.
struct RepeatedFailures {
    enum Verdict: Hashable {
        /// A new cause.
        case begins
        /// The same cause as before.
        case goesOn(attempts: Int, since: UTCInstant)
        /// The same cause, too soon after the last line about it.
        case isKnown
    }

    /// The failures that a successful run ends.
    struct End: Hashable {
        let attempts: Int
        let since: UTCInstant
    }

    private struct Episode {
        let cause: String
        let since: UTCInstant
        var attempts = 1
        var lastWritten: UTCInstant
        /// From a minute, which a restart of the server takes, to an hour, after which an operator wants to be reminded.
        var interval = Duration.seconds(60)
        /// True once a message has said that a run failed, and not only an attempt.
        var hasFailedRun: Bool
    }

    private var episode: Episode?

    /// - Parameters:
    ///   - cause: equal for failures that tell an operator the same. Digits in it do not count: they are times, process numbers
    ///     and the like.
    ///   - wasLast: true if no attempt of the run follows; the first such failure is always worth a message.
    ///   - wasCounted: true if the attempt failed before another one was to follow, and now none does.
    mutating func attemptFailed(cause: String, at now: UTCInstant, wasLast: Bool, wasCounted: Bool = false) -> Verdict {
        let cause = cause.filter { !$0.isNumber }
        guard var known = episode, known.cause == cause else {
            episode = Episode(cause: cause, since: now, lastWritten: now, hasFailedRun: wasLast)
            return .begins
        }
        if !wasCounted { known.attempts += 1 }
        defer { episode = known }
        // A clock that was set back would silence the episode until it is there again.
        let isTime = now - known.lastWritten >= known.interval || now < known.lastWritten
        guard isTime || (wasLast && !known.hasFailedRun) else { return .isKnown }
        known.hasFailedRun = known.hasFailedRun || wasLast
        known.lastWritten = now
        known.interval = min(known.interval * 2, .seconds(3600))
        return known.attempts == 1 ? .begins : .goesOn(attempts: known.attempts, since: known.since)
    }

    mutating func runWentWell() -> End? {
        defer { episode = nil }
        return episode.map { End(attempts: $0.attempts, since: $0.since) }
    }
}
