import CleanupSchedule
import SeededRandom
import Testing
import Time

/// Faulty schedules are refused, with the caret under the faulty character.
@Suite struct ScheduleRefusalTests {
    struct Refusal: Sendable, CustomTestStringConvertible {
        var expression: String
        var offset: Int
        var reason: ScheduleError.Reason
        var testDescription: String { expression }

        init(_ expression: String, _ offset: Int, _ reason: ScheduleError.Reason) {
            (self.expression, self.offset, self.reason) = (expression, offset, reason)
        }
    }

    static let fieldRefusals: [Refusal] = [
        .init("", 0, .empty),
        .init(" \t ", 0, .empty),
        .init("*", 1, .fieldMissing(.hour)),
        .init("5 ", 2, .fieldMissing(.hour)),
        .init("* * * *", 7, .fieldMissing(.dayOfWeek)),
        .init("* * * *  ", 9, .fieldMissing(.dayOfWeek)),
        .init("* * * * * *", 10, .fieldsExceeded(found: "*")),
        .init("*/5 * * * * command", 12, .fieldsExceeded(found: "command")),
        .init("* * * * *\n", 9, .fieldNotEnded(found: "\n", field: .dayOfWeek)),
        .init("*\u{a0}* * * *", 1, .fieldNotEnded(found: "\u{a0}", field: .minute)),
        .init("60 * * * *", 0, .valueOutOfRange(found: "60", field: .minute)),
        .init("* 24 * * *", 2, .valueOutOfRange(found: "24", field: .hour)),
        .init("* * 0 * *", 4, .valueOutOfRange(found: "0", field: .dayOfMonth)),
        .init("* * 32 * *", 4, .valueOutOfRange(found: "32", field: .dayOfMonth)),
        .init("* * * 0 *", 6, .valueOutOfRange(found: "0", field: .month)),
        .init("* * * 13 *", 6, .valueOutOfRange(found: "13", field: .month)),
        .init("* * * * 8", 8, .valueOutOfRange(found: "8", field: .dayOfWeek)),
        .init("1,2,60 * * * *", 4, .valueOutOfRange(found: "60", field: .minute)),
        .init("50-60 * * * *", 3, .valueOutOfRange(found: "60", field: .minute)),
        .init("18446744073709551616 * * * *", 0, .valueOutOfRange(found: "18446744073709551616", field: .minute)),
        .init("-1 * * * *", 0, .valueMissing(found: "-", field: .minute)),
        .init("+1 * * * *", 0, .valueMissing(found: "+", field: .minute)),
        .init(", * * * *", 0, .valueMissing(found: ",", field: .minute)),
        .init("1, * * * *", 2, .valueMissing(found: " ", field: .minute)),
        .init("1,,2 * * * *", 2, .valueMissing(found: ",", field: .minute)),
        .init("* * * * 1,", 10, .valueMissing(found: "", field: .dayOfWeek)),
        .init("5- * * * *", 2, .valueMissing(found: " ", field: .minute)),
        .init("5-* * * * *", 2, .valueMissing(found: "*", field: .minute)),
        .init("mon * * * *", 0, .valueMissing(found: "mon", field: .minute)),
        .init("* * * mon *", 6, .valueMissing(found: "mon", field: .month)),
        .init("* * * january *", 6, .valueMissing(found: "january", field: .month)),
        .init("* * * * jan", 8, .valueMissing(found: "jan", field: .dayOfWeek)),
        .init("* * * * mo", 8, .valueMissing(found: "mo", field: .dayOfWeek)),
        .init("? * * * *", 0, .valueMissing(found: "?", field: .minute)),
        .init("* * L * *", 4, .valueMissing(found: "L", field: .dayOfMonth)),
        .init("٣ * * * *", 0, .valueMissing(found: "٣", field: .minute)),
        .init("３ * * * *", 0, .valueMissing(found: "３", field: .minute)),
        .init("* * * * ſun", 8, .valueMissing(found: "ſun", field: .dayOfWeek)),
        .init("1٣ * * * *", 1, .fieldNotEnded(found: "٣", field: .minute)),
        .init("1\u{301} * * * *", 0, .valueMissing(found: "1\u{301}", field: .minute)),
        .init("5a * * * *", 1, .fieldNotEnded(found: "a", field: .minute)),
        .init("0x5 * * * *", 1, .fieldNotEnded(found: "x5", field: .minute)),
        .init("1.5 * * * *", 1, .fieldNotEnded(found: ".", field: .minute)),
        .init("*5 * * * *", 1, .fieldNotEnded(found: "5", field: .minute)),
        .init("** * * * *", 1, .fieldNotEnded(found: "*", field: .minute)),
        .init("*-5 * * * *", 1, .fieldNotEnded(found: "-", field: .minute)),
        .init("1-2-3 * * * *", 3, .fieldNotEnded(found: "-", field: .minute)),
        .init("*/2/3 * * * *", 3, .fieldNotEnded(found: "/", field: .minute)),
        .init("*/5-9 * * * *", 3, .fieldNotEnded(found: "-", field: .minute)),
        .init("* * * jan5 *", 9, .fieldNotEnded(found: "5", field: .month)),
        .init("* * * * 5#2", 9, .fieldNotEnded(found: "#", field: .dayOfWeek)),
        .init("* * 15W * *", 6, .fieldNotEnded(found: "W", field: .dayOfMonth)),
        .init("* * * * 5L", 9, .fieldNotEnded(found: "L", field: .dayOfWeek)),
        .init("0,30;5 * * * *", 4, .fieldNotEnded(found: ";", field: .minute)),
    ]

    static let rangeAndStepRefusals: [Refusal] = [
        .init("5-1 * * * *", 2, .rangeReversed(found: "1", start: 5, field: .minute)),
        .init("* * * dec-jan *", 10, .rangeReversed(found: "jan", start: 12, field: .month)),
        .init("* * * * fri-sun", 12, .rangeReversed(found: "sun", start: 5, field: .dayOfWeek)),
        .init("* * * * 7-1", 10, .rangeReversed(found: "1", start: 7, field: .dayOfWeek)),
        .init("*/0 * * * *", 2, .stepInvalid(found: "0")),
        .init("*/00 * * * *", 2, .stepInvalid(found: "00")),
        .init("*/ * * * *", 2, .stepInvalid(found: " ")),
        .init("* * * * */", 10, .stepInvalid(found: "")),
        .init("*/-5 * * * *", 2, .stepInvalid(found: "-")),
        .init("*/x * * * *", 2, .stepInvalid(found: "x")),
        .init("*/٥ * * * *", 2, .stepInvalid(found: "٥")),
        .init("1-9/0 * * * *", 4, .stepInvalid(found: "0")),
        .init("* * * */jan *", 8, .stepInvalid(found: "jan")),
        .init("*/99999999999999999999 * * * *", 2, .stepInvalid(found: "99999999999999999999")),
        .init("5/10 * * * *", 1, .stepWithoutRange(start: 5, field: .minute)),
        .init("* * * feb/2 *", 9, .stepWithoutRange(start: 2, field: .month)),
        .init("1,5/10 * * * *", 3, .stepWithoutRange(start: 5, field: .minute)),
        .init("/5 * * * *", 0, .valueMissing(found: "/", field: .minute)),
        .init("* * $,1 * *", 5, .lastDayNotAlone(found: ",")),
        .init("* * $-1 * *", 5, .lastDayNotAlone(found: "-")),
        .init("* * $/2 * *", 5, .lastDayNotAlone(found: "/")),
        .init("* * $$ * *", 5, .lastDayNotAlone(found: "$")),
        .init("* * 1,$ * *", 6, .valueMissing(found: "$", field: .dayOfMonth)),
        .init("* * 1-$ * *", 6, .valueMissing(found: "$", field: .dayOfMonth)),
        .init("* * $", 5, .fieldMissing(.month)),
        .init("$ * * * *", 0, .valueMissing(found: "$", field: .minute)),
        .init("* * * * $", 8, .valueMissing(found: "$", field: .dayOfWeek)),
    ]

    static let wordRefusals: [Refusal] = [
        .init("@reboot", 0, .nicknameWithoutTime(found: "@reboot")),
        .init("  @RESTART", 2, .nicknameWithoutTime(found: "@RESTART")),
        .init("@", 0, .nicknameUnknown(found: "@")),
        .init("@fortnightly", 0, .nicknameUnknown(found: "@fortnightly")),
        .init("@WEE\u{212a}LY", 0, .nicknameUnknown(found: "@WEE\u{212a}LY")),
        .init("@ daily", 0, .nicknameUnknown(found: "@")),
        .init("@dailyx", 0, .nicknameUnknown(found: "@dailyx")),
        .init("@daily 5", 7, .fieldsExceeded(found: "5")),
        .init("daily", 0, .valueMissing(found: "daily", field: .minute)),
        .init("0 seconds", 0, .secondsOutOfRange(found: "0")),
        .init("60 seconds", 0, .secondsOutOfRange(found: "60")),
        .init("  99999999999999999999 seconds", 2, .secondsOutOfRange(found: "99999999999999999999")),
        .init("5 secondc", 2, .secondsMalformed(found: "secondc")),
        .init("5 sec", 2, .secondsMalformed(found: "sec")),
        .init("5 secs", 2, .secondsMalformed(found: "secs")),
        .init("50 seconds c", 11, .secondsMalformed(found: "c")),
        .init("5 seconds,", 2, .secondsMalformed(found: "seconds,")),
        .init("-1 seconds", 0, .valueMissing(found: "-", field: .minute)),
        .init("1.5 seconds", 1, .fieldNotEnded(found: ".", field: .minute)),
        .init("5 minutes", 2, .valueMissing(found: "minutes", field: .hour)),
        .init("seconds", 0, .valueMissing(found: "seconds", field: .minute)),
        .init("٥ seconds", 0, .valueMissing(found: "٥", field: .minute)),
    ]

    static let neverFiring: [Refusal] = [
        .init("0 0 30 2 *", 4, .neverFires(days: "30", months: "2")),
        .init("0 0 31 4,6 *", 4, .neverFires(days: "31", months: "4,6")),
        .init("0 0  30,31  feb *", 5, .neverFires(days: "30,31", months: "feb")),
        .init("0 0 31 2,4,6,9,11 */2", 4, .neverFires(days: "31", months: "2,4,6,9,11")),
        .init("0 0 30-31/1 2 *", 4, .neverFires(days: "30-31/1", months: "2")),
    ]

    @Test(arguments: fieldRefusals + rangeAndStepRefusals + wordRefusals + neverFiring)
    func refusesAtTheOffendingCharacter(_ refusal: Refusal) {
        let error = #expect(throws: ScheduleError.self) { try Schedule(refusal.expression) }
        #expect(error?.offset == refusal.offset)
        #expect(error?.reason == refusal.reason)
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
        #expect(error?.reason == .tooLong(limit: 999))
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
