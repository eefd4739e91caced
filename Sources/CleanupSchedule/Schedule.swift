package import Time

/// When a job fires: pg_cron's schedule language, and the search for fire times.
///
/// The forms are five fields, `minute hour day-of-month month day-of-week`, each a list of `*`, values and ranges, with
/// a step after `*` or a range if wanted, or `$` for the last day of the month; `N seconds`: the whole multiples of N
/// seconds since the Unix epoch, in any time zone; and nicknames.
///
/// As in pg_cron (`ShouldRunTask`), when neither the day of month nor the day of week *begins with* `*`, a day matches
/// if either does; otherwise both must. So `0 0 1,15 * mon` is the 1st, the 15th and every Monday, and `0 0 */2 * mon`
/// is the Mondays with an odd number; `0 0 1-31 * mon` is every day. `$` counts as a restriction. Stricter than pg_cron:
/// text after a complete field, reversed ranges, signs, and schedules that never fire are refused.
///
/// In a time zone, a local time fires at the first instant at which the zone's clock shows it or a later time. So local
/// times that a clock change skips fire once, at the change, and one that a change repeats fires the first time only:
/// `*/5 * * * *` pauses while a repeated hour passes again.
package struct Schedule: Hashable, Sendable, CustomStringConvertible {
    /// The longest text that is read, in characters, as in pg_cron (`MAX_FILE_BUFFER_LENGTH`, less its final zero).
    package static let maximumLength = 999

    /// The fields that the nicknames stand for. `@reboot` is refused: it names no time.
    static let nicknames: KeyValuePairs = [
        "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
        "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
    ]

    /// The fire times, as they were read.
    enum Rule: Hashable, Sendable {
        case calendar(CalendarRule)
        /// Whole multiples of this number of seconds since the epoch.
        case everySeconds(Int64)
    }

    /// The text as it was given.
    package let expression: String
    private let rule: Rule

    /// Reads a schedule.
    ///
    /// - Throws: `ScheduleError`, with the character that is wrong.
    package init(_ expression: String) throws(ScheduleError) {
        var parser = try ScheduleParser(expression)
        rule = try parser.rule()
        self.expression = expression
    }

    package var description: String { expression }

    /// The first fire time strictly after the instant; in UTC without a zone. `nil` only where it would be after the
    /// year 9999. Takes a few dozen operations for nearly any distance.
    package func next(after instant: UTCInstant, in zone: TimeZoneRules? = nil) -> UTCInstant? {
        // Earlier instants count as the second before the first nameable one, so that the first one can be found.
        fireTime(nearestTo: max(instant, .earliestNameable - .seconds(1)), .later, in: zone ?? .utc)
    }

    /// The last fire time at or before the instant; in UTC without a zone. `nil` only where it would be before the
    /// year 1. It costs what `next` costs.
    package func previous(atOrBefore instant: UTCInstant, in zone: TimeZoneRules? = nil) -> UTCInstant? {
        fireTime(nearestTo: instant, .earlier, in: zone ?? .utc)
    }

    /// The time between the next two fire times after the instant: how often the job runs at that time of the year.
    /// `nil` only at the end of the year 9999.
    package func interval(at instant: UTCInstant, in zone: TimeZoneRules? = nil) -> Duration? {
        guard let first = next(after: instant, in: zone), let second = next(after: first, in: zone) else { return nil }
        return second - first
    }

    private func fireTime(
        nearestTo instant: UTCInstant, _ direction: CalendarRule.Direction, in zone: TimeZoneRules
    ) -> UTCInstant? {
        let second = min(instant, .latestNameable).wholeSecondsSinceEpoch
        let found: Int64?
        switch rule {
        case .everySeconds(let step):
            found = (second.dividedRoundingDown(by: step) + (direction == .later ? 1 : 0)) * step
        case .calendar(let calendar):
            let notReached = zone.firstLocalTimeNotReached(at: second)
            found = calendar.nearest(to: direction == .later ? notReached : notReached - 1, direction)
                .map(zone.firstInstant)
        }
        let fireTime = found.map { UTCInstant(secondsSinceEpoch: $0) }
        return fireTime.flatMap { (.earliestNameable ... .latestNameable).contains($0) ? $0 : nil }
    }
}
