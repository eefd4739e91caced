import CleanupSchedule
package import SessionCleanup
import Time

extension Job {
    /// Whether it has the same fire times as with other settings.
    package func firesAsOften(as other: Job) -> Bool {
        isEnabled == other.isEnabled && schedule == other.schedule && timeZone == other.timeZone
    }

    /// How many fire times passed without an answer since the last that had one, up to one that is counted too. Those
    /// within `maxStaleness` of it passed because nothing would be due, as far as anybody can tell.
    func fireTimesMissed(since answered: UTCInstant, through last: UTCInstant) -> Int {
        let first = schedule.next(after: answered + (maxStaleness ?? .zero), in: timeZone?.rules)
        return countFireTimes(from: first, before: last + .microseconds(1)) { _ in nil }
    }

    /// Fire times are counted one by one up to here: a day of a schedule with seconds.
    private static let countLimit = 86_400

    /// How many fire times there are from the first, itself one, up to but without the end.
    ///
    /// - Parameter answeredUntil: the end of the answered ones that a fire time is among, which do not count; ranges are
    ///   skipped whole, so each is left behind once.
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
