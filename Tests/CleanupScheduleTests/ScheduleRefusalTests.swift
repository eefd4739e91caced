import CleanupSchedule
import SeededRandom
import Testing
import Time

/// Faulty schedules are refused, with the caret under the faulty character.
@Suite struct ScheduleRefusalTests {
    struct Refusal: Sendable, CustomTestStringConvertible {
        var expression: String
        var offset: Int
        /// The text at the offset, which the error has in quotes; "" stands for the end.
        var found: String
        /// The end of the error's text about what should stand there.
        var expected: String
        var testDescription: String { expression }

        init(_ expression: String, _ offset: Int, _ found: String, _ expected: String) {
            (self.expression, self.offset, self.found, self.expected) = (expression, offset, found, expected)
        }

        /// Characters outside ASCII appear by number.
        var foundInWords: String {
            if expression.allSatisfy({ " \t".contains($0) }) { return "nothing" }
            if found.isEmpty { return "the end" }
            if found.hasPrefix("day ") { return found }
            return "'"
                + found.map { character in
                    character.isASCII && !character.unicodeScalars.contains { $0.value < 32 }
                        ? String(character)
                        : character.unicodeScalars.map { "U+" + String($0.value, radix: 16, uppercase: true) }
                            .joined(separator: " ")
                }.joined() + "'"
        }
    }

    static let fieldRefusals: [Refusal] = [
        .init("", 0, "", "five fields, N seconds, or a nickname such as @daily"),
        .init(" \t ", 0, "", "five fields, N seconds, or a nickname such as @daily"),
        .init("*", 1, "", "the hour (a schedule has five fields)"),
        .init("5 ", 2, "", "the hour (a schedule has five fields)"),
        .init("* * * *", 7, "", "the day of week (a schedule has five fields)"),
        .init("* * * *  ", 9, "", "the day of week (a schedule has five fields)"),
        .init("* * * * * *", 10, "*", "the end after five fields"),
        .init("*/5 * * * * command", 12, "command", "the end after five fields"),
        .init("* * * * *\n", 9, "\n", "inside the day of week"),
        .init("*\u{a0}* * * *", 1, "\u{a0}", "inside the minute"),
        .init("60 * * * *", 0, "60", "for the minute"),
        .init("* 24 * * *", 2, "24", "for the hour"),
        .init("* * 0 * *", 4, "0", "for the day of month"),
        .init("* * 32 * *", 4, "32", "for the day of month"),
        .init("* * * 0 *", 6, "0", "for the month"),
        .init("* * * 13 *", 6, "13", "for the month"),
        .init("* * * * 8", 8, "8", "for the day of week"),
        .init("1,2,60 * * * *", 4, "60", "for the minute"),
        .init("50-60 * * * *", 3, "60", "for the minute"),
        .init("18446744073709551616 * * * *", 0, "18446744073709551616", "for the minute"),
        .init("-1 * * * *", 0, "-", "for the minute"),
        .init("+1 * * * *", 0, "+", "for the minute"),
        .init(", * * * *", 0, ",", "for the minute"),
        .init("1, * * * *", 2, " ", "for the minute"),
        .init("1,,2 * * * *", 2, ",", "for the minute"),
        .init("* * * * 1,", 10, "", "for the day of week"),
        .init("5- * * * *", 2, " ", "for the minute"),
        .init("5-* * * * *", 2, "*", "for the minute"),
        .init("mon * * * *", 0, "mon", "for the minute"),
        .init("* * * mon *", 6, "mon", "for the month"),
        .init("* * * january *", 6, "january", "for the month"),
        .init("* * * * jan", 8, "jan", "for the day of week"),
        .init("* * * * mo", 8, "mo", "for the day of week"),
        .init("? * * * *", 0, "?", "for the minute"),
        .init("* * L * *", 4, "L", "for the day of month"),
        .init("٣ * * * *", 0, "٣", "for the minute"),
        .init("３ * * * *", 0, "３", "for the minute"),
        .init("* * * * ſun", 8, "ſun", "for the day of week"),
        .init("1٣ * * * *", 1, "٣", "inside the minute"),
        .init("1\u{301} * * * *", 0, "1\u{301}", "for the minute"),
        .init("5a * * * *", 1, "a", "inside the minute"),
        .init("0x5 * * * *", 1, "x5", "inside the minute"),
        .init("1.5 * * * *", 1, ".", "inside the minute"),
        .init("*5 * * * *", 1, "5", "inside the minute"),
        .init("** * * * *", 1, "*", "inside the minute"),
        .init("*-5 * * * *", 1, "-", "inside the minute"),
        .init("1-2-3 * * * *", 3, "-", "inside the minute"),
        .init("*/2/3 * * * *", 3, "/", "inside the minute"),
        .init("*/5-9 * * * *", 3, "-", "inside the minute"),
        .init("* * * jan5 *", 9, "5", "inside the month"),
        .init("* * * * 5#2", 9, "#", "inside the day of week"),
        .init("* * 15W * *", 6, "W", "inside the day of month"),
        .init("* * * * 5L", 9, "L", "inside the day of week"),
        .init("0,30;5 * * * *", 4, ";", "inside the minute"),
    ]

    static let rangeAndStepRefusals: [Refusal] = [
        .init("5-1 * * * *", 2, "1", "from 5 to 59 at the end of the range"),
        .init("* * * dec-jan *", 10, "jan", "from 12 to 12 at the end of the range"),
        .init("* * * * fri-sun", 12, "sun", "from 5 to 7 at the end of the range (Sunday is 7 there)"),
        .init("* * * * 7-1", 10, "1", "from 7 to 7 at the end of the range (Sunday is 7 there)"),
        .init("*/0 * * * *", 2, "0", "a step from 1 on"),
        .init("*/00 * * * *", 2, "00", "a step from 1 on"),
        .init("*/ * * * *", 2, " ", "a step from 1 on"),
        .init("* * * * */", 10, "", "a step from 1 on"),
        .init("*/-5 * * * *", 2, "-", "a step from 1 on"),
        .init("*/x * * * *", 2, "x", "a step from 1 on"),
        .init("*/٥ * * * *", 2, "٥", "a step from 1 on"),
        .init("1-9/0 * * * *", 4, "0", "a step from 1 on"),
        .init("* * * */jan *", 8, "jan", "a step from 1 on"),
        .init("*/99999999999999999999 * * * *", 2, "99999999999999999999", "a step from 1 on"),
        .init("5/10 * * * *", 1, "/", "a range before a step, as in 5-59/2"),
        .init("* * * feb/2 *", 9, "/", "a range before a step, as in 2-12/2"),
        .init("1,5/10 * * * *", 3, "/", "a range before a step, as in 5-59/2"),
        .init("/5 * * * *", 0, "/", "for the minute"),
        .init("* * $,1 * *", 5, ",", "stands alone in its field"),
        .init("* * $-1 * *", 5, "-", "stands alone in its field"),
        .init("* * $/2 * *", 5, "/", "stands alone in its field"),
        .init("* * $$ * *", 5, "$", "stands alone in its field"),
        .init("* * 1,$ * *", 6, "$", "for the day of month"),
        .init("* * 1-$ * *", 6, "$", "for the day of month"),
        .init("* * $", 5, "", "the month (a schedule has five fields)"),
        .init("$ * * * *", 0, "$", "for the minute"),
        .init("* * * * $", 8, "$", "for the day of week"),
    ]

    static let wordRefusals: [Refusal] = [
        .init("@reboot", 0, "@reboot", "a start of the service is none"),
        .init("  @RESTART", 2, "@RESTART", "a start of the service is none"),
        .init("@", 0, "@", "@midnight, @hourly"),
        .init("@fortnightly", 0, "@fortnightly", "@midnight, @hourly"),
        .init("@WEE\u{212a}LY", 0, "@WEE\u{212a}LY", "@midnight, @hourly"),
        .init("@ daily", 0, "@", "@midnight, @hourly"),
        .init("@dailyx", 0, "@dailyx", "@midnight, @hourly"),
        .init("@daily 5", 7, "5", "the end after five fields"),
        .init("daily", 0, "daily", "for the minute"),
        .init("0 seconds", 0, "0", "a number of seconds from 1 to 59"),
        .init("60 seconds", 0, "60", "a number of seconds from 1 to 59"),
        .init("  99999999999999999999 seconds", 2, "99999999999999999999", "a number of seconds from 1 to 59"),
        .init("5 secondc", 2, "secondc", "as in '30 seconds'"),
        .init("5 sec", 2, "sec", "as in '30 seconds'"),
        .init("5 secs", 2, "secs", "as in '30 seconds'"),
        .init("50 seconds c", 11, "c", "as in '30 seconds'"),
        .init("5 seconds,", 2, "seconds,", "as in '30 seconds'"),
        .init("-1 seconds", 0, "-", "for the minute"),
        .init("1.5 seconds", 1, ".", "inside the minute"),
        .init("5 minutes", 2, "minutes", "for the hour"),
        .init("seconds", 0, "seconds", "for the minute"),
        .init("٥ seconds", 0, "٥", "for the minute"),
    ]

    static let neverFiring: [Refusal] = [
        .init("0 0 30 2 *", 4, "day '30' in month '2'", "this schedule would never fire"),
        .init("0 0 31 4,6 *", 4, "day '31' in month '4,6'", "this schedule would never fire"),
        .init("0 0  30,31  feb *", 5, "day '30,31' in month 'feb'", "this schedule would never fire"),
        .init("0 0 31 2,4,6,9,11 */2", 4, "day '31' in month '2,4,6,9,11'", "this schedule would never fire"),
        .init("0 0 30-31/1 2 *", 4, "day '30-31/1' in month '2'", "this schedule would never fire"),
    ]

    @Test(arguments: fieldRefusals + rangeAndStepRefusals + wordRefusals + neverFiring)
    func refusesAtTheOffendingCharacter(_ refusal: Refusal) {
        let error = #expect(throws: ScheduleError.self) { try Schedule(refusal.expression) }
        #expect(error?.offset == refusal.offset)
        #expect(error?.found == refusal.foundInWords)
        #expect(error?.expected.hasSuffix(refusal.expected) ?? false, "\(String(describing: error))")
        #expect(error?.expression == refusal.expression)
    }

    @Test(arguments: ["0 0 29 2 *", "0 0 31 4,5 *", "0 0 30 2 mon", "0 0 $ 2 *", "0 0 31 */2 *", "0 0 29 2 */7"])
    func acceptsWhatFiresSeldom(expression: String) throws {
        #expect(try Schedule(expression).next(after: UTCInstant(secondsSinceEpoch: 0)) != nil)
    }

    @Test func refusesATextThatIsTooLongWithoutReadingIt() throws {
        let most = "0" + String(repeating: " ", count: Schedule.maximumLength - 8) + "0 * * *"
        #expect(most.count == Schedule.maximumLength)
        #expect(try Schedule(most).next(after: UTCInstant(secondsSinceEpoch: 0)) == instant("1970-01-02T00:00:00Z"))
        let error = #expect(throws: ScheduleError.self) { try Schedule(most + " ") }
        #expect(error?.offset == 999)
        #expect(error?.found == "more than 999 characters" && error?.expected == "at most 999")
        #expect(error?.expression == most)
    }

    @Test func neverTrapsAndRefusesOnlyAtACharacterThatIsThere() {
        let seed = SeededRandom.seed()
        var random = SeededRandom(seed: seed)
        let alphabet = Array("0123456789*/,-$@ \tsunjaecod\u{301}٣\n")
        for _ in 0..<20_000 {
            let text = String((0..<Int.random(in: 0...14, using: &random)).map { _ in random.pick(alphabet) })
            do {
                let schedule = try Schedule(text)
                if schedule.next(after: UTCInstant(secondsSinceEpoch: 0)) == nil {
                    Issue.record("'\(text)' never fires, seed \(seed)")
                }
            } catch {
                if !(0...text.count).contains(error.offset) { Issue.record("'\(text)': \(error), seed \(seed)") }
                if error.annotated.isEmpty || error.description.isEmpty { Issue.record("'\(text)' has no message") }
            }
        }
    }
}
