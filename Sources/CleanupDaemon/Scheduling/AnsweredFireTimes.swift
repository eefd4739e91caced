import CleanupSchedule
import Time

/// The fire times of a job that this process has answered, so that a clock that is set back does not answer them again.
///
/// A fire time is known by its name, never by being "later than the last one": a clock that ran a year ahead and was
/// put right would silence the job for a year. Fire times answered one after the other take one entry, however many.
struct AnsweredFireTimes {
    /// Fire times from the first to the last of each range, in the order in which they were answered.
    private var ranges: [ClosedRange<UTCInstant>] = []

    /// A new range starts only when the clock is set. After this many the oldest range is dropped; its fire times could
    /// then run again.
    private static let limit = 64

    /// - Parameter previous: the fire time before this one by the schedule.
    mutating func insert(_ fireTime: UTCInstant, after previous: UTCInstant?) {
        guard !contains(fireTime) else { return }
        if let last = ranges.last, last.upperBound == previous {
            ranges[ranges.count - 1] = last.lowerBound...fireTime
        } else {
            ranges.append(fireTime...fireTime)
            if ranges.count > Self.limit { ranges.removeFirst() }
        }
    }

    /// True if no fire time was answered yet.
    var isEmpty: Bool { ranges.isEmpty }

    func contains(_ fireTime: UTCInstant) -> Bool { ranges.contains { $0.contains(fireTime) } }

    /// Returns the last answered fire time of the range that this one lies in; nil if it was not answered.
    func endOfRange(containing fireTime: UTCInstant) -> UTCInstant? {
        ranges.first { $0.contains(fireTime) }?.upperBound
    }

    /// Returns the schedule's last fire time up to the instant that was not answered.
    func lastAbsent(_ schedule: Schedule, atOrBefore instant: UTCInstant, in zone: TimeZoneRules?) -> UTCInstant? {
        var fireTime = schedule.previous(atOrBefore: instant, in: zone)
        // Ends because each range is left behind once.
        while let candidate = fireTime, let range = ranges.first(where: { $0.contains(candidate) }) {
            fireTime = schedule.previous(before: range.lowerBound, in: zone)
        }
        return fireTime
    }
}

extension Schedule {
    /// Returns the fire time before this one.
    func previous(before fireTime: UTCInstant, in zone: TimeZoneRules?) -> UTCInstant? {
        previous(atOrBefore: fireTime - .microseconds(1), in: zone)
    }
}
