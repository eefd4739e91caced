/// Decides if the service manager's watchdog may be pinged: not while an attempt is past its deadline.
///
/// A value inside `Scheduler`: its timer is in the same wheel as the work, so that a stuck wheel sends no ping.
struct WatchdogTimer {
    /// Half of the time after which a service without a ping is ended: sd_watchdog_enabled(3).
    let interval: Duration
    /// The latest instants at which the attempts under way must have ended, by job, in time since the process began.
    private var limits: [Int: Duration] = [:]

    /// An attempt ends itself within its deadline, which covers its cancellation and its close. On a slow machine it
    /// may take seconds more; half a minute more means that its task is stuck.
    private static let grace = Duration.seconds(30)

    init(interval: Duration) { self.interval = interval }

    /// Attempts begin, one after the other: each may take its own deadline and all those before it.
    mutating func attemptsBegan(_ attempts: [(job: Int, deadline: Duration)], at elapsed: Duration) {
        var limit = elapsed
        for attempt in attempts {
            limit += attempt.deadline + Self.grace
            limits[attempt.job] = limit
        }
    }

    mutating func attemptEnded(job: Int) { limits[job] = nil }

    /// True if no attempt is past its deadline and the grace.
    func isOnTime(at elapsed: Duration) -> Bool { limits.values.allSatisfy { elapsed <= $0 } }
}
