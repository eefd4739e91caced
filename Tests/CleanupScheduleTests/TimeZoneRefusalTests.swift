import CleanupSchedule
import SeededRandom
import Testing
import Time

/// Bytes that are not a time zone file are refused without a trap.
@Suite struct TimeZoneRefusalTests {
    private static let malformed = "malformed time zone file: "

    private func error(_ bytes: [UInt8]) -> String? {
        do throws(TimeZoneError) {
            _ = try TimeZoneRules(tzif: bytes)
            return nil
        } catch {
            return error.description
        }
    }

    private func cutShort(_ part: String, needed: Int, available: Int) -> String {
        "time zone file cut short: its \(part) needs \(needed) bytes, \(available) are left"
    }

    @Test func refusesWhatIsNoTimeZoneFile() {
        #expect(error([]) == "not a time zone file (it does not begin with 'TZif')")
        #expect(error(Array("TZi".utf8)) == "not a time zone file (it does not begin with 'TZif')")
        #expect(error(Array("# tzdata".utf8)) == "not a time zone file (it does not begin with 'TZif')")
        #expect(error(Array("TZif2".utf8)) == cutShort("header", needed: 44, available: 5))
        let huge = TimeZoneRules.maximumFileSize + 1
        #expect(
            error([UInt8](repeating: 0, count: huge)) == "time zone file of \(huge) bytes, expected at most \(huge - 1)"
        )
        for version: Character in ["1", ":", "x"] {
            let bytes = ZoneFile.make(offsets: [0], version: version)
            #expect(error(bytes) == "time zone file of unknown version (byte \(version.asciiValue!))")
        }
    }

    @Test func refusesAFileCutShortAnywhere() throws {
        let bytes = ZoneFile.make(offsets: [0, 60], transitions: [(0, 1), (10, 0)], footer: "AAA0BBB,M3.5.0,M10.5.0")
        #expect(error(bytes) == nil)
        for count in 0..<bytes.count { #expect(error(Array(bytes[..<count])) != nil, "first \(count) bytes") }
        let berlin = try ZoneFile.bytes("Europe/Berlin")
        for count in 0..<berlin.count where error(Array(berlin[..<count])) == nil {
            Issue.record("the first \(count) bytes of Berlin are no time zone")
        }
    }

    @Test func refusesContradictions() {
        let transitions: [(start: Int64, type: UInt8)] = [(0, 1), (10, 0)]
        #expect(error(ZoneFile.make(offsets: [])) == Self.malformed + "no local time type")
        #expect(
            error(ZoneFile.make(offsets: [0], transitions: transitions)) == Self.malformed
                + "transition 0 leads to local time type 1 of 1")
        for second: Int64 in [0, -1, .min] {
            let bytes = ZoneFile.make(offsets: [0, 0], transitions: [(0, 1), (second, 0)])
            #expect(error(bytes) == Self.malformed + "transition 1 is out of order")
        }
        for seconds: Int32 in [-90_000, 93_600, .min, .max] {
            #expect(error(ZoneFile.make(offsets: [seconds])) == Self.malformed + "\(seconds) seconds from UTC")
        }
        // The second header's counts follow the first block: 44 + 6 + 4 bytes, then 20 bytes of header.
        for (count, expected) in [(0, "5 indicators for 1 local time types"), (2, "with 5 leap seconds")] {
            var bytes = ZoneFile.make(offsets: [0])
            bytes[54 + 20 + count * 4 + 3] = 5
            #expect(error(bytes)?.contains(expected) ?? false)
        }
        var bytes = ZoneFile.make(offsets: [0])
        for index in 0..<24 { bytes[54 + 20 + index] = index / 4 == 2 ? 0 : 0xff }
        #expect(error(bytes) == cutShort("transitions", needed: 77_309_411_310, available: 12))
    }

    private static var hasZonesWithLeapSeconds: Bool {
        do {
            return try !ZoneFile.bytes("right/Europe/Berlin").isEmpty
        } catch {
            return false
        }
    }

    @Test(.enabled(if: hasZonesWithLeapSeconds, "this system's tzdata has no right/ zones"))
    func refusesZonesThatCountLeapSeconds() throws {
        let bytes = try ZoneFile.bytes("right/Europe/Berlin")
        #expect(error(bytes)?.contains("leap seconds, which schedules do not count") ?? false)
    }

    @Test(arguments: [
        ("A", 1, ""), ("AB0", 2, "0"), ("AAA", 3, ""), ("AAA25", 3, "2"), ("AAA0:60", 5, "6"), ("AAA0:0:60", 7, "6"),
        ("AAA0000", 6, "0"), ("<AAA0", 5, ""), ("<A>0", 2, ">"), ("<AA_>0", 3, "_"), ("A1A0", 1, "1"), ("+030", 0, "+"),
        ("AAA0 ", 4, " "), ("AAA0B", 5, ""), ("AAA0BBB", 7, ""), ("AAA0BBB,", 8, ""), ("AAA0BBB,J0,J1", 9, "0"),
        ("AAA0BBB,J366,J1", 9, "3"), ("AAA0BBB,366,1", 8, "3"), ("AAA0BBB,M0.1.0,1", 9, "0"),
        ("AAA0BBB,M13.1.0,1", 9, "1"), ("AAA0BBB,M1.0.0,1", 11, "0"), ("AAA0BBB,M1.6.0,1", 11, "6"),
        ("AAA0BBB,M1.1.7,1", 13, "7"), ("AAA0BBB,M1.1,1", 12, ","), ("AAA0BBB,1/168,2", 10, "1"),
        ("AAA0BBB,1/-168,2", 11, "1"), ("AAA0BBB,1/,2", 10, ","), ("AAA0BBB,1", 9, ""), ("AAA0BBB,1,", 10, ""),
        ("AAA0BBB,1,2,", 11, ","), ("AAA0BBB,1,2/1:00:00:00", 19, ":"), ("AAA0BBB-1:00 ,1,2", 12, " "),
        ("AAA0\nBBB", 4, "byte 10"), ("AAA\u{e9}", 3, "byte 195"), ("AAA--1", 4, "-"),
    ])
    func refusesMalformedFootersAtTheByte(footer: String, offset: Int, found: String) {
        let words = "rule for later years, byte \(offset): unexpected " + (found.isEmpty ? "end" : "'\(found)'")
        #expect(error(ZoneFile.make(offsets: [0], footer: footer)) == Self.malformed + words)
    }

    @Test func survivesTransitionsAtTheEndsOfTime() throws {
        for offsets: [Int32] in [[3600, -3600], [-3600, 3600]] {
            let transitions: [(start: Int64, type: UInt8)] = [(.min, 1), (.min + 1, 0), (.max - 1, 1), (.max, 0)]
            let rules = try TimeZoneRules(
                tzif: ZoneFile.make(offsets: offsets, transitions: transitions, footer: "AAA0BBB,M3.5.0,M10.5.0"))
            let hourly = try Schedule("@hourly")
            #expect(hourly.next(after: instant("2026-05-13T12:00:00Z"), in: rules) == instant("2026-05-13T13:00:00Z"))
            #expect(
                hourly.previous(atOrBefore: instant("2026-05-13T12:30:00Z"), in: rules)
                    == instant("2026-05-13T12:00:00Z"))
        }
    }

    /// Every file that is accepted must work: its fire times ascend, without a trap.
    @Test func survivesMutatedFiles() throws {
        let seed = SeededRandom.seed()
        var random = SeededRandom(seed: seed)
        let originals = try ["Europe/Berlin", "Africa/Casablanca", "Asia/Kolkata", "Etc/UTC"].map {
            try ZoneFile.bytes($0)
        }
        let schedules = try ["*/5 * * * *", "30 2 * * sun", "0 0 $ * *"].map { try Schedule($0) }
        var accepted = 0
        for round in 0..<4_000 {
            var bytes = random.pick(originals)
            for _ in 0..<Int.random(in: 1...6, using: &random) { mutate(&bytes, using: &random) }
            guard let rules = try? TimeZoneRules(tzif: bytes) else { continue }
            accepted += 1
            let schedule = random.pick(schedules)
            var last = UTCInstant(microsecondsSinceEpoch: .random(in: .min...(.max), using: &random) / 40)
            for _ in 0..<3 {
                guard let next = schedule.next(after: last, in: rules) else { break }
                let previous = schedule.previous(atOrBefore: next, in: rules)
                if next <= last || previous != next {
                    try #require(
                        next > last && previous == next, "round \(round), \(schedule) after \(last), seed \(seed)")
                }
                last = next
            }
        }
        #expect(accepted > 200, "most mutations are refused before they could do harm, seed \(seed)")
    }

    private func mutate(_ bytes: inout [UInt8], using random: inout SeededRandom) {
        guard !bytes.isEmpty else { return }
        let index = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[index] = random.pick([0, 1, 0x7f, 0x80, 0xff])
        case 1: bytes[index] ^= 1 << UInt8.random(in: 0...7, using: &random)
        case 2: bytes.remove(at: index)
        case 3: bytes.insert(.random(in: 0...255, using: &random), at: index)
        case 4:
            bytes[bytes.count - 1 - index % min(40, bytes.count)] = random.pick(Array("0123456789,./-+<>MJ:\n".utf8))
        default: if random.chance(4) { bytes.removeSubrange(index...) }
        }
    }
}
