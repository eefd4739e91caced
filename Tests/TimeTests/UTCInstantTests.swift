import SeededRandom
import Testing
import Time

@Suite struct UTCInstantTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_000, "1970-01-01T00:00:00.001Z"),
        (120_000, "1970-01-01T00:00:00.120Z"),
        (120_010, "1970-01-01T00:00:00.120010Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-1_000, "1969-12-31T23:59:59.999Z"),
        (-86_400_000_000, "1969-12-31T00:00:00Z"),
        (1_709_210_096_000_000, "2024-02-29T12:34:56Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
        (UTCInstant.earliestNameable.microsecondsSinceEpoch, "0001-01-01T00:00:00Z"),
        (UTCInstant.latestNameable.microsecondsSinceEpoch, "9999-12-31T23:59:59.999999Z"),
    ])
    func readsAndWritesTheSameText(microseconds: Int64, text: String) throws {
        #expect(UTCInstant(microsecondsSinceEpoch: microseconds).description == text)
        #expect(try #require(UTCInstant(rfc3339: text)).microsecondsSinceEpoch == microseconds)
    }

    @Test func writesWhatRFC3339CannotNameWithASign() {
        #expect("\(UTCInstant.earliestNameable - .seconds(1))" == "0000-12-31T23:59:59Z")
        #expect("\(UTCInstant.latestNameable + .microseconds(1))" == "+10000-01-01T00:00:00Z")
        #expect("\(UTCInstant(microsecondsSinceEpoch: .max))" == "+294247-01-10T04:00:54.775807Z")
        #expect("\(UTCInstant(microsecondsSinceEpoch: .min))" == "-290308-12-21T19:59:05.224192Z")
    }

    @Test(arguments: [
        ("2026-05-13t12:05:00z", "2026-05-13T12:05:00Z"),
        ("2026-05-13T14:05:00+02:00", "2026-05-13T12:05:00Z"),
        ("2026-05-13T01:35:00+05:30", "2026-05-12T20:05:00Z"),
        ("2026-12-31T23:59:59-00:01", "2027-01-01T00:00:59Z"),
        ("2026-05-13T12:05:00-00:00", "2026-05-13T12:05:00Z"),
        ("2026-05-13T12:05:00+23:59", "2026-05-12T12:06:00Z"),
        ("2026-05-13T12:05:00.5Z", "2026-05-13T12:05:00.500Z"),
        ("2026-05-13T12:05:00.1234567Z", "2026-05-13T12:05:00.123456Z"),
        ("2026-05-13T12:05:00.999999999Z", "2026-05-13T12:05:00.999999Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2026-05-13T12:05:00.000Z", "2026-05-13T12:05:00Z"),
        ("0001-01-01T00:00:00-00:01", "0001-01-01T00:01:00Z"),
    ])
    func readsOffsetsFractionsAndLowerCase(text: String, expected: String) {
        #expect(UTCInstant(rfc3339: text)?.description == expected)
    }

    @Test(arguments: [
        "", "2026", "2026-05-13", "2026-05-13T12:05Z", "2026-05-13 12:05:00Z", "2026-05-13T12:05:00",
        "2026-05-13T12:05:00ZZ", " 2026-05-13T12:05:00Z", "2026-05-13T12:05:00Z ", "2026-05-13T12:05:00Z\n",
        "26-05-13T12:05:00Z", "02026-05-13T12:05:00Z", "+2026-05-13T12:05:00Z", "0000-01-01T00:00:00Z",
        "-001-01-01T00:00:00Z", "2026-5-13T12:05:00Z", "2026-00-13T12:05:00Z", "2026-13-13T12:05:00Z",
        "2026-05-00T12:05:00Z", "2026-05-32T12:05:00Z", "2026-02-29T12:05:00Z", "2100-02-29T12:05:00Z",
        "2026-04-31T12:05:00Z", "2026-05-13T24:00:00Z", "2026-05-13T12:60:00Z", "2026-05-13T12:05:60Z",
        "2026-05-13T12:05:00.Z", "2026-05-13T12:05:00.1234567890Z", "2026-05-13T12:05:00,5Z", "2026-05-13T12:05:00.5",
        "2026-05-13T12:05:00+0200", "2026-05-13T12:05:00+2:00", "2026-05-13T12:05:00+24:00",
        "2026-05-13T12:05:00+02:60", "2026-05-13T12:05:00+02:00Z", "2026-05-13T12:05:00+02", "20260513T120500Z",
        "2026-05-13T12:05:00\u{2212}02:00", "٢٠٢٦-05-13T12:05:00Z", "2026/05/13T12:05:00Z", "2026-05-13T12.05.00Z",
        "2026-05-13T-1:05:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-05-13T12:05:00Z\0",
    ])
    func refusesWhatIsNotRFC3339(text: String) {
        #expect(UTCInstant(rfc3339: text) == nil)
    }

    @Test func readsBackEveryInstantThatItWrites() throws {
        let seed = SeededRandom.seed()
        var random = SeededRandom(seed: seed)
        let nameable =
            UTCInstant.earliestNameable.microsecondsSinceEpoch...UTCInstant.latestNameable.microsecondsSinceEpoch
        for _ in 0..<5_000 {
            let instant = UTCInstant(microsecondsSinceEpoch: .random(in: nameable, using: &random))
            try #require(UTCInstant(rfc3339: instant.description) == instant, "\(instant), seed \(seed)")
        }
    }

    @Test func addsAndSubtractsDurationsAndRoundsDown() {
        let noon = instant("2026-05-13T12:00:00Z")
        #expect(noon + .seconds(90) == instant("2026-05-13T12:01:30Z"))
        #expect(noon - .milliseconds(1) == instant("2026-05-13T11:59:59.999Z"))
        #expect(noon + .nanoseconds(1_999) == instant("2026-05-13T12:00:00.000001Z"))
        #expect(noon + .nanoseconds(-1) == instant("2026-05-13T11:59:59.999999Z"))
        #expect(noon - .nanoseconds(1) == instant("2026-05-13T11:59:59.999999Z"))
        #expect(noon - .nanoseconds(-1_999) == instant("2026-05-13T12:00:00.000001Z"))
        var moved = noon
        moved += .seconds(3600)
        #expect(moved == instant("2026-05-13T13:00:00Z"))
    }

    @Test func measuresTheTimeBetweenInstantsExactly() {
        let earlier = instant("2026-05-13T12:00:00.000001Z")
        #expect(instant("2026-05-13T12:00:01Z") - earlier == .microseconds(999_999))
        #expect(earlier - instant("2026-05-13T12:00:01Z") == .microseconds(-999_999))
        let ends = UTCInstant(microsecondsSinceEpoch: .max) - UTCInstant(microsecondsSinceEpoch: .min)
        #expect(ends == Duration(attoseconds: Int128(UInt64.max) * 1_000_000_000_000))
    }

    @Test func staysAtTheEndsOfTimeInsteadOfTrapping() {
        let first = UTCInstant(microsecondsSinceEpoch: .min)
        let last = UTCInstant(microsecondsSinceEpoch: .max)
        #expect(last + .microseconds(1) == last)
        #expect(first - .microseconds(1) == first)
        #expect(last - Duration(attoseconds: .min) == last)
        #expect(first + Duration(attoseconds: .min) == first)
        #expect(UTCInstant(secondsSinceEpoch: 0) - Duration(attoseconds: .max) == first)
        #expect(UTCInstant(secondsSinceEpoch: .max) == last)
        #expect(UTCInstant(secondsSinceEpoch: .min) == first)
        #expect(UTCInstant(secondsSinceEpoch: -1).wholeSecondsSinceEpoch == -1)
        #expect(UTCInstant(microsecondsSinceEpoch: -1).wholeSecondsSinceEpoch == -1)
        #expect(UTCInstant(microsecondsSinceEpoch: 1_999_999).wholeSecondsSinceEpoch == 1)
    }

    @Test func ordersInstantsByTime() {
        #expect(UTCInstant(secondsSinceEpoch: 0) < UTCInstant(microsecondsSinceEpoch: 1))
        #expect(UTCInstant(microsecondsSinceEpoch: -1) < UTCInstant(secondsSinceEpoch: 0))
    }
}

/// Returns the instant that an RFC 3339 text names; each text in these tests is valid.
private func instant(_ text: String) -> UTCInstant {
    guard let instant = UTCInstant(rfc3339: text) else { preconditionFailure("\(text) is no RFC 3339 time") }
    return instant
}
