/// A day of the proleptic Gregorian calendar, without a time zone.
///
/// Year 0 is the year before year 1, and years before it are negative. Nothing traps within 2^53 days of 1970-01-01.
package struct CivilDate: Sendable, CustomStringConvertible {
    package let year: Int
    /// 1 is January.
    package let month: Int
    package let day: Int

    /// The day that is this number of days after 1970-01-01; negative is before.
    package init(daysSinceEpoch: Int) {
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years are counted from 1
        // March, so that the leap day is the last day of the year and the days before a month are a linear function.
        let shifted = daysSinceEpoch + Self.daysFromMarchOfYear0ToEpoch
        let era = shifted.dividedRoundingDown(by: Self.daysInEra)
        let dayOfEra = shifted - era * Self.daysInEra
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Days from 1970-01-01 to this date. `month` is 1 to 12; a `day` beyond the month's end counts into the next.
    package static func daysSinceEpoch(year: Int, month: Int, day: Int) -> Int {
        // The inverse of the above (days_from_civil).
        let yearFromMarch = month <= 2 ? year - 1 : year
        let era = yearFromMarch.dividedRoundingDown(by: 400)
        let yearOfEra = yearFromMarch - era * 400
        let monthFromMarch = month > 2 ? month - 3 : month + 9
        let dayOfYear = (153 * monthFromMarch + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * Self.daysInEra + dayOfEra - Self.daysFromMarchOfYear0ToEpoch
    }

    /// 28 to 31. `month` is 1 to 12.
    package static func daysInMonth(_ month: Int, ofYear year: Int) -> Int {
        if [4, 6, 9, 11].contains(month) { return 30 }
        let isLeap = year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
        return month != 2 ? 31 : isLeap ? 29 : 28
    }

    /// ISO 8601, `2026-05-13`. Years outside 0000–9999 have a sign.
    package var description: String {
        let digits = String(year.magnitude)
        let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        let sign = year < 0 ? "-" : year > 9999 ? "+" : ""
        return "\(sign)\(padded)-\(month.twoDigits)-\(day.twoDigits)"
    }

    /// The Gregorian calendar repeats after 400 years.
    private static let daysInEra = 146_097
    private static let daysFromMarchOfYear0ToEpoch = 719_468
}

extension FixedWidthInteger {
    /// The quotient rounded toward negative infinity, for a positive divisor; `/` rounds toward zero.
    package func dividedRoundingDown(by divisor: Self) -> Self {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }

    /// The remainder of `dividedRoundingDown`: from 0 up to but not including the positive divisor.
    package func remainderRoundingDown(by divisor: Self) -> Self {
        let remainder = self % divisor
        return remainder < 0 ? remainder + divisor : remainder
    }

    /// Decimal, with a leading zero below 10. Only for 0 to 99.
    var twoDigits: String { self < 10 ? "0\(self)" : "\(self)" }
}
