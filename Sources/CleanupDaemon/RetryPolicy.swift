/// When a failed attempt is repeated: exponentially later, and never twice at the same distance for two processes that
/// failed together.
struct RetryPolicy: Sendable {
    /// The wait after the first attempt: a server that restarts is back after a few of these.
    static let shortest = Duration.seconds(1)
    /// The longest wait: an hour's outage is noticed to be over within this.
    static let longest = Duration.seconds(300)
    /// More attempts than a day has room for, at half the longest wait each.
    static let maximumAttempts = 600

    /// The wait after an attempt that failed: from half of the nominal time to all of it.
    ///
    /// - Parameter attempt: counts from 1.
    static func delay(after attempt: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        // 2^9 seconds are above the longest wait already.
        let nominal = min(shortest * (1 << min(attempt - 1, 9)), longest)
        return nominal / 2 + .milliseconds(Int64.random(in: 0...500, using: &generator)) * Int(nominal / .seconds(1))
    }
}
