import Time

/// The local minutes that five fields name, one bit for each number, and the search among them.
///
/// It knows calendars and no time zones: local times are counted in seconds as if they were UTC.
struct CalendarRule: Hashable, Sendable {
    /// Bits 0 to 59.
    let minutes: UInt64
    /// Bits 0 to 23.
    let hours: UInt32
    /// Bits 1 to 31.
    let daysOfMonth: UInt32
    /// Bits 1 to 12.
    let months: UInt16
    /// Bits 0 to 6; 0 is Sunday.
    let daysOfWeek: UInt8
    /// `$`.
    let includesLastDayOfMonth: Bool
    /// Whether a day matches when either its number or its weekday does; otherwise both must.
    let eitherDayMatches: Bool

    /// The longest that a rule can wait, in calendar years: 29 February falls on a given weekday every 28 years, but
    /// 40 where a century without a leap day lies between (Mondays: 2072, 2112). Any other date meets each weekday
    /// within 12. The calendar repeats after 400 years, weekdays included, so a test can and does try them all.
    static let longestGapInYears = 40

    /// Whether any year has a day that matches. When both must match, any date that exists in some year meets every
    /// weekday (see `longestGapInYears`), so it is enough to look for a month that is long enough.
    var canFire: Bool {
        if eitherDayMatches || includesLastDayOfMonth { return true }
        let leapYear = 2000
        return (1...12).contains { month in
            months & 1 << month != 0
                && daysOfMonth & Self.days(upTo: CivilDate.daysInMonth(month, ofYear: leapYear)) != 0
        }
    }

    /// The first matching minute at or after the local time, both in local seconds; `nil` when none is within
    /// `longestGapInYears`, which `canFire` excludes.
    func first(atOrAfter localSeconds: Int64) -> Int64? {
        // Rounded up: a minute is named by its first second.
        let minute = Int((localSeconds + 59).dividedRoundingDown(by: 60))
        let day = minute.dividedRoundingDown(by: 1440)
        let matchingDay = firstDay(atOrAfter: day)
        if matchingDay == day, let minuteOfDay = firstMinuteOfDay(atOrAfter: minute - day * 1440) {
            return Self.localSeconds(day, minuteOfDay)
        }
        guard let laterDay = matchingDay == day ? firstDay(atOrAfter: day + 1) : matchingDay,
            let minuteOfDay = firstMinuteOfDay(atOrAfter: 0)
        else { return nil }
        return Self.localSeconds(laterDay, minuteOfDay)
    }

    /// The last matching minute at or before the local time, both in local seconds; `nil` as in `first`.
    func last(atOrBefore localSeconds: Int64) -> Int64? {
        let minute = Int(localSeconds.dividedRoundingDown(by: 60))
        let day = minute.dividedRoundingDown(by: 1440)
        let matchingDay = lastDay(atOrBefore: day)
        if matchingDay == day, let minuteOfDay = lastMinuteOfDay(atOrBefore: minute - day * 1440) {
            return Self.localSeconds(day, minuteOfDay)
        }
        guard let earlierDay = matchingDay == day ? lastDay(atOrBefore: day - 1) : matchingDay,
            let minuteOfDay = lastMinuteOfDay(atOrBefore: 1439)
        else { return nil }
        return Self.localSeconds(earlierDay, minuteOfDay)
    }

    private static func localSeconds(_ daysSinceEpoch: Int, _ minuteOfDay: Int) -> Int64 {
        Int64(daysSinceEpoch * 86_400 + minuteOfDay * 60)
    }

    // MARK: Minutes of a day

    private func firstMinuteOfDay(atOrAfter minuteOfDay: Int) -> Int? {
        let (hour, minute) = minuteOfDay.quotientAndRemainder(dividingBy: 60)
        let minutesLeft = minutes & ~0 << minute
        if hours & 1 << hour != 0, minutesLeft != 0 { return hour * 60 + minutesLeft.trailingZeroBitCount }
        let hoursLeft = hours & ~0 << (hour + 1)
        guard hoursLeft != 0 else { return nil }
        return hoursLeft.trailingZeroBitCount * 60 + minutes.trailingZeroBitCount
    }

    private func lastMinuteOfDay(atOrBefore minuteOfDay: Int) -> Int? {
        let (hour, minute) = minuteOfDay.quotientAndRemainder(dividingBy: 60)
        let minutesBefore = minutes & ~(~0 << (minute + 1))
        if hours & 1 << hour != 0, minutesBefore != 0 { return hour * 60 + minutesBefore.highestBit }
        let hoursBefore = hours & ~(~0 << hour)
        guard hoursBefore != 0 else { return nil }
        return hoursBefore.highestBit * 60 + minutes.highestBit
    }

    // MARK: Days

    private func firstDay(atOrAfter daysSinceEpoch: Int) -> Int? {
        let start = CivilDate(daysSinceEpoch: daysSinceEpoch)
        var days: UInt32 = ~0 << start.day
        var month = start.month
        for year in start.year...start.year + Self.longestGapInYears {
            var monthsLeft = months & ~0 << month
            while monthsLeft != 0 {
                let candidate = monthsLeft.trailingZeroBitCount
                if candidate != month { days = ~0 }
                let (matching, dayZero) = matchingDays(candidate, ofYear: year)
                if matching & days != 0 { return dayZero + (matching & days).trailingZeroBitCount }
                monthsLeft &= monthsLeft - 1
            }
            (month, days) = (1, ~0)
        }
        return nil
    }

    private func lastDay(atOrBefore daysSinceEpoch: Int) -> Int? {
        let start = CivilDate(daysSinceEpoch: daysSinceEpoch)
        var days = Self.days(upTo: start.day)
        var month = start.month
        for year in (start.year - Self.longestGapInYears...start.year).reversed() {
            var monthsLeft = months & ~(~0 << (month + 1))
            while monthsLeft != 0 {
                let candidate = monthsLeft.highestBit
                if candidate != month { days = ~0 }
                let (matching, dayZero) = matchingDays(candidate, ofYear: year)
                if matching & days != 0 { return dayZero + (matching & days).highestBit }
                monthsLeft &= ~(1 << candidate)
            }
            (month, days) = (12, ~0)
        }
        return nil
    }

    /// The days of the month that match, as bits 1 to 31, and the day before the month's first since the epoch.
    private func matchingDays(_ month: Int, ofYear year: Int) -> (days: UInt32, dayZero: Int) {
        let length = CivilDate.daysInMonth(month, ofYear: year)
        let dayZero = CivilDate.daysSinceEpoch(year: year, month: month, day: 1) - 1
        let byNumber = daysOfMonth | (includesLastDayOfMonth ? 1 << length : 0)
        // 1970-01-01 was a Thursday. Bit 0 of the week stands for the weekday of day 0; five weeks cover a month.
        let weekdayOfDayZero = (dayZero + 4).remainderRoundingDown(by: 7)
        let doubled = UInt64(daysOfWeek) | UInt64(daysOfWeek) << 7
        let week = doubled >> weekdayOfDayZero & 0x7f
        let byWeekday = UInt32(truncatingIfNeeded: week | week << 7 | week << 14 | week << 21 | week << 28)
        let matching = eitherDayMatches ? byNumber | byWeekday : byNumber & byWeekday
        return (matching & Self.days(upTo: length), dayZero)
    }

    /// Bits 1 to `last`.
    private static func days(upTo last: Int) -> UInt32 { ~(~0 << (last + 1)) & ~1 }
}

extension FixedWidthInteger {
    /// The number of the highest bit that is set. Not for zero.
    fileprivate var highestBit: Int { bitWidth - 1 - leadingZeroBitCount }
}
