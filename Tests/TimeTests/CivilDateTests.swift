import Testing
import Time

@Suite struct CivilDateTests {
    /// The calendar repeats after 400 years, so 500 years cover all of it, leap centuries and others.
    @Test func countsDaysAsACalendarOnPaperDoes() throws {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        // 1600-01-01 was a Saturday.
        var (days, weekday) = (-135_140, 6)
        for year in 1600..<2100 {
            let isLeap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0
            for month in 1...12 {
                let length = month == 2 && isLeap ? 29 : lengths[month - 1]
                for day in 1...length {
                    let date = CivilDate(daysSinceEpoch: days)
                    let isRight =
                        date.year == year && date.month == month && date.day == day && date.weekday == weekday
                        && date.daysSinceEpoch == days
                    if !isRight { try #require(isRight, "\(year)-\(month)-\(day) is not \(date)") }
                    days += 1
                    weekday = (weekday + 1) % 7
                }
                #expect(CivilDate.daysInMonth(month, ofYear: year) == length)
            }
            #expect(CivilDate.isLeapYear(year) == isLeap)
        }
    }

    @Test func countsDaysFarFromTheEpochWithoutTrapping() {
        let seconds = Int(Int64.max / 86_400)
        for days in [seconds, -seconds, 146_097 * 1_000_000, -719_469, -719_468] {
            #expect(CivilDate(daysSinceEpoch: days).daysSinceEpoch == days)
        }
        #expect(CivilDate(daysSinceEpoch: -719_528).description == "0000-01-01")
        #expect(CivilDate(daysSinceEpoch: -719_529).description == "-0001-12-31")
    }

    @Test func refusesDaysThatTheCalendarDoesNotHave() {
        #expect(CivilDate(year: 2024, month: 2, day: 29) != nil)
        for (year, month, day) in [
            (2023, 2, 29), (1900, 2, 29), (2024, 2, 30), (2024, 4, 31), (2024, 0, 1), (2024, 13, 1), (2024, 1, 0),
            (2024, 1, 32),
        ] {
            #expect(CivilDate(year: year, month: month, day: day) == nil)
        }
    }

    @Test func ordersDaysByTime() throws {
        let days = try [(2023, 12, 31), (2024, 1, 1), (2024, 1, 2), (2024, 2, 1)].map {
            try #require(CivilDate(year: $0, month: $1, day: $2))
        }
        #expect(days.shuffled().sorted() == days)
    }
}
