/// Reads a POSIX TZ string as TZif files carry it (RFC 9636, section 3.3.1): with rules, never without.
struct TimeZoneFooterParser {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Throws: `TimeZoneError` for the first byte that is wrong.
    mutating func footer() throws(TimeZoneError) -> TimeZoneFooter {
        try designation()
        // POSIX counts offsets westward.
        var footer = TimeZoneFooter(standardOffset: -(try time(upToHours: 24)))
        guard current != nil else { return footer }
        try designation()
        let daylightOffset = current == UInt8(ascii: ",") ? footer.standardOffset + 3600 : -(try time(upToHours: 24))
        try expect(",")
        let start = try yearlyChange()
        try expect(",")
        let end = try yearlyChange()
        guard current == nil else { throw malformed }
        footer.daylight = .init(offset: daylightOffset, start: start, end: end)
        return footer
    }

    /// The abbreviation of a zone, in angle brackets when it holds more than letters: `CET`, `<+03>`.
    private mutating func designation() throws(TimeZoneError) {
        let isQuoted = skip("<")
        let start = position
        while let current,
            TimeZoneRules.isLetter(current) || isQuoted && (Self.isDigit(current) || "+-".utf8.contains(current))
        { position += 1 }
        guard position - start >= 3 else { throw malformed }
        if isQuoted { try expect(">") }
    }

    /// `date[/time]`; the time is 02:00:00 unless given.
    private mutating func yearlyChange() throws(TimeZoneError) -> TimeZoneFooter.YearlyChange {
        let day: TimeZoneFooter.YearlyChange.Day
        if skip("J") {
            day = .withoutLeapDay(try number(1...365))
        } else if skip("M") {
            let month = try number(1...12)
            try expect(".")
            let week = try number(1...5)
            try expect(".")
            day = .weekday(try number(0...6), week: week, month: month)
        } else {
            day = .withLeapDay(try number(0...365))
        }
        return .init(day: day, time: skip("/") ? try time(upToHours: 167) : 7200)
    }

    /// `[+-]hh[:mm[:ss]]`
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
        let start = position
        var value = 0
        while let current, Self.isDigit(current), position - start < 3 {
            value = value * 10 + Int(current - UInt8(ascii: "0"))
            position += 1
        }
        guard position > start, range.contains(value) else {
            position = start
            throw malformed
        }
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
        // One byte as one character, and none that a terminal would obey.
        let found = current.map { (0x20...0x7e).contains($0) ? "'\(Unicode.Scalar($0))'" : "'byte \($0)'" }
        return .footer(offset: position, found: found ?? "end")
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}
