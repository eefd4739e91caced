import Time

/// The rule that holds after a zone file's last transition: a POSIX TZ string such as `CET-1CEST,M3.5.0,M10.5.0/3`.
struct TimeZoneFooter: Hashable, Sendable {
    /// Seconds ahead of UTC outside `daylight`.
    var standardOffset: Int64
    var daylight: Daylight?

    /// Daylight saving time; "saving" may be negative, as in Dublin's winter.
    struct Daylight: Hashable, Sendable {
        /// Seconds ahead of UTC.
        var offset: Int64
        /// In standard time.
        var start: YearlyChange
        /// In daylight saving time.
        var end: YearlyChange
    }

    /// A day of each year and a time of that day.
    struct YearlyChange: Hashable, Sendable {
        var day: Day
        /// Seconds after 00:00 of the day, from -167 to 167 hours.
        var time: Int64

        enum Day: Hashable, Sendable {
            /// `Jn`: 1 to 365, where 60 is always 1 March.
            case withoutLeapDay(Int)
            /// `n`: 0 to 365, where the leap day counts.
            case withLeapDay(Int)
            /// `Mm.w.d`: month 1 to 12, week 1 to 5 (5 is the last), weekday 0 (Sunday) to 6.
            case weekday(Int, week: Int, month: Int)
        }

        /// Local seconds since the epoch.
        func localSeconds(inYear year: Int) -> Int64 {
            let days =
                switch day {
                case .withoutLeapDay(let number):
                    // Counted from 1 January, and past 28 February from 1 March.
                    number < 60
                        ? CivilDate.daysSinceEpoch(year: year, month: 1, day: number)
                        : CivilDate.daysSinceEpoch(year: year, month: 3, day: number - 59)
                case .withLeapDay(let number): CivilDate.daysSinceEpoch(year: year, month: 1, day: 1) + number
                case .weekday(let weekday, let week, let month):
                    Self.daysSinceEpoch(weekday: weekday, week: week, month: month, year: year)
                }
            return Int64(days) * 86_400 + time
        }

        private static func daysSinceEpoch(weekday: Int, week: Int, month: Int, year: Int) -> Int {
            let first = CivilDate.daysSinceEpoch(year: year, month: month, day: 1)
            let firstWeekday = (first + 4).remainderRoundingDown(by: 7)
            let day = (weekday - firstWeekday).remainderRoundingDown(by: 7) + (week - 1) * 7
            // Only the fifth can be beyond the month's end, and by less than a week.
            return first + (day < CivilDate.daysInMonth(month, ofYear: year) ? day : day - 7)
        }
    }

    /// The instants at which these years' changes happen, in ascending order, with the offset that holds from then.
    /// Where two fall on one instant (daylight saving time all year round) the later year's is last.
    func transitions(inYears years: ClosedRange<Int>) -> [(start: Int64, offset: Int64)] {
        guard let daylight else { return [] }
        var transitions: [(start: Int64, offset: Int64)] = []
        for year in years {
            let start = daylight.start.localSeconds(inYear: year) - standardOffset
            let end = daylight.end.localSeconds(inYear: year) - daylight.offset
            let starting = (start: start, offset: daylight.offset)
            let ending = (start: end, offset: standardOffset)
            for transition in start <= end ? [starting, ending] : [ending, starting] {
                // Nearly always at the end: times of up to 167 hours let neighboring years overlap by days.
                let index = transitions.lastIndex { $0.start <= transition.start }.map { $0 + 1 } ?? 0
                transitions.insert(transition, at: index)
            }
        }
        return transitions
    }
}
