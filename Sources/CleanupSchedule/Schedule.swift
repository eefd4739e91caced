package import Time

/// When a job fires: pg_cron's schedule language, and the search for fire times.
///
/// The forms are
/// * five fields, `minute hour day-of-month month day-of-week`, each a list of `*`, values and ranges `a-b`, the first
///   and the last also with a step (`*/5`, `10-40/10`). Months may be written `jan` to `dec`, weekdays `sun` to
///   `sat`; 0 and 7 are both Sunday. `$` alone in the day of month is the last day of the month;
/// * `N seconds`, 1 to 59: the whole multiples of N seconds since the Unix epoch, in any time zone;
/// * a nickname: `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`.
///
/// Fields are parted by blanks or tabs, and there may be more around them. Words are read in any case.
///
/// As in pg_cron (`ShouldRunTask`), when neither the day of month nor the day of week *begins with* `*`, a day
/// matches if either does; otherwise both must. So `0 0 1,15 * mon` is the 1st, the 15th and every Monday, and
/// `0 0 */2 * mon` is the Mondays with an odd number; `1-31` does not begin with `*`, and `0 0 1-31 * mon` is every
/// day. `$` counts as a restriction.
///
/// Stricter than pg_cron, which reads past it: text after a complete field or the fifth field, reversed ranges,
/// signs, and schedules that never fire are refused.
///
/// In a time zone, a local time fires at the first instant at which the zone's clock shows it or a later time. Hence
/// a local time that a clock change skips fires at the change, all those that one change skips together once; and
/// one that a change repeats fires the first time only. A schedule such as `*/5 * * * *` therefore pauses while a
/// repeated hour passes again: where that matters, leave the schedule in UTC.
package struct Schedule: Hashable, Sendable, CustomStringConvertible {
    /// The longest text that is read, in characters, as in pg_cron (`MAX_FILE_BUFFER_LENGTH`, less its final zero).
    /// A list of all minutes is 170 characters long; what exceeds this is no schedule.
    package static let maximumLength = 999

    /// The fields that the nicknames stand for. `@reboot` is none: it names no time.
    static let nicknames = [
        (name: "@yearly", fields: "0 0 1 1 *"), (name: "@annually", fields: "0 0 1 1 *"),
        (name: "@monthly", fields: "0 0 1 * *"), (name: "@weekly", fields: "0 0 * * 0"),
        (name: "@daily", fields: "0 0 * * *"), (name: "@midnight", fields: "0 0 * * *"),
        (name: "@hourly", fields: "0 * * * *"),
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

    /// The first fire time strictly after the instant; in UTC without a zone.
    ///
    /// Takes a few dozen operations for any distance: days are found by bit masks, at most one for each month of
    /// `CalendarRule.longestGapInYears`. `nil` only where the fire time would be after the year 9999.
    package func next(after instant: UTCInstant, in zone: TimeZoneRules? = nil) -> UTCInstant? {
        // From the second before the first that can be named on, the first can be found.
        let second = min(max(instant, .earliestNameable - .seconds(1)), .latestNameable).wholeSecondsSinceEpoch
        switch rule {
        case .everySeconds(let step):
            return Self.nameable((second.dividedRoundingDown(by: step) + 1) * step)
        case .calendar(let calendar):
            let zone = zone ?? .utc
            guard let local = calendar.first(atOrAfter: zone.firstLocalTimeNotReached(at: second)) else { return nil }
            return Self.nameable(zone.firstInstant(reaching: local))
        }
    }

    /// The last fire time at or before the instant; in UTC without a zone. It costs what `next` costs.
    ///
    /// `nil` only where the fire time would be before the year 1.
    package func previous(atOrBefore instant: UTCInstant, in zone: TimeZoneRules? = nil) -> UTCInstant? {
        let second = min(instant, .latestNameable).wholeSecondsSinceEpoch
        switch rule {
        case .everySeconds(let step):
            return Self.nameable(second.dividedRoundingDown(by: step) * step)
        case .calendar(let calendar):
            let zone = zone ?? .utc
            let reached = zone.firstLocalTimeNotReached(at: second) - 1
            guard let local = calendar.last(atOrBefore: reached) else { return nil }
            return Self.nameable(zone.firstInstant(reaching: local))
        }
    }

    /// The time between the next two fire times after the instant: how often the job runs at that time of the year.
    /// `nil` only at the end of the year 9999.
    package func interval(at instant: UTCInstant, in zone: TimeZoneRules? = nil) -> Duration? {
        guard let first = next(after: instant, in: zone), let second = next(after: first, in: zone) else { return nil }
        return second - first
    }

    private static func nameable(_ secondsSinceEpoch: Int64) -> UTCInstant? {
        let instant = UTCInstant(secondsSinceEpoch: secondsSinceEpoch)
        return (UTCInstant.earliestNameable...UTCInstant.latestNameable).contains(instant) ? instant : nil
    }
}
