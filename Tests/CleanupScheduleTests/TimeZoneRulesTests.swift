import CleanupSchedule
import Foundation
import Testing
import Time

@Suite struct TimeZoneRulesTests {
    private func offset(_ rules: TimeZoneRules, _ text: String) -> Duration { rules.offset(at: instant(text)) }

    @Test func changesAtTheSecondOfATransition() throws {
        let berlin = try ZoneFile.rules("Europe/Berlin")
        #expect(offset(berlin, "2026-03-29T00:59:59.999999Z") == .seconds(3600))
        #expect(offset(berlin, "2026-03-29T01:00:00Z") == .seconds(7200))
        #expect(offset(berlin, "2026-10-25T00:59:59.999999Z") == .seconds(7200))
        #expect(offset(berlin, "2026-10-25T01:00:00Z") == .seconds(3600))
        // Local mean time, from before the first transition.
        #expect(offset(berlin, "1850-01-01T00:00:00Z") == .seconds(3208))
    }

    /// Rules for years that no file lists; the dates are computed by hand from the laws in force.
    @Test(arguments: [
        ("Europe/Berlin", "2050-03-27T01:00:00Z", 3600, 7200), ("Europe/Berlin", "2050-10-30T01:00:00Z", 7200, 3600),
        ("Europe/Berlin", "2099-03-29T01:00:00Z", 3600, 7200), ("Europe/Berlin", "2099-10-25T01:00:00Z", 7200, 3600),
        ("America/New_York", "2050-03-13T07:00:00Z", -18_000, -14_400),
        ("America/New_York", "2099-03-08T07:00:00Z", -18_000, -14_400),
        ("America/New_York", "2099-11-01T06:00:00Z", -14_400, -18_000),
        ("Australia/Lord_Howe", "2050-10-01T15:30:00Z", 37_800, 39_600),
        ("Australia/Lord_Howe", "2099-04-04T15:00:00Z", 39_600, 37_800),
        ("Europe/Dublin", "2099-03-29T01:00:00Z", 0, 3600), ("Europe/Dublin", "2099-10-25T01:00:00Z", 3600, 0),
        ("Europe/Berlin", "9998-03-29T01:00:00Z", 3600, 7200),
    ])
    func followsTheFooterAfterTheLastTransition(zone: String, change: String, before: Int, after: Int) throws {
        let rules = try ZoneFile.rules(zone)
        #expect(rules.offset(at: instant(change) - .microseconds(1)) == .seconds(before))
        #expect(rules.offset(at: instant(change)) == .seconds(after))
    }

    /// A footer alone gives the same offsets as the transitions of a file that lists the same years.
    @Test(arguments: [
        ("Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"), ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
        ("Australia/Lord_Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"),
        ("Europe/Dublin", "IST-1GMT0,M10.5.0,M3.5.0/1"),
        ("Australia/Sydney", "AEST-10AEDT,M10.1.0,M4.1.0/3"), ("Asia/Kolkata", "IST-5:30"),
        ("Pacific/Chatham", "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45"),
    ])
    func readsFootersAsTransitionsAreListed(zone: String, footer: String) throws {
        let (listed, ruled) = (try ZoneFile.rules(zone), try ZoneFile.rules(footer: footer))
        var second = instant("2010-01-01T00:00:00Z")
        while second < instant("2037-01-01T00:00:00Z") {
            if listed.offset(at: second) != ruled.offset(at: second) {
                try #require(listed.offset(at: second) == ruled.offset(at: second), "\(second)")
            }
            second += .seconds(6 * 3600 + 1800)
        }
    }

    @Test(arguments: [
        // J60 is always 1 March, 59 counts the leap day.
        ("AAA0BBB,J60/0,J300/0", "2024-03-01T00:00:00Z", 0, 3600),
        ("AAA0BBB,J60/0,J300/0", "2023-03-01T00:00:00Z", 0, 3600),
        ("AAA0BBB,J59/0,J300/0", "2024-02-28T00:00:00Z", 0, 3600),
        ("AAA0BBB,J1/0,J365/0", "2024-12-30T23:00:00Z", 3600, 0),
        ("AAA0BBB,59/0,300/0", "2024-02-29T00:00:00Z", 0, 3600),
        ("AAA0BBB,59/0,300/0", "2023-03-01T00:00:00Z", 0, 3600),
        ("AAA0BBB,0/0,100", "2024-01-01T00:00:00Z", 0, 3600), ("AAA0BBB,100,365/0", "2023-12-31T23:00:00Z", 3600, 0),
        // Transition times before the day, and days after it.
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z", -7200, -3600),
        ("EET-2EEST,M3.4.4/50,M10.4.4/50", "2026-03-28T00:00:00Z", 7200, 10_800),
        ("AAA0BBB,M1.1.0/-167,M7.1.0/167", "2025-12-28T01:00:00Z", 0, 3600),
        ("AAA0BBB,M2.1.0/0,M12.5.0/167:59:59", "2026-01-03T22:59:59Z", 3600, 0),
        // Offsets and times with seconds, and in all notations.
        ("AAA-0:30:15BBB-01:30:15,M3.5.0/+02:00:01,M10.5.0", "2026-03-29T01:29:46Z", 1815, 5415),
        ("ABCDEF+24<Q-7+>-24,J100/0,J200/0", "2026-04-11T00:00:00Z", -86_400, 86_400),
    ])
    func understandsEveryKindOfFooter(footer: String, change: String, before: Int, after: Int) throws {
        let rules = try ZoneFile.rules(footer: footer)
        #expect(rules.offset(at: instant(change) - .microseconds(1)) == .seconds(before))
        #expect(rules.offset(at: instant(change)) == .seconds(after))
    }

    /// Daylight saving time all year round, as RFC 9636, section 3.3.1 writes it.
    @Test func keepsDaylightSavingTimeAllYearRound() throws {
        let rules = try ZoneFile.rules(footer: "EST5EDT,0/0,J365/25")
        for text in ["2025-12-31T23:59:59Z", "2026-01-01T04:00:00Z", "2026-01-01T05:00:00Z", "2026-07-01T00:00:00Z"] {
            #expect(offset(rules, text) == .seconds(-14_400))
        }
        // No clock is set back, so no hour is repeated.
        let hourly = try Schedule("0 * * * *")
        #expect(hourly.next(after: instant("2026-01-01T03:30:00Z"), in: rules) == instant("2026-01-01T04:00:00Z"))
        #expect(hourly.next(after: instant("2026-01-01T04:00:00Z"), in: rules) == instant("2026-01-01T05:00:00Z"))
        #expect(hourly.next(after: instant("2026-01-01T05:00:00Z"), in: rules) == instant("2026-01-01T06:00:00Z"))
    }

    @Test func keepsTheLastOffsetWithoutAFooter() throws {
        let transitions: [(start: Int64, type: UInt8)] = [(0, 1), (1_000_000, 2)]
        let rules = try TimeZoneRules(tzif: ZoneFile.make(offsets: [60, 120, 180], transitions: transitions))
        #expect(rules.offset(at: UTCInstant(secondsSinceEpoch: -1)) == .seconds(60))
        #expect(rules.offset(at: UTCInstant(secondsSinceEpoch: 0)) == .seconds(120))
        #expect(rules.offset(at: UTCInstant(secondsSinceEpoch: 1_000_000)) == .seconds(180))
        #expect(rules.offset(at: .latestNameable) == .seconds(180))
    }

    /// Both changes of a year are in the first days of the next: on 1 January only those of the year before last have passed.
    @Test func looksBackTwoYearsForTheLastChange() throws {
        let inSummer = instant("2020-01-04T00:00:00Z").wholeSecondsSinceEpoch
        let bytes = ZoneFile.make(
            offsets: [0, 3600], transitions: [(inSummer, 1)], footer: "AAA0BBB,J360/167,J365/167")
        let rules = try TimeZoneRules(tzif: bytes)
        for year in 2021...2030 {
            #expect(offset(rules, "\(year)-01-01T00:00:00Z") == .zero)
            #expect(offset(rules, "\(year)-01-01T23:00:00Z") == .seconds(3600))
            #expect(offset(rules, "\(year)-01-06T22:00:00Z") == .zero)
        }
    }

    @Test func readsTheTimesOfAVersion1File() throws {
        // The part before the second header of a version 2 file is a version 1 file.
        var bytes = try ZoneFile.bytes("Europe/Berlin")
        let second = try #require((4..<bytes.count - 4).first { Array(bytes[$0..<$0 + 4]) == Array("TZif".utf8) })
        bytes = Array(bytes[..<second])
        bytes[4] = 0
        let rules = try TimeZoneRules(tzif: bytes)
        if bytes.count > 100 {
            // Debian's files are "fat": their first block is complete until 2037.
            #expect(offset(rules, "2026-07-01T00:00:00Z") == .seconds(7200))
            #expect(offset(rules, "2026-12-01T00:00:00Z") == .seconds(3600))
        }
    }

    @Test func readsLaterVersionsOfTheFormat() throws {
        for version: Character in ["2", "3", "4", "5"] {
            let bytes = ZoneFile.make(offsets: [0], footer: "AAA-1", version: version)
            #expect(try TimeZoneRules(tzif: bytes).offset(at: UTCInstant(secondsSinceEpoch: 0)) == .seconds(3600))
        }
    }

    /// `zdump`, which comes with the C library, lists both sides of each transition with the offset.
    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/zdump")))
    func agreesWithTheCLibraryAroundEveryTransitionFrom1970To2100() throws {
        let (process, pipe) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: "/usr/bin/zdump")
        process.arguments = ["-v", "-c", "1970,2101"] + ZoneFile.interesting
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        var zones: [String: TimeZoneRules] = [:]
        for name in ZoneFile.interesting { zones[name] = try ZoneFile.rules(name) }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        var compared = 0
        for line in String(decoding: output, as: UTF8.self).split(separator: "\n") {
            // "Europe/Berlin  Sun Mar 29 00:59:59 2026 UT = Sun Mar 29 01:59:59 2026 CET isdst=0 gmtoff=3600"
            let words = line.split(separator: " ")
            guard words.count == 16, let month = months.firstIndex(of: String(words[2])) else { continue }
            let (monthNumber, day) = ("0\(month + 1)".suffix(2), "0\(words[3])".suffix(2))
            guard let second = UTCInstant(rfc3339: "\(words[5])-\(monthNumber)-\(day)T\(words[4])Z") else { continue }
            let rules = try #require(zones[String(words[0])])
            let expected = Duration.seconds(try #require(Int(words[15].dropFirst("gmtoff=".count))))
            let found = rules.offset(at: second)
            if found != expected { try #require(found == expected, "\(line)") }
            compared += 1
        }
        // Two lines for each of two changes a year, in a dozen zones and more.
        #expect(compared > 5_000)
    }

    @Test func acceptsTheNamesOfZones() {
        for name in [
            "UTC", "Europe/Berlin", "Etc/GMT+5", "Etc/GMT-14", "America/Port-au-Prince", "EST5EDT", "GB-Eire",
            "America/Argentina/ComodRivadavia", "America/North_Dakota/New_Salem", "posix/Asia/Tokyo",
        ] {
            #expect(TimeZoneRules.isValidName(name), "\(name)")
        }
    }

    @Test func refusesNamesThatCouldReadElsewhere() {
        for name in [
            "", "/", "/etc/passwd", "../etc/passwd", "Europe/../../etc/passwd", "Europe/..", ".", "..", "Europe/.",
            "Europe//Berlin", "Europe/", "Europe/Berlin\0", "Europe/Berlin ", " UTC", "Europe\\Berlin", "-UTC", "+03",
            "Eur\u{f6}pe/Berlin", "Europe/B\u{435}rlin", "Europe/.Berlin", "zone.tab", "~/zone", "UTC\n", "%2e%2e/x",
            String(repeating: "A", count: 65),
        ] {
            #expect(!TimeZoneRules.isValidName(name), "\(name)")
        }
    }

    @Test func acceptsTheNameOfEveryZoneOfTheSystem() throws {
        let table = try #require(FileManager.default.contents(atPath: "/usr/share/zoneinfo/tzdata.zi"))
        // Lines "Z name ..." are zones, "L target name" links.
        let names = String(decoding: table, as: UTF8.self).split(separator: "\n").compactMap { line -> Substring? in
            let words = line.split(separator: " ")
            return words[0] == "Z" ? words[1] : words[0] == "L" ? words[2] : nil
        }
        #expect(names.count > 500)
        for name in names { #expect(TimeZoneRules.isValidName(String(name)), "\(name)") }
    }
}
