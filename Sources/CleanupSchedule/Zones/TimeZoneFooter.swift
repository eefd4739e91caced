import Time

/// The rule that holds after a zone file's last transition: a POSIX TZ string such as `CET-1CEST,M3.5.0,M10.5.0/3`, as
/// TZif files carry it (RFC 9636, section 3.3.1). Daylight saving time always comes with its two rules.
struct TimeZoneFooter {
    /// Returns the local time of a change in this year, in seconds since the epoch.
    private typealias YearlyChange = (_ year: Int) -> Int64

    /// Seconds ahead of UTC outside `daylight`.
    private(set) var standardOffset: Int64 = 0
    /// Daylight saving time, from `start` in standard time to `end` in daylight saving time. The offset is in seconds
    /// ahead of UTC; "saving" may be negative, as in Dublin's winter.
    private var daylight: (offset: Int64, start: YearlyChange, end: YearlyChange)?

    private let bytes: [UInt8]
    private var position = 0

    /// - Throws: `TimeZoneError` for the first byte that is wrong.
    init(_ bytes: [UInt8]) throws(TimeZoneError) {
        self.bytes = bytes
        try skipDesignation()
        // POSIX counts offsets westward.
        standardOffset = -(try time(upToHours: 24))
        guard current != nil else { return }
        try skipDesignation()
        let offset = current == UInt8(ascii: ",") ? standardOffset + 3600 : -(try time(upToHours: 24))
        try expect(",")
        let start = try yearlyChange()
        try expect(",")
        daylight = (offset, start, try yearlyChange())
        guard current == nil else { throw malformed }
    }

    /// The instants at which these years' changes happen, in ascending order, with the offset that holds from then.
    /// Where two fall on one instant (daylight saving time all year round) the later year's is last.
    func transitions(inYears years: ClosedRange<Int>) -> [(start: Int64, offset: Int64)] {
        guard let daylight else { return [] }
        let transitions = years.flatMap { year in
            [
                (start: daylight.start(year) - standardOffset, offset: daylight.offset),
                (start: daylight.end(year) - daylight.offset, offset: standardOffset),
            ]
        }
        // Times of up to 167 hours let neighboring years overlap by days. The sort is stable.
        return transitions.sorted { $0.start < $1.start }
    }

    /// Skips the abbreviation of a zone, in angle brackets when it holds more than letters: `CET`, `<+03>`.
    private mutating func skipDesignation() throws(TimeZoneError) {
        let isQuoted = skip("<")
        let start = position
        while let current,
            TimeZoneRules.isLetter(current) || isQuoted && (Self.isDigit(current) || "+-".utf8.contains(current))
        { position += 1 }
        guard position - start >= 3 else { throw malformed }
        if isQuoted { try expect(">") }
    }

    /// `date[/time]`; the time is 02:00:00 unless given.
    private mutating func yearlyChange() throws(TimeZoneError) -> YearlyChange {
        let day = try day()
        let time = skip("/") ? try time(upToHours: 167) : 7200
        return { year in Int64(day(year)) * 86_400 + time }
    }

    /// Returns the days from the epoch to the day of a year.
    private mutating func day() throws(TimeZoneError) -> (_ year: Int) -> Int {
        guard skip("M") else {
            // `Jn`, from 1 on, where 60 is always 1 March; or `n`, from 0 on, where the leap day counts.
            let skipsLeapDay = skip("J")
            let number = skipsLeapDay ? try number(1...365) : try number(0...365) + 1
            let (month, day) = skipsLeapDay && number >= 60 ? (3, number - 59) : (1, number)
            return { year in CivilDate.daysSinceEpoch(year: year, month: month, day: day) }
        }
        // `Mm.w.d`: the month, the week, of which 5 is the last, and the weekday, of which 0 is Sunday.
        let month = try number(1...12)
        try expect(".")
        let week = try number(1...5)
        try expect(".")
        let weekday = try number(0...6)
        return { year in
            let first = CivilDate.daysSinceEpoch(year: year, month: month, day: 1)
            // 1970-01-01 was a Thursday.
            let day = (weekday - first - 4).remainderRoundingDown(by: 7) + (week - 1) * 7
            // Only the fifth week's day can be beyond the month's end, and by less than a week.
            return first + (day < CivilDate.daysInMonth(month, ofYear: year) ? day : day - 7)
        }
    }

    /// `[+-]hh[:mm[:ss]]`, in seconds.
    private mutating func time(upToHours limit: Int) throws(TimeZoneError) -> Int64 {
        let isNegative = skip("-")
        if !isNegative { _ = skip("+") }
        var seconds = try number(0...limit) * 3600
        if skip(":") {
            seconds += try number(0...59) * 60
            if skip(":") { seconds += try number(0...59) }
        }
        return Int64(isNegative ? -seconds : seconds)
    }

    /// One to three digits.
    private mutating func number(_ range: ClosedRange<Int>) throws(TimeZoneError) -> Int {
        let digits = bytes[position...].prefix(3).prefix(while: Self.isDigit)
        guard let value = Int(String(decoding: digits, as: UTF8.self)), range.contains(value) else { throw malformed }
        position = digits.endIndex
        return value
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard let current, Unicode.Scalar(current) == character else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar) throws(TimeZoneError) {
        guard skip(character) else { throw malformed }
    }

    private var malformed: TimeZoneError {
        // One byte, shown as a character if it is printable ASCII, else by its number: no terminal obeys it.
        let found = current.map { (0x20...0x7e).contains($0) ? "'\(Unicode.Scalar($0))'" : "'byte \($0)'" }
        return .footer(offset: position, found: found ?? "end")
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}
