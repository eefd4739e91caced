extension UTCInstant {
    /// Reads an RFC 3339 date-time: `2026-05-13T12:05:00Z`, `2026-05-13t14:05:00.25+02:00`.
    ///
    /// `T` and `Z` may be lower case; a space instead of `T` is refused. A fraction has 1 to 9 digits and is cut to
    /// microseconds. Offsets reach from `-23:59` to `+23:59`. The result, in UTC, is in the years 0001 to 9999. Second
    /// 60 is refused: leap seconds have no name in Unix time. `nil` for anything else.
    package init?(rfc3339 text: String) {
        var rest = Array(text.utf8)[...]
        func skip(_ characters: String) -> Bool {
            guard let first = rest.first, characters.utf8.contains(first) else { return false }
            rest.removeFirst()
            return true
        }
        /// Takes ASCII digits.
        func digits(most: Int) -> [Int] {
            let digits = rest.prefix(most).prefix { (48...57).contains($0) }.map { Int($0) - 48 }
            rest.removeFirst(digits.count)
            return digits
        }
        func number(_ count: Int, _ range: ClosedRange<Int>) -> Int? {
            let digits = digits(most: count)
            let value = digits.reduce(0) { $0 * 10 + $1 }
            return digits.count == count && range.contains(value) ? value : nil
        }
        guard let year = number(4, 1...9999), skip("-"), let month = number(2, 1...12), skip("-"),
            let day = number(2, 1...CivilDate.daysInMonth(month, ofYear: year)), skip("Tt"),
            let hour = number(2, 0...23), skip(":"), let minute = number(2, 0...59), skip(":"),
            let second = number(2, 0...59)
        else { return nil }
        var microseconds = 0
        if skip(".") {
            let fraction = digits(most: 9)
            guard !fraction.isEmpty else { return nil }
            microseconds = (fraction + [0, 0, 0, 0, 0]).prefix(6).reduce(0) { $0 * 10 + $1 }
        }
        var offset = 0
        if !skip("Zz") {
            let direction = rest.first == UInt8(ascii: "-") ? -1 : 1
            guard skip("+-"), let hours = number(2, 0...23), skip(":"), let minutes = number(2, 0...59) else {
                return nil
            }
            offset = direction * (hours * 3600 + minutes * 60)
        }
        let days = CivilDate.daysSinceEpoch(year: year, month: month, day: day)
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
        let instant = UTCInstant(microsecondsSinceEpoch: Int64(seconds) * 1_000_000 + Int64(microseconds))
        guard rest.isEmpty, (Self.earliestNameable...Self.latestNameable).contains(instant) else { return nil }
        self = instant
    }
}
