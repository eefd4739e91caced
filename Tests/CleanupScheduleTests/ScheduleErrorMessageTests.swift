import CleanupSchedule
import Testing
import Time

@Suite struct ScheduleErrorMessageTests {
    @Test(arguments: [
        (
            "*/5 * 0 * *",
            "*/5 * 0 * *\n      ^ found '0', expected a number from 1 to 31, '*', or '$' alone (the last day) for the day of month"
        ),
        ("\t61 * * * *", " 61 * * * *\n ^ found '61', expected a number from 0 to 59 or '*' for the minute"),
        ("* * * *", "* * * *\n       ^ found the end, expected the day of week (a schedule has five fields)"),
        (
            "* * * * fri-sun",
            "* * * * fri-sun\n            ^ found 'sun', expected a number from 5 to 7 at the end of the range (Sunday is 7 there)"
        ),
        ("* 9-5 * * *", "* 9-5 * * *\n    ^ found '5', expected a number from 9 to 23 at the end of the range"),
        ("5/10 * * * *", "5/10 * * * *\n ^ found '/', expected a range before a step, as in 5-59/2"),
        (
            "0 0 30 2 *",
            "0 0 30 2 *\n    ^ found day '30' in month '2', expected a day that one of these months has; this schedule would never fire"
        ),
        ("@reboot", "@reboot\n^ found '@reboot', expected a schedule that names times; a start of the service is none"),
        (
            "@noon",
            "@noon\n^ found '@noon', expected one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"
        ),
        ("90 seconds", "90 seconds\n^ found '90', expected a number of seconds from 1 to 59"),
        ("1٣ * * * *", "1? * * * *\n ^ found 'U+663', expected a blank, or ',', '-' or '/' inside the minute"),
        ("\u{1b}[31m * * * *", "?[31m * * * *\n^ found 'U+1B', expected a number from 0 to 59 or '*' for the minute"),
        ("", "\n^ found nothing, expected five fields, N seconds, or a nickname such as @daily"),
    ])
    func pointsAtTheCharacter(expression: String, annotated: String) {
        let error = #expect(throws: ScheduleError.self) { try Schedule(expression) }
        #expect(error?.annotated == annotated)
    }

    @Test func saysItInOneLineForALog() {
        let error = #expect(throws: ScheduleError.self) { try Schedule("0 25 * * *\u{7}") }
        #expect(
            error?.description
                == "schedule \"0 25 * * *?\", character 3: found '25', expected a number from 0 to 23 or '*' for the hour"
        )
    }

    @Test func quotesNoMoreThanALineCanHold() {
        let error = #expect(throws: ScheduleError.self) { try Schedule("@" + String(repeating: "a", count: 500)) }
        #expect(error?.found == "'@" + String(repeating: "a", count: 39) + "...'")
    }
}
