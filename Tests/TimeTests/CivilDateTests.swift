import Testing
import Time

@Suite struct CivilDateTests {
    /// The calendar repeats after 400 years, so 500 years cover all of it, leap centuries and others.
    @Test func countsDaysAsACalendarOnPaperDoes() throws {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        var days = -135_140
        for year in 1600..<2100 {
            let isLeap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0
            for month in 1...12 {
                let length = month == 2 && isLeap ? 29 : lengths[month - 1]
                for day in 1...length {
                    let date = CivilDate(daysSinceEpoch: days)
                    let isRight =
                        date.year == year && date.month == month && date.day == day
                        && CivilDate.daysSinceEpoch(year: year, month: month, day: day) == days
                    if !isRight { try #require(isRight, "\(year)-\(month)-\(day) is not \(date)") }
                    days += 1
                }
                #expect(CivilDate.daysInMonth(month, ofYear: year) == length)
            }
        }
    }

    @Test func countsDaysFarFromTheEpochWithoutTrapping() {
        let seconds = Int(Int64.max / 86_400)
        for days in [seconds, -seconds, 146_097 * 1_000_000, -719_469, -719_468] {
            let date = CivilDate(daysSinceEpoch: days)
            #expect(CivilDate.daysSinceEpoch(year: date.year, month: date.month, day: date.day) == days)
        }
        #expect(CivilDate(daysSinceEpoch: -719_528).description == "0000-01-01")
        #expect(CivilDate(daysSinceEpoch: -719_529).description == "-0001-12-31")
    }
}
