import SessionCleanup
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
        guard range(of: fireTime) == nil else { return }
        if let last = ranges.last, last.upperBound == previous {
            ranges[ranges.count - 1] = last.lowerBound...fireTime
        } else {
            ranges.append(fireTime...fireTime)
            if ranges.count > Self.limit { ranges.removeFirst() }
        }
    }

    var isEmpty: Bool { ranges.isEmpty }

    /// Returns the range of answered fire times that this one lies in; nil if it was not answered.
    func range(of fireTime: UTCInstant) -> ClosedRange<UTCInstant>? { ranges.first { $0.contains(fireTime) } }

    /// Returns the job's last fire time up to the instant that was not answered.
    func lastAbsent(of job: Job, atOrBefore instant: UTCInstant) -> UTCInstant? {
        var fireTime = job.fireTime(atOrBefore: instant)
        // Ends because each range is left behind once.
        while let candidate = fireTime, let range = range(of: candidate) {
            fireTime = job.fireTime(atOrBefore: range.lowerBound - .microseconds(1))
        }
        return fireTime
    }
}
