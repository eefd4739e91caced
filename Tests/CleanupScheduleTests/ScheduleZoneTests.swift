import CleanupSchedule
import Testing
import Time

/// Clock changes of real zones, with dates from tzdata.
@Suite struct ScheduleZoneTests {
    private func fireTimes(
        _ expression: String, in zone: String, from start: String, until end: String
    ) throws -> [String] {
        let (schedule, rules) = (try Schedule(expression), try ZoneFile.rules(zone))
        var (times, last) = ([String](), instant(start))
        // No test here needs more; without the limit a search that does not advance would never end.
        while times.count < 20, let next = schedule.next(after: last, in: rules), next < instant(end) {
            times.append(next.description)
            last = next
        }
        return times
    }

    @Test func firesAtTheLocalTimeInSummerAndWinter() throws {
        #expect(
            try fireTimes(
                "30 4 1 1,7 *", in: "Europe/Berlin", from: "2026-01-01T00:00:00Z", until: "2027-01-01T00:00:00Z")
                == ["2026-01-01T03:30:00Z", "2026-07-01T02:30:00Z"])
    }

    @Test func firesOnceAtTheChangeWhenAClockChangeSkipsTheLocalTime() throws {
        // 2026-03-29, 02:00 becomes 03:00 at 01:00Z.
        for minute in ["0 2", "1 2", "30 2", "59 2", "0 3"] {
            #expect(
                try fireTimes(
                    "\(minute) 29 3 *", in: "Europe/Berlin", from: "2026-01-01T00:00:00Z", until: "2027-01-01T00:00:00Z"
                )
                    == ["2026-03-29T01:00:00Z"])
        }
    }

    @Test func firesOnceForAllLocalTimesThatOneChangeSkips() throws {
        #expect(
            try fireTimes(
                "*/20 * * * *", in: "Europe/Berlin", from: "2026-03-29T00:30:00Z", until: "2026-03-29T01:30:00Z")
                == ["2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"])
        #expect(
            try fireTimes(
                "15,45 2 * * *", in: "Europe/Berlin", from: "2026-03-28T12:00:00Z", until: "2026-03-30T12:00:00Z")
                == ["2026-03-29T01:00:00Z", "2026-03-30T00:15:00Z", "2026-03-30T00:45:00Z"])
    }

    @Test func firesTheFirstTimeOnlyWhenALocalTimeHappensTwice() throws {
        // 2026-10-25, 03:00 becomes 02:00 at 01:00Z.
        #expect(
            try fireTimes(
                "30 2 * * *", in: "Europe/Berlin", from: "2026-10-24T12:00:00Z", until: "2026-10-26T12:00:00Z")
                == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"])
        #expect(
            try fireTimes(
                "0 2,3 * * *", in: "Europe/Berlin", from: "2026-10-24T12:00:00Z", until: "2026-10-25T12:00:00Z")
                == ["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"])
    }

    @Test func pausesAFrequentScheduleWhileAnHourRepeats() throws {
        #expect(
            try fireTimes(
                "*/20 * * * *", in: "Europe/Berlin", from: "2026-10-25T00:30:00Z", until: "2026-10-25T02:30:00Z")
                == ["2026-10-25T00:40:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:20:00Z"])
        let berlin = try ZoneFile.rules("Europe/Berlin")
        let schedule = try Schedule("*/20 * * * *")
        #expect(
            schedule.previous(atOrBefore: instant("2026-10-25T01:59:59Z"), in: berlin)
                == instant("2026-10-25T00:40:00Z"))
        #expect(schedule.interval(at: instant("2026-10-25T00:30:00Z"), in: berlin) == .seconds(80 * 60))
    }

    @Test func goesForwardFromWithinARepeatedHour() throws {
        let berlin = try ZoneFile.rules("Europe/Berlin")
        let schedule = try Schedule("*/20 * * * *")
        // The second 02:10: 02:20 fired in the first pass through the hour.
        let repeated = instant("2026-10-25T01:10:00Z")
        #expect(schedule.next(after: repeated, in: berlin) == instant("2026-10-25T02:00:00Z"))
        #expect(schedule.previous(atOrBefore: repeated, in: berlin) == instant("2026-10-25T00:40:00Z"))
    }

    @Test func remembersWhatWasShownBeforeSeveralChangesInARow() throws {
        // At UTC+3 until local 03:00 of 1970-01-01, then at UTC, and an hour later at UTC+1.
        let transitions: [(start: Int64, type: UInt8)] = [(0, 1), (3600, 2)]
        let rules = try TimeZoneRules(tzif: ZoneFile.make(offsets: [10_800, 0, 3600], transitions: transitions))
        let schedule = try Schedule("*/30 * * * *")
        for seconds: Int64 in [-1800, -1, 0, 3599, 3600, 4000, 7199] {
            let start = UTCInstant(secondsSinceEpoch: seconds)
            #expect(schedule.next(after: start, in: rules) == UTCInstant(secondsSinceEpoch: 7200))
            #expect(schedule.previous(atOrBefore: start, in: rules) == UTCInstant(secondsSinceEpoch: -1800))
        }
    }

    @Test func ignoresDaylightSavingTimeThatLastsNoTime() throws {
        let rules = try ZoneFile.rules(footer: "AAA0BBB,J100/0,J100/1")
        let schedule = try Schedule("*/30 * * * *")
        var last = instant("2026-04-09T23:00:00Z")
        for expected in [
            "2026-04-09T23:30:00Z", "2026-04-10T00:00:00Z", "2026-04-10T00:30:00Z", "2026-04-10T01:00:00Z",
        ] {
            last = try #require(schedule.next(after: last, in: rules))
            #expect(last == instant(expected))
        }
    }

    @Test func halvesAnHourOnLordHowe() throws {
        // 2026-04-05, 02:00 becomes 01:30 at 2026-04-04T15:00Z; 2026-10-04, 02:00 becomes 02:30 at 2026-10-03T15:30Z.
        #expect(
            try fireTimes(
                "*/15 1-2 5 4 *", in: "Australia/Lord_Howe", from: "2026-04-01T00:00:00Z", until: "2026-04-10T00:00:00Z"
            )
                == [
                    "2026-04-04T14:00:00Z", "2026-04-04T14:15:00Z", "2026-04-04T14:30:00Z", "2026-04-04T14:45:00Z",
                    "2026-04-04T15:30:00Z", "2026-04-04T15:45:00Z", "2026-04-04T16:00:00Z", "2026-04-04T16:15:00Z",
                ])
        #expect(
            try fireTimes(
                "0,15,30,45 2 4 10 *", in: "Australia/Lord_Howe", from: "2026-10-01T00:00:00Z",
                until: "2026-10-10T00:00:00Z")
                == ["2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"])
    }

    @Test func firesAtOneInTheMorningWhenSaoPauloHadNoMidnight() throws {
        // 2018-11-04, 00:00 became 01:00 at 03:00Z; 2018-02-18, 00:00 became 2018-02-17 23:00 at 02:00Z.
        #expect(
            try fireTimes(
                "@daily", in: "America/Sao_Paulo", from: "2018-11-03T00:00:00Z", until: "2018-11-05T12:00:00Z")
                == ["2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"])
        #expect(
            try fireTimes(
                "30 23 17 2 *", in: "America/Sao_Paulo", from: "2018-01-01T00:00:00Z", until: "2018-03-01T00:00:00Z")
                == ["2018-02-18T01:30:00Z"])
        #expect(
            try fireTimes(
                "0 0 18 2 *", in: "America/Sao_Paulo", from: "2018-01-01T00:00:00Z", until: "2018-03-01T00:00:00Z")
                == ["2018-02-18T03:00:00Z"])
    }

    @Test func firesOnceForTheDayThatSamoaLeftOut() throws {
        // Apia had no 2011-12-30: the 31st followed the 29th at 10:00Z.
        #expect(
            try fireTimes(
                "0 */6 * * *", in: "Pacific/Apia", from: "2011-12-30T00:00:00Z", until: "2011-12-30T20:00:00Z")
                == ["2011-12-30T04:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T16:00:00Z"])
        #expect(
            try fireTimes(
                "0 12 30 12 *", in: "Pacific/Apia", from: "2011-12-01T00:00:00Z", until: "2012-02-01T00:00:00Z")
                == ["2011-12-30T10:00:00Z"])
    }

    @Test func obeysWinterTimeThatIsTheExceptionInDublinAndCasablanca() throws {
        #expect(
            try fireTimes(
                "30 1 * 3,10 sun", in: "Europe/Dublin", from: "2050-03-26T00:00:00Z", until: "2050-03-28T00:00:00Z")
                == ["2050-03-27T01:00:00Z"])
        #expect(
            try fireTimes(
                "30 1 30 10 *", in: "Europe/Dublin", from: "2050-10-01T00:00:00Z", until: "2050-11-10T00:00:00Z")
                == ["2050-10-30T00:30:00Z"])
        // Ramadan: 2026-02-15, 03:00 became 02:00 at 02:00Z; 2026-03-22, 02:00 became 03:00 at 02:00Z.
        #expect(
            try fireTimes(
                "30 2 15 2 *", in: "Africa/Casablanca", from: "2026-02-01T00:00:00Z", until: "2026-03-01T00:00:00Z")
                == ["2026-02-15T01:30:00Z"])
        #expect(
            try fireTimes(
                "30 2 22 3 *", in: "Africa/Casablanca", from: "2026-03-01T00:00:00Z", until: "2026-04-01T00:00:00Z")
                == ["2026-03-22T02:00:00Z"])
    }

    @Test func knowsZonesWithoutClockChanges() throws {
        #expect(
            try fireTimes("0 0 1 * *", in: "Asia/Kolkata", from: "2099-01-15T00:00:00Z", until: "2099-03-15T00:00:00Z")
                == ["2099-01-31T18:30:00Z", "2099-02-28T18:30:00Z"])
        #expect(
            try fireTimes("0 0 1 1 *", in: "Etc/GMT+5", from: "2026-01-01T00:00:00Z", until: "2027-01-01T00:00:00Z")
                == ["2026-01-01T05:00:00Z"])
    }

    @Test func takesNoZoneForUTC() throws {
        let schedule = try Schedule("17 4 * * *")
        #expect(
            schedule.next(after: UTCInstant(secondsSinceEpoch: 0))
                == schedule.next(after: UTCInstant(secondsSinceEpoch: 0), in: .utc))
        #expect(
            schedule.previous(atOrBefore: UTCInstant(secondsSinceEpoch: 0))
                == schedule.previous(atOrBefore: UTCInstant(secondsSinceEpoch: 0), in: .utc))
        let utcFile = try ZoneFile.rules("Etc/UTC")
        #expect(
            schedule.next(after: UTCInstant(secondsSinceEpoch: 0), in: utcFile)
                == schedule.next(after: UTCInstant(secondsSinceEpoch: 0)))
    }
}
