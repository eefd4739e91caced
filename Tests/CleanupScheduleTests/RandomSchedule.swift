import SeededRandom
/// A random schedule: its text and its meaning, which is made together with the text and never parsed from it.
struct RandomSchedule {
    var text = ""
    /// True at the index of each number that matches: minutes 0 to 59, hours, days 1 to 31, months 1 to 12, weekdays 0 to 6.
    var minutes = [Bool](repeating: false, count: 60)
    var hours = [Bool](repeating: false, count: 24)
    var days = [Bool](repeating: false, count: 32)
    var months = [Bool](repeating: false, count: 13)
    var weekdays = [Bool](repeating: false, count: 8)
    var isLastDay = false
    var needsBothDays = false

    init(using random: inout SeededRandom) {
        let minute = Self.field(0...59, into: &minutes, using: &random)
        let hour = Self.field(0...23, into: &hours, using: &random)
        var day = ""
        if random.chance(6) {
            (day, isLastDay) = ("$", true)
        } else {
            day = Self.field(1...31, into: &days, using: &random)
        }
        let month = Self.field(1...12, names: Self.monthNames, into: &months, using: &random)
        let weekday = Self.field(0...7, names: Self.weekdayNames, into: &weekdays, using: &random)
        if weekdays[7] { weekdays[0] = true }
        needsBothDays = day.first == "*" || weekday.first == "*"
        text = Self.blanks(from: 0, using: &random)
        for field in [minute, hour, day, month, weekday] { text += field + Self.blanks(from: 1, using: &random) }
        if random.chance(2) { text = String(text.reversed().drop { $0 == " " || $0 == "\t" }.reversed()) }
    }

    func matches(_ day: PaperCalendar.Day) -> Bool {
        guard months[day.month] else { return false }
        let byNumber = days[day.day] || (isLastDay && day.isLastOfMonth)
        let byWeekday = weekdays[day.weekday]
        return needsBothDays ? byNumber && byWeekday : byNumber || byWeekday
    }

    private static let monthNames = [
        "", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ]
    private static let weekdayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

    private static func field(
        _ range: ClosedRange<Int>, names: [String] = [], into values: inout [Bool], using random: inout SeededRandom
    ) -> String {
        func value(_ number: Int) -> String {
            guard names.indices.contains(number), random.chance(2) else {
                return random.chance(8) ? "0\(number)" : "\(number)"
            }
            return String(names[number].map { random.chance(2) ? Character($0.uppercased()) : $0 })
        }
        if random.chance(3) {
            for number in range { values[number] = true }
            return "*"
        }
        var items: [String] = []
        repeat {
            let start = Int.random(in: range, using: &random)
            let end = Int.random(in: start...range.upperBound, using: &random)
            let step = Int.random(in: 1...(random.chance(5) ? 70 : 12), using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                for number in range where (number - range.lowerBound) % step == 0 { values[number] = true }
                items.append("*/\(step)")
            case 1:
                for number in start...end { values[number] = true }
                items.append("\(value(start))-\(value(end))")
            case 2:
                for number in start...end where (number - start) % step == 0 { values[number] = true }
                items.append("\(value(start))-\(value(end))/\(step)")
            default:
                values[start] = true
                items.append(value(start))
            }
        } while random.chance(3)
        return items.joined(separator: ",")
    }

    private static func blanks(from least: Int, using random: inout SeededRandom) -> String {
        let count = random.chance(6) ? Int.random(in: least...3, using: &random) : least
        return String((0..<count).map { _ in random.chance(4) ? "\t" : " " })
    }
}

/// A calendar that is counted day by day, without a formula.
struct PaperCalendar {
    struct Day {
        var year, month, day, weekday: Int
        var isLastOfMonth: Bool
    }

    /// 1968-01-01 to 2160-12-31.
    static let days = PaperCalendar.write(years: 1968...2160, firstWeekday: 1)
    /// All of the calendar: 400 years, from a Saturday on.
    static let cycle = PaperCalendar.write(years: 2000...2399, firstWeekday: 6)

    private static let firstDay = -731

    /// Returns the day with this number; day 0 is 1970-01-01.
    static func day(_ daysSinceEpoch: Int) -> Day { days[daysSinceEpoch - firstDay] }

    private static func write(years: ClosedRange<Int>, firstWeekday: Int) -> [Day] {
        var days: [Day] = []
        var weekday = firstWeekday
        for year in years {
            let isLeap = year % 400 == 0 || (year % 4 == 0 && year % 100 != 0)
            for (index, length) in [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].enumerated() {
                for day in 1...length {
                    days.append(
                        Day(year: year, month: index + 1, day: day, weekday: weekday, isLastOfMonth: day == length))
                    weekday = (weekday + 1) % 7
                }
            }
        }
        return days
    }
}
