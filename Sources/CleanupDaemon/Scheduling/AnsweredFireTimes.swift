import Time

/// The fire times of a job that this process has answered, so that a clock that is set back does not answer them again. A fire
/// time is known by its name, never by being "later than the last one": a clock that ran a year ahead and was put right would
/// silence the job for a year.
struct AnsweredFireTimes {
    /// Fire times from the first to the last of each range, in the order in which they were answered. A new range starts when
    /// the clock is set, and after fire times that were passed over (`max-staleness`, sleep) or that a reload changed. After
    /// the limit the oldest is dropped; its fire times could then run again.
    private var ranges: [ClosedRange<UTCInstant>] = []
    private static let limit = 64

    var isEmpty: Bool { ranges.isEmpty }

    /// - Parameter previous: the fire time before this one by the schedule.
    mutating func insert(_ fireTime: UTCInstant, after previous: UTCInstant?) {
        guard range(of: fireTime) == nil else { return }
        if let last = ranges.last, last.upperBound == previous {
            ranges[ranges.count - 1] = last.lowerBound...fireTime
        } else {
            ranges = (ranges + [fireTime...fireTime]).suffix(Self.limit)
        }
    }

    /// Returns the range of answered fire times that this one lies in; nil if it was not answered.
    func range(of fireTime: UTCInstant) -> ClosedRange<UTCInstant>? { ranges.first { $0.contains(fireTime) } }
}
