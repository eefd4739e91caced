import CleanupSchedule
import Testing
import Time

@Suite struct ScheduleFireTimeTests {
    private func fireTimes(
        _ expression: String, after start: String, in zone: TimeZoneRules? = nil, count: Int = 3
    ) throws -> [String] {
        let schedule = try Schedule(expression)
        var (times, last) = ([String](), instant(start))
        for _ in 0..<count {
            guard let next = schedule.next(after: last, in: zone) else { break }
            times.append(next.description)
            last = next
        }
        return times
    }

    @Test func firesTheBuiltInJobsWhenTheContractSays() throws {
        #expect(
            try fireTimes("*/5 * * * *", after: "2026-05-13T23:52:30Z")
                == ["2026-05-13T23:55:00Z", "2026-05-14T00:00:00Z", "2026-05-14T00:05:00Z"])
        #expect(
            try fireTimes("0 0 * * *", after: "2026-12-30T12:00:00Z")
                == ["2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"])
    }

    @Test func isStrictlyAfterForNextAndAtOrBeforeForPrevious() throws {
        let schedule = try Schedule("*/5 * * * *")
        let fireTime = instant("2026-05-13T12:05:00Z")
        #expect(schedule.next(after: fireTime) == instant("2026-05-13T12:10:00Z"))
        #expect(schedule.next(after: fireTime - .microseconds(1)) == fireTime)
        #expect(schedule.next(after: fireTime + .microseconds(1)) == instant("2026-05-13T12:10:00Z"))
        #expect(schedule.previous(atOrBefore: fireTime) == fireTime)
        #expect(schedule.previous(atOrBefore: fireTime + .microseconds(1)) == fireTime)
        #expect(schedule.previous(atOrBefore: fireTime - .microseconds(1)) == instant("2026-05-13T12:00:00Z"))
    }

    @Test(arguments: [
        ("30 seconds", ["1969-12-31T23:59:30Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:30Z"]),
        ("7 seconds", ["1969-12-31T23:59:18Z", "1969-12-31T23:59:25Z", "1969-12-31T23:59:32Z"]),
        ("59 seconds", ["1970-01-01T00:00:00Z", "1970-01-01T00:00:59Z", "1970-01-01T00:01:58Z"]),
    ])
    func firesAtWholeMultiplesOfSecondsSinceTheEpoch(expression: String, expected: [String]) throws {
        let start = expression == "59 seconds" ? "1969-12-31T23:59:01Z" : "1969-12-31T23:59:11.5Z"
        #expect(try fireTimes(expression, after: start) == expected)
        let berlin = try ZoneFile.rules("Europe/Berlin")
        #expect(try fireTimes(expression, after: start, in: berlin) == expected)
    }

    /// Each expression on the left names the same fire times as the one on the right.
    @Test(arguments: [
        ("@yearly", "0 0 1 1 *"), ("@annually", "0 0 1 1 *"), ("@monthly", "0 0 1 * *"), ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@hourly", "0 * * * *"), ("  @Daily\t", "0 0 * * *"),
        ("\t 5  4\t* *  * ", "5 4 * * *"), ("05 004 * * *", "5 4 * * *"), ("*/5 * * * *", "0-59/5 * * * *"),
        ("10-40/10 * * * *", "10,20,30,40 * * * *"), ("10-45/10 * * * *", "10,20,30,40 * * * *"),
        ("5-5 * * * *", "5 * * * *"), ("5-5/3 * * * *", "5 * * * *"), ("1,1,1-2 * * * *", "1,2 * * * *"),
        ("*/1 * * * *", "* * * * *"), ("*/90 * * * *", "0 * * * *"), ("5-59/90 * * * *", "5 * * * *"),
        ("*,5 * * * *", "* * * * *"), ("0 0 1 jan,DEC *", "0 0 1 1,12 *"), ("0 0 1 Mar-mAy *", "0 0 1 3-5 *"),
        ("0 0 1 jan-12/2 *", "0 0 1 1,3,5,7,9,11 *"), ("0 0 * * SUN", "0 0 * * 0"), ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * mon-fri", "0 0 * * 1-5"), ("0 0 * * fri-7", "0 0 * * 0,5,6"), ("0 0 * * 0-7", "0 0 * * *"),
        ("0 0 * * 1-7/2", "0 0 * * 0,1,3,5"), ("0 0 * * */2", "0 0 * * 0,2,4,6"), ("0 0 * * */7", "0 0 * * 0"),
        ("0 0 * * */3", "0 0 * * 0,3,6"), ("0 0 31 * */100", "0 0 31 * */7"), ("1 second", "1 seconds"),
        (" 30 sEcOnDs ", "30 seconds"), ("17\t seconds", "17 seconds"), ("30seconds", "30 seconds"),
        ("0 0 $ 1,3,5,7,8,10,12 *", "0 0 31 1,3,5,7,8,10,12 *"), ("0 0 $ 4 *", "0 0 30 4 *"),
    ])
    func readsSynonymsAlike(left: String, right: String) throws {
        #expect(
            try fireTimes(left, after: "2023-12-30T23:58:00Z", count: 40)
                == fireTimes(right, after: "2023-12-30T23:58:00Z", count: 40))
    }

    @Test func firesOnTheLastDayOfEachMonth() throws {
        #expect(
            try fireTimes("0 6 $ * *", after: "2024-01-31T06:00:00Z", count: 4)
                == ["2024-02-29T06:00:00Z", "2024-03-31T06:00:00Z", "2024-04-30T06:00:00Z", "2024-05-31T06:00:00Z"])
        #expect(try fireTimes("0 6 $ 2 *", after: "2025-01-01T00:00:00Z", count: 1) == ["2025-02-28T06:00:00Z"])
        #expect(try fireTimes("0 6 $ 2 *", after: "2100-01-01T00:00:00Z", count: 1) == ["2100-02-28T06:00:00Z"])
    }

    /// May 2026 begins on a Friday.
    @Test func firesWhenEitherDayMatchesIfBothAreRestricted() throws {
        let start = "2026-05-01T00:00:00Z"
        #expect(
            try fireTimes("0 0 10,20 * mon", after: start, count: 5).map { $0.dropLast(10).suffix(2) }
                == ["04", "10", "11", "18", "20"])
        #expect(
            try fireTimes("0 0 $ * sat", after: start, count: 6).map { $0.dropLast(10).suffix(2) }
                == ["02", "09", "16", "23", "30", "31"])
        #expect(
            try fireTimes("0 0 1-31 * mon", after: start, count: 3).map { $0.dropLast(10).suffix(2) }
                == ["02", "03", "04"])
    }

    @Test func firesWhenBothDaysMatchIfOneBeginsWithAStar() throws {
        let start = "2026-05-01T00:00:00Z"
        #expect(
            try fireTimes("0 0 */2 * mon", after: start, count: 2).map { $0.dropLast(10).suffix(2) } == ["11", "25"])
        #expect(
            try fireTimes("0 0 9-15 * */6", after: start, count: 2).map { $0.dropLast(10).suffix(2) } == ["09", "10"])
        #expect(
            try fireTimes("0 0 *,9 * mon", after: start, count: 2).map { $0.dropLast(10).suffix(2) } == ["04", "11"])
        #expect(
            try fireTimes("0 0 $ * */7", after: start, count: 1) == ["2026-05-31T00:00:00Z"])
    }

    @Test func waitsFortyYearsForASundayOnALeapDay() throws {
        #expect(
            try fireTimes("0 0 29 2 */7", after: "2061-01-01T00:00:00Z", count: 3)
                == ["2088-02-29T00:00:00Z", "2128-02-29T00:00:00Z", "2156-02-29T00:00:00Z"])
    }

    @Test func measuresTheIntervalAtATimeOfTheYear() throws {
        #expect(try Schedule("*/5 * * * *").interval(at: UTCInstant(secondsSinceEpoch: 0)) == .seconds(300))
        #expect(try Schedule("@daily").interval(at: UTCInstant(secondsSinceEpoch: 0)) == .seconds(86_400))
        #expect(try Schedule("45 seconds").interval(at: UTCInstant(secondsSinceEpoch: 0)) == .seconds(45))
        let monthly = try Schedule("@monthly")
        #expect(monthly.interval(at: instant("2026-01-15T00:00:00Z")) == .seconds(28 * 86_400))
        #expect(monthly.interval(at: instant("2026-02-01T00:00:00Z")) == .seconds(31 * 86_400))
        let berlin = try ZoneFile.rules("Europe/Berlin")
        #expect(try Schedule("@daily").interval(at: instant("2026-03-28T12:00:00Z"), in: berlin) == .seconds(82_800))
    }

    @Test func endsWhereTimeCanNoLongerBeNamed() throws {
        let daily = try Schedule("@daily")
        #expect(daily.next(after: instant("9999-12-30T12:00:00Z")) == instant("9999-12-31T00:00:00Z"))
        #expect(daily.next(after: instant("9999-12-31T00:00:00Z")) == nil)
        #expect(daily.interval(at: instant("9999-12-30T12:00:00Z")) == nil)
        #expect(daily.previous(atOrBefore: instant("0001-01-01T00:00:00Z")) == instant("0001-01-01T00:00:00Z"))
        #expect(daily.next(after: UTCInstant(microsecondsSinceEpoch: .min)) == .earliestNameable)
        #expect(daily.next(after: .earliestNameable) == instant("0001-01-02T00:00:00Z"))
        #expect(try Schedule("1 0 * * *").previous(atOrBefore: instant("0001-01-01T00:00:00Z")) == nil)
        let berlin = try ZoneFile.rules("Europe/Berlin")
        for expression in ["* * * * *", "1 seconds", "0 0 29 2 */7", "@daily"] {
            let schedule = try Schedule(expression)
            for zone in [nil, berlin] {
                for extreme in [UTCInstant(microsecondsSinceEpoch: .min), .earliestNameable - .seconds(1)] {
                    #expect(schedule.previous(atOrBefore: extreme, in: zone) == nil)
                    #expect(try #require(schedule.next(after: extreme, in: zone)) >= .earliestNameable)
                }
                for extreme in [UTCInstant(microsecondsSinceEpoch: .max), .latestNameable] {
                    #expect(schedule.next(after: extreme, in: zone) == nil)
                    #expect(try #require(schedule.previous(atOrBefore: extreme, in: zone)) <= .latestNameable)
                }
            }
        }
    }
}
