/// When a failed attempt is repeated: exponentially later, and never twice at the same distance for two processes that
/// failed together.
struct RetryPolicy: Sendable {
    /// The wait after the first attempt: a server that restarts is back after a few of these.
    static let shortest = Duration.seconds(1)
    /// The longest wait: an hour's outage is noticed to be over within this.
    static let longest = Duration.seconds(300)
    /// More attempts than a day has room for, at a quarter of the longest wait each.
    static let maximumAttempts = 1200

    /// Any wait that does after an attempt that failed: from half of the nominal time to all of it.
    ///
    /// - Parameter attempt: counts from 1.
    static func delays(after attempt: Int) -> ClosedRange<Duration> {
        // 2^9 seconds are above the longest wait already.
        let nominal = min(shortest * (1 << min(attempt - 1, 9)), longest)
        return nominal / 2...nominal
    }

    /// One of them, by chance, to a thousandth of their range.
    static func delay(in range: ClosedRange<Duration>, using generator: inout some RandomNumberGenerator) -> Duration {
        let width = range.upperBound - range.lowerBound
        return range.lowerBound + width * Int.random(in: 0...1000, using: &generator) / 1000
    }
}
