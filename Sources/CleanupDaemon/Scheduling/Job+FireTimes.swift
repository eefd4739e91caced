import CleanupSchedule
package import SessionCleanup
import Time

extension Job {
    /// True if the job has the same fire times with the other settings.
    package func firesAsOften(as other: Job) -> Bool {
        isEnabled == other.isEnabled && schedule == other.schedule && timeZone == other.timeZone
    }

    /// Returns the number of fire times after the one that was answered, up to and with the last. Those within
    /// `maxStaleness` of the answered one do not count: they may have been passed over.
    func fireTimesMissed(since answered: UTCInstant, through last: UTCInstant) -> Int {
        let first = schedule.next(after: answered + (maxStaleness ?? .zero), in: timeZone?.rules)
        return countFireTimes(from: first, before: last + .microseconds(1)) { _ in nil }
    }

    /// The highest count, since fire times are counted one by one: a day of a schedule with seconds.
    private static let countLimit = 86_400

    /// Returns the number of fire times from the first, itself one, up to but without the end.
    ///
    /// - Parameter answeredUntil: returns the last of the range of answered fire times that a fire time is in. Such a
    ///   range does not count, and is skipped whole.
    func countFireTimes(
        from first: UTCInstant?, before end: UTCInstant, answeredUntil: (UTCInstant) -> UTCInstant?
    ) -> Int {
        var count = 0
        var fireTime = first
        while let candidate = fireTime, candidate < end, count < Self.countLimit {
            let answered = answeredUntil(candidate)
            if answered == nil { count += 1 }
            fireTime = schedule.next(after: answered ?? candidate, in: timeZone?.rules)
        }
        return count
    }
}
