/// When the service manager's watchdog is to hear from us, and whether there is something good to hear.
///
/// A value inside `Scheduler`: its timer is in the same wheel as the work, so that a wheel that is stuck is silent.
struct WatchdogTimer {
    /// Half of the time after which a silent service is ended: sd_watchdog_enabled(3).
    let interval: Duration
    /// Until when the attempts under way must have ended, by job, in time since the process began.
    private var limits: [Int: Duration] = [:]

    /// An attempt ends itself within its deadline, which covers its cancellation and its close. Seconds more are a slow
    /// machine's; half a minute more is a task that is stuck.
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

    /// Whether no attempt is under way longer than it may be.
    func isWell(at elapsed: Duration) -> Bool { limits.values.allSatisfy { elapsed <= $0 } }
}
