extension UTCInstant {
    /// Reads an RFC 3339 date-time: `2026-05-13T12:05:00Z`, `2026-05-13t14:05:00.25+02:00`.
    ///
    /// `T` and `Z` may be lower case; a space instead of `T` is refused. A fraction has 1 to 9 digits and is cut to
    /// microseconds. Offsets reach from `-23:59` to `+23:59`. The result, in UTC, is in the years 0001 to 9999.
    /// Second 60 is refused: leap seconds have no name in Unix time. `nil` for anything else.
    package init?(rfc3339 text: String) {
        var reader = RFC3339Reader(Array(text.utf8))
        guard
            let year = reader.number(digits: 4, upTo: 9999), year >= 1, reader.skip("-"),
            let month = reader.number(digits: 2, upTo: 12), reader.skip("-"),
            let day = reader.number(digits: 2, upTo: 31), reader.skip("T", or: "t"),
            let hour = reader.number(digits: 2, upTo: 23), reader.skip(":"),
            let minute = reader.number(digits: 2, upTo: 59), reader.skip(":"),
            let second = reader.number(digits: 2, upTo: 59),
            let microseconds = reader.fractionInMicroseconds(),
            let offset = reader.offsetInSeconds(), reader.isAtEnd,
            let date = CivilDate(year: year, month: month, day: day)
        else { return nil }
        let seconds = date.daysSinceEpoch * 86_400 + hour * 3600 + minute * 60 + second - offset
        let instant = UTCInstant(microsecondsSinceEpoch: Int64(seconds) * 1_000_000 + Int64(microseconds))
        guard (Self.earliestNameable...Self.latestNameable).contains(instant) else { return nil }
        self = instant
    }
}

/// Takes an RFC 3339 text apart from left to right. Only ASCII digits are digits.
private struct RFC3339Reader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    private var digit: Int? {
        guard position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) else {
            return nil
        }
        return Int(bytes[position] - UInt8(ascii: "0"))
    }

    /// Exactly `digits` digits, whose value is at most `upTo`.
    mutating func number(digits: Int, upTo limit: Int) -> Int? {
        var value = 0
        for _ in 0..<digits {
            guard let digit else { return nil }
            value = value * 10 + digit
            position += 1
        }
        return value <= limit ? value : nil
    }

    /// Whether the next character was `character`, or `alternative`, and is now behind.
    mutating func skip(_ character: Unicode.Scalar, or alternative: Unicode.Scalar? = nil) -> Bool {
        guard position < bytes.count else { return false }
        let found = Unicode.Scalar(bytes[position])
        guard found == character || found == alternative else { return false }
        position += 1
        return true
    }

    /// 0 when there is no fraction, `nil` when there is a malformed one.
    mutating func fractionInMicroseconds() -> Int? {
        guard skip(".") else { return 0 }
        var microseconds = 0
        var weight = 100_000
        var count = 0
        while let digit {
            microseconds += digit * weight
            weight /= 10
            count += 1
            position += 1
        }
        return (1...9).contains(count) ? microseconds : nil
    }

    /// What the local time is ahead of UTC; `Z` is 0.
    mutating func offsetInSeconds() -> Int? {
        if skip("Z", or: "z") { return 0 }
        let isBehind = skip("-")
        guard isBehind || skip("+"),
            let hours = number(digits: 2, upTo: 23), skip(":"),
            let minutes = number(digits: 2, upTo: 59)
        else { return nil }
        return (isBehind ? -1 : 1) * (hours * 3600 + minutes * 60)
    }
}
