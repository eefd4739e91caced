import Time

/// The local minutes that five fields name, one bit for each number, and the search among them.
///
/// It knows calendars and no time zones: local times are counted in seconds as if they were UTC.
struct CalendarRule: Hashable, Sendable {
    let minutes: UInt64
    let hours: UInt64
    /// Bits 1 to 31; 0 is the last day of the month.
    let daysOfMonth: UInt64
    /// Bits 1 to 12.
    let months: UInt64
    /// Bits 0 to 6; 0 is Sunday.
    let daysOfWeek: UInt64
    /// True if a day matches when either its number or its weekday does; otherwise both must.
    let eitherDayMatches: Bool

    /// The longest that a rule can wait, in calendar years: 29 February falls on a given weekday every 28 years, but
    /// 40 where a century without a leap day lies between (Mondays: 2072, 2112). Any other date meets each weekday
    /// within 12. The calendar repeats after 400 years, weekdays included, so a test can and does try them all.
    static let longestGapInYears = 40

    /// True if any year has a day that matches.
    var canFire: Bool { nearestDay(to: 0, .later) != nil }

    /// The directions of a search, as the difference from one number to the next.
    enum Direction: Int {
        case later = 1
        case earlier = -1
    }

    /// The first matching minute at or after the local time, or the last at or before it, both in local seconds; `nil`
    /// when none is within `longestGapInYears`, which `canFire` excludes.
    func nearest(to localSeconds: Int64, _ direction: Direction) -> Int64? {
        // A minute is named by its first second.
        let minute = Int((direction == .later ? localSeconds + 59 : localSeconds).dividedRoundingDown(by: 60))
        let today = minute.dividedRoundingDown(by: 1440)
        if nearestDay(to: today, direction) == today,
            let minuteOfDay = nearestMinuteOfDay(to: minute - today * 1440, direction)
        {
            return Int64(today * 1440 + minuteOfDay) * 60
        }
        guard let day = nearestDay(to: today + direction.rawValue, direction),
            let minuteOfDay = nearestMinuteOfDay(to: direction == .later ? 0 : 1439, direction)
        else { return nil }
        return Int64(day * 1440 + minuteOfDay) * 60
    }

    private func nearestMinuteOfDay(to minuteOfDay: Int, _ direction: Direction) -> Int? {
        let (hour, minute) = minuteOfDay.quotientAndRemainder(dividingBy: 60)
        if hours & 1 << hour != 0, let minute = Self.nearestBit(of: minutes, to: minute, direction) {
            return hour * 60 + minute
        }
        guard let hour = Self.nearestBit(of: hours, to: hour + direction.rawValue, direction),
            let minute = Self.nearestBit(of: minutes, to: direction == .later ? 0 : 59, direction)
        else { return nil }
        return hour * 60 + minute
    }

    /// Tries one month after the other, each by its mask: 492 at most.
    private func nearestDay(to daysSinceEpoch: Int, _ direction: Direction) -> Int? {
        let start = CivilDate(daysSinceEpoch: daysSinceEpoch)
        for distance in 0..<(Self.longestGapInYears + 1) * 12 {
            let month = start.year * 12 + start.month - 1 + distance * direction.rawValue
            let days = matchingDays(
                month.remainderRoundingDown(by: 12) + 1, ofYear: month.dividedRoundingDown(by: 12))
            let first = distance == 0 ? start.day : direction == .later ? 1 : 31
            if let day = Self.nearestBit(of: days.bits, to: first, direction) { return days.zero + day }
        }
        return nil
    }

    /// The matching days of the month, as bits 1 to 31, and the day before its first, in days since the epoch.
    private func matchingDays(_ month: Int, ofYear year: Int) -> (bits: UInt64, zero: Int) {
        guard months & 1 << month != 0 else { return (0, 0) }
        let length = CivilDate.daysInMonth(month, ofYear: year)
        let zero = CivilDate.daysSinceEpoch(year: year, month: month, day: 1) - 1
        let byNumber = daysOfMonth | (daysOfMonth & 1) << length
        // 1970-01-01 was a Thursday. Bit 0 of the week stands for the weekday of day 0; five weeks cover a month.
        let week = (daysOfWeek | daysOfWeek << 7) >> (zero + 4).remainderRoundingDown(by: 7) & 0x7f
        let byWeekday = week | week << 7 | week << 14 | week << 21 | week << 28
        let matching = eitherDayMatches ? byNumber | byWeekday : byNumber & byWeekday
        // Bits 1 to `length`.
        return (matching & ~(~0 << (length + 1)) & ~1, zero)
    }

    /// The number of the set bit that is nearest to `bit` in a direction, itself included.
    private static func nearestBit(of bits: UInt64, to bit: Int, _ direction: Direction) -> Int? {
        let left = direction == .later ? bits & ~0 << bit : bits & ~(~0 << (bit + 1))
        guard left != 0 else { return nil }
        return direction == .later ? left.trailingZeroBitCount : 63 - left.leadingZeroBitCount
    }
}
