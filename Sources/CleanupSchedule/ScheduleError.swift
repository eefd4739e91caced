/// Why a text is not a schedule, and at which character.
package struct ScheduleError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text as it was given, cut to `Schedule.maximumLength` characters.
    package let expression: String
    /// The index, in characters from 0, of the offending one; the number of characters when something is missing at
    /// the end.
    package let offset: Int
    package let reason: Reason

    /// What is wrong. `found` is a piece of the text, and empty at its end.
    package enum Reason: Hashable, Sendable {
        /// There is nothing but blanks.
        case empty
        /// There are more characters than `limit`.
        case tooLong(limit: Int)
        /// The text ends before this field.
        case fieldMissing(ScheduleField)
        /// A sixth field, or anything else after the fifth.
        case fieldsExceeded(found: String)
        /// A value of the field must stand here.
        case valueMissing(found: String, field: ScheduleField)
        /// A number that the field cannot hold.
        case valueOutOfRange(found: String, field: ScheduleField)
        /// Something after a value that does not continue a field.
        case fieldNotEnded(found: String, field: ScheduleField)
        /// A range whose end comes before its start.
        case rangeReversed(found: String, start: Int, field: ScheduleField)
        /// A step that is no number, or none from 1 on.
        case stepInvalid(found: String)
        /// `value/step`, which pg_cron refuses too: it leaves open where the range ends.
        case stepWithoutRange(start: Int, field: ScheduleField)
        /// `$` with something beside it.
        case lastDayNotAlone(found: String)
        /// `@` and a word that is no nickname.
        case nicknameUnknown(found: String)
        /// `@reboot` or `@restart`: they name no time.
        case nicknameWithoutTime(found: String)
        /// A number of seconds that is not from 1 to 59.
        case secondsOutOfRange(found: String)
        /// Something else where `seconds`, or the end after it, must stand.
        case secondsMalformed(found: String)
        /// No month of the schedule has any of its days.
        case neverFires(days: String, months: String)
    }

    /// What stands at the offending character, in words.
    package var found: String {
        switch reason {
        case .empty: "nothing"
        case .fieldMissing: "the end"
        case .tooLong(let limit): "more than \(limit) characters"
        case .stepWithoutRange: Self.quoted("/")
        case .neverFires(let days, let months): "day \(Self.quoted(days)) in month \(Self.quoted(months))"
        case .fieldsExceeded(let found), .valueMissing(let found, _), .valueOutOfRange(let found, _),
            .fieldNotEnded(let found, _), .rangeReversed(let found, _, _), .stepInvalid(let found),
            .lastDayNotAlone(let found), .nicknameUnknown(let found), .nicknameWithoutTime(let found),
            .secondsOutOfRange(let found), .secondsMalformed(let found):
            Self.quoted(found)
        }
    }

    /// What should stand there instead, in words.
    package var expected: String {
        switch reason {
        case .empty: "five fields, N seconds, or a nickname such as @daily"
        case .tooLong(let limit): "at most \(limit)"
        case .fieldMissing(let field): "the \(field.name) (a schedule has five fields)"
        case .fieldsExceeded: "the end after five fields"
        case .valueMissing(_, let field): Self.value(of: field)
        case .valueOutOfRange(_, let field): Self.value(of: field)
        case .fieldNotEnded(_, let field): "a blank, or ',', '-' or '/' inside the \(field.name)"
        case .rangeReversed(_, let start, .dayOfWeek):
            "a number from \(start) to 7 at the end of the range (Sunday is 7 there)"
        case .rangeReversed(_, let start, let field):
            "a number from \(start) to \(field.range.upperBound) at the end of the range"
        case .stepInvalid: "a step from 1 on"
        case .stepWithoutRange(let start, let field):
            "a range before a step, as in \(start)-\(field.range.upperBound)/2"
        case .lastDayNotAlone: "a blank after '$', which stands alone in its field"
        case .nicknameUnknown: "one of \(Schedule.nicknames.map(\.name).joined(separator: ", "))"
        case .nicknameWithoutTime: "a schedule that names times; a start of the service is none"
        case .secondsOutOfRange: "a number of seconds from 1 to 59"
        case .secondsMalformed: "'seconds' and nothing after it, as in '30 seconds'"
        case .neverFires: "a day that one of these months has; this schedule would never fire"
        }
    }

    /// One line for the operator: the schedule, the place, what was found and what was expected.
    package var description: String {
        "schedule \"\(Self.printable(expression))\", character \(offset + 1): found \(found), expected \(expected)"
    }

    /// Two lines for a terminal: the schedule, and below it a caret under the offending character with the message.
    ///
    /// A tab appears as a blank and any other character outside printable ASCII as `?`, so that the caret is at its place.
    package var annotated: String {
        "\(Self.printable(expression))\n\(String(repeating: " ", count: offset))^ found \(found), expected \(expected)"
    }

    private static func value(of field: ScheduleField) -> String {
        let numbers = "from \(field.range.lowerBound) to \(field.range.upperBound)"
        return switch field {
        case .minute, .hour: "a number \(numbers) or '*' for the \(field.name)"
        case .dayOfMonth: "a number \(numbers), '*', or '$' alone (the last day) for the day of month"
        case .month: "a number \(numbers), a name from jan to dec, or '*' for the month"
        case .dayOfWeek: "a number \(numbers), a name from sun to sat, or '*' for the day of week"
        }
    }

    /// One column for each character.
    private static func printable(_ text: String) -> String {
        String(text.map { $0 == "\t" ? " " : isPrintableASCII($0) ? $0 : "?" })
    }

    /// In quotes, safe for a terminal, and cut when it is long. Characters outside ASCII appear by number: a
    /// digit of another script looks like one of ours.
    private static func quoted(_ found: String) -> String {
        guard !found.isEmpty else { return "the end" }
        let longest = 40
        let shown = found.prefix(longest).map { character in
            isPrintableASCII(character)
                ? String(character)
                : character.unicodeScalars.map { "U+" + String($0.value, radix: 16, uppercase: true) }
                    .joined(separator: " ")
        }
        return "'\(shown.joined())\(found.count > longest ? "..." : "")'"
    }

    private static func isPrintableASCII(_ character: Character) -> Bool {
        character >= " " && character <= "~" && character.isASCII
    }
}
