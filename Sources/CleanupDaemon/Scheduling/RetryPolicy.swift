/// The waits between attempts that fail for a transient cause: exponential, with jitter, so that two processes that
/// failed together do not retry together.
struct RetryPolicy: Sendable {
    /// The wait after the first attempt: a server that restarts is back after a few of these.
    static let shortest = Duration.seconds(1)
    /// The longest wait: the end of an hour's outage is noticed within this.
    static let longest = Duration.seconds(300)
    /// More attempts than a day has room for, at a quarter of the longest wait each.
    static let maximumAttempts = 1200

    /// Returns the waits that are allowed after an attempt: from half of the nominal time to all of it.
    ///
    /// - Parameter attempt: counts from 1.
    static func delays(after attempt: Int) -> ClosedRange<Duration> {
        // 2^9 seconds are above the longest wait already.
        let nominal = min(shortest * (1 << min(attempt - 1, 9)), longest)
        return nominal / 2...nominal
    }

    /// Returns a random wait that is allowed after an attempt, to a thousandth of their range.
    static func delay(after attempt: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        let range = delays(after: attempt)
        return range.lowerBound + (range.upperBound - range.lowerBound) * Int.random(in: 0...1000, using: &generator)
            / 1000
    }
}
