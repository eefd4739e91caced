/// A point in time, in whole microseconds of UTC: the resolution of PostgreSQL's `timestamptz`.
///
/// Every day has 86,400 seconds: leap seconds have no name. Arithmetic never traps: it clamps to the first and the last
/// instant, 292,000 years from 1970.
package struct UTCInstant: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The epoch is 1970-01-01T00:00:00Z.
    package let microsecondsSinceEpoch: Int64

    /// The bounds of RFC 3339 text here: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z.
    package static let earliestNameable = UTCInstant(secondsSinceEpoch: -62_135_596_800)
    package static let latestNameable = UTCInstant(microsecondsSinceEpoch: 253_402_300_799_999_999)

    package init(microsecondsSinceEpoch: Int64) { self.microsecondsSinceEpoch = microsecondsSinceEpoch }

    /// Clamped to the range of microseconds in 64 bits.
    package init(secondsSinceEpoch: Int64) { self.init(clampingMicroseconds: Int128(secondsSinceEpoch) * 1_000_000) }

    private init(clampingMicroseconds microseconds: Int128) { microsecondsSinceEpoch = Int64(clamping: microseconds) }

    /// The last whole second at or before this instant, in seconds since the epoch.
    package var wholeSecondsSinceEpoch: Int64 { microsecondsSinceEpoch.dividedRoundingDown(by: 1_000_000) }

    package static func < (lhs: UTCInstant, rhs: UTCInstant) -> Bool {
        lhs.microsecondsSinceEpoch < rhs.microsecondsSinceEpoch
    }

    /// The exact sum, rounded down.
    package static func + (instant: UTCInstant, duration: Duration) -> UTCInstant {
        let microseconds = duration.attoseconds.dividedRoundingDown(by: attosecondsInMicrosecond)
        return UTCInstant(clampingMicroseconds: Int128(instant.microsecondsSinceEpoch) + microseconds)
    }

    /// The exact difference, rounded down.
    package static func - (instant: UTCInstant, duration: Duration) -> UTCInstant {
        let (whole, rest) = duration.attoseconds.quotientAndRemainder(dividingBy: attosecondsInMicrosecond)
        return UTCInstant(clampingMicroseconds: Int128(instant.microsecondsSinceEpoch) - whole - (rest > 0 ? 1 : 0))
    }

    package static func += (instant: inout UTCInstant, duration: Duration) { instant = instant + duration }

    /// The time from `earlier` to `later`: exact, and negative if `earlier` is in fact the later one.
    package static func - (later: UTCInstant, earlier: UTCInstant) -> Duration {
        let microseconds = Int128(later.microsecondsSinceEpoch) - Int128(earlier.microsecondsSinceEpoch)
        return Duration(attoseconds: microseconds * attosecondsInMicrosecond)
    }

    private static let attosecondsInMicrosecond: Int128 = 1_000_000_000_000

    /// RFC 3339 in UTC with `Z`: `2026-05-13T12:05:00Z`. A fraction appears only when it is not zero, with three digits
    /// when it is whole milliseconds, else six. Years outside 0000–9999 have a sign, as in ISO 8601.
    package var description: String {
        let date = CivilDate(daysSinceEpoch: Int(wholeSecondsSinceEpoch.dividedRoundingDown(by: 86_400)))
        let second = wholeSecondsSinceEpoch.remainderRoundingDown(by: 86_400)
        let clock = "\((second / 3600).twoDigits):\((second / 60 % 60).twoDigits):\((second % 60).twoDigits)"
        let microseconds = microsecondsSinceEpoch.remainderRoundingDown(by: 1_000_000)
        // The digit 1 in front, which is dropped again, keeps the leading zeros.
        let digits = String(1_000_000 + microseconds).dropFirst()
        let fraction = String(microseconds.isMultiple(of: 1000) ? digits.prefix(3) : digits)
        return microseconds == 0 ? "\(date)T\(clock)Z" : "\(date)T\(clock).\(fraction)Z"
    }
}
