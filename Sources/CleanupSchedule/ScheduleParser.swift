/// Reads a schedule from left to right, and knows where it is when something is wrong.
///
/// Every loop consumes a character, and there are at most `Schedule.maximumLength`.
struct ScheduleParser {
    private let expression: String
    private let characters: [Character]
    private var position = 0

    init(_ expression: String) throws(ScheduleError) {
        let limit = Schedule.maximumLength
        // A bounded look: counting the characters of a huge text is work for nothing.
        characters = Array(expression.prefix(limit + 1))
        self.expression = expression
        guard characters.count <= limit else {
            throw ScheduleError(
                expression: String(characters.dropLast()), offset: limit, found: "more than \(limit) characters",
                expected: "at most \(limit)")
        }
    }

    /// The rule that the text names.
    ///
    /// - Throws: `ScheduleError` for the first character, from the left, that no schedule could have there; that a
    ///   schedule never fires is found last.
    mutating func rule() throws(ScheduleError) -> Schedule.Rule {
        skipBlanks()
        guard let first = current else {
            throw ScheduleError(
                expression: expression, offset: 0, found: "nothing",
                expected: "five fields, N seconds, or a nickname such as @daily")
        }
        if first == "@" { return try nickname() }
        if let rule = try numberOfSeconds() { return rule }
        return .calendar(try calendarRule())
    }

    // MARK: Nicknames and seconds

    private mutating func nickname() throws(ScheduleError) -> Schedule.Rule {
        let start = position
        let word = take { !Self.isBlank($0) }
        if ["@reboot", "@restart"].contains(Self.lowercased(word)) {
            throw error(word, at: start, "a schedule that names times; a start of the service is none")
        }
        guard let nickname = Schedule.nicknames.first(where: { $0.name == Self.lowercased(word) }) else {
            throw error(word, at: start, "one of \(Schedule.nicknames.map(\.name).joined(separator: ", "))")
        }
        skipBlanks()
        try expectEnd("the end after five fields")
        var fields = try ScheduleParser(nickname.fields)
        return .calendar(try fields.calendarRule())
    }

    /// `30 seconds`; as in pg_cron also `1 second`, in any case, and with or without blanks between. `nil` if no word that
    /// begins with `sec` follows digits: no field has such a word.
    private mutating func numberOfSeconds() throws(ScheduleError) -> Schedule.Rule? {
        let start = position
        let digits = take(while: Self.isDigit)
        skipBlanks()
        let wordStart = position
        let word = take { !Self.isBlank($0) }
        guard !digits.isEmpty, Self.lowercased(word).hasPrefix("sec") else {
            position = start
            return nil
        }
        guard let seconds = Int64(digits), (1...59).contains(seconds) else {
            throw error(digits, at: start, "a number of seconds from 1 to 59")
        }
        let expected = "'seconds' and nothing after it, as in '30 seconds'"
        guard ["second", "seconds"].contains(Self.lowercased(word)) else { throw error(word, at: wordStart, expected) }
        skipBlanks()
        try expectEnd(expected)
        return .everySeconds(seconds)
    }

    // MARK: The five fields

    /// One of the fields, in the order in which they are written.
    private struct Field {
        /// An operator's word for it.
        let name: String
        /// In the day of week both 0 and 7 are Sunday.
        let range: ClosedRange<Int>
        /// The names that stand for the numbers from the range's first on; `sun` is 0, never 7, as in pg_cron.
        var names: [String] = []
        /// The forms that a value has beside a number.
        var otherForms = " or '*'"

        var values: String { "a number from \(range.lowerBound) to \(range.upperBound)\(otherForms) for the \(name)" }

        static let minute = Field(name: "minute", range: 0...59)
        static let hour = Field(name: "hour", range: 0...23)
        static let dayOfMonth = Field(
            name: "day of month", range: 1...31, otherForms: ", '*', or '$' alone (the last day)")
        static let month = Field(
            name: "month", range: 1...12,
            names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
            otherForms: ", a name from jan to dec, or '*'")
        static let dayOfWeek = Field(
            name: "day of week", range: 0...7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
            otherForms: ", a name from sun to sat, or '*'")
    }

    private mutating func calendarRule() throws(ScheduleError) -> CalendarRule {
        let minutes = try values(of: .minute)
        let hours = try values(of: .hour)
        let dayStart = position
        let isLastDay = current == "$"
        let daysOfMonth = try values(of: .dayOfMonth)
        let dayText = take(from: dayStart)
        let monthStart = position
        let months = try values(of: .month)
        let monthText = take(from: monthStart)
        let weekdayStart = position
        let daysOfWeek = try values(of: .dayOfWeek)
        try expectEnd("the end after five fields")
        let rule = CalendarRule(
            minutes: minutes, hours: UInt32(hours), daysOfMonth: UInt32(daysOfMonth), months: UInt16(months),
            // 7 is Sunday as well.
            daysOfWeek: UInt8(daysOfWeek & 0x7f | daysOfWeek >> 7), includesLastDayOfMonth: isLastDay,
            eitherDayMatches: characters[dayStart] != "*" && characters[weekdayStart] != "*")
        guard rule.canFire else {
            throw ScheduleError(
                expression: expression, offset: dayStart,
                found: "day \(ScheduleError.quoted(dayText)) in month \(ScheduleError.quoted(monthText))",
                expected: "a day that one of these months has; this schedule would never fire")
        }
        return rule
    }

    /// A field's values, one bit for each number: items with commas between them, and the blanks after them. None for `$`.
    private mutating func values(of field: Field) throws(ScheduleError) -> UInt64 {
        guard current != nil else { throw error("", at: position, "the \(field.name) (a schedule has five fields)") }
        let isLastDay = field.name == Field.dayOfMonth.name && skip("$")
        var values = isLastDay ? 0 : try item(field)
        while !isLastDay, skip(",") { values |= try item(field) }
        guard current.map(Self.isBlank) ?? true else {
            throw error(
                wordAtPosition, at: position,
                isLastDay
                    ? "a blank after '$', which stands alone in its field"
                    : "a blank, or ',', '-' or '/' inside the \(field.name)")
        }
        skipBlanks()
        return values
    }

    /// `*`, `*/step`, `value`, `start-end` or `start-end/step`.
    private mutating func item(_ field: Field) throws(ScheduleError) -> UInt64 {
        if skip("*") { return Self.bits(field.range, step: try stepIfAny()) }
        let (start, last) = (try value(field), field.range.upperBound)
        guard skip("-") else {
            // pg_cron refuses it too: it leaves open where the range ends.
            guard current != "/" else {
                throw error("/", at: position, "a range before a step, as in \(start)-\(last)/2")
            }
            return 1 << start
        }
        let endPosition = position
        let end = try value(field)
        guard start <= end else {
            let sunday = field.name == Field.dayOfWeek.name ? " (Sunday is 7 there)" : ""
            throw error(
                String(characters[endPosition..<position]), at: endPosition,
                "a number from \(start) to \(last) at the end of the range\(sunday)")
        }
        return Self.bits(start...end, step: try stepIfAny())
    }

    /// A number or a name.
    private mutating func value(_ field: Field) throws(ScheduleError) -> Int {
        let start = position
        let digits = take(while: Self.isDigit)
        guard digits.isEmpty else {
            guard let number = Int(digits), field.range.contains(number) else {
                throw error(digits, at: start, field.values)
            }
            return number
        }
        let word = take(while: Self.isLetter)
        guard !word.isEmpty, let index = field.names.firstIndex(of: word.lowercased()) else {
            position = start
            throw error(wordAtPosition, at: start, field.values)
        }
        return field.range.lowerBound + index
    }

    /// The number after a `/`, or 1 without one. As in pg_cron a step may be longer than the range: it then names the
    /// range's first value only.
    private mutating func stepIfAny() throws(ScheduleError) -> Int {
        guard skip("/") else { return 1 }
        let start = position
        let digits = take(while: Self.isDigit)
        guard let step = Int(digits), step >= 1 else {
            throw error(digits.isEmpty ? wordAtPosition : digits, at: start, "a step from 1 on")
        }
        return step
    }

    private static func bits(_ range: ClosedRange<Int>, step: Int) -> UInt64 {
        stride(from: range.lowerBound, through: range.upperBound, by: step).reduce(0) { $0 | 1 << $1 }
    }

    // MARK: Characters

    private var current: Character? { position < characters.count ? characters[position] : nil }

    /// The text that an error shows of the place: the letters and digits that stand together here, or one character.
    private var wordAtPosition: String {
        guard let current else { return "" }
        var ahead = self
        let word = ahead.take { $0.isLetter || $0.isNumber }
        return word.isEmpty ? String(current) : word
    }

    private mutating func take(while isWanted: (Character) -> Bool) -> String {
        let start = position
        while let current, isWanted(current) { position += 1 }
        return String(characters[start..<position])
    }

    /// The field that began there, without the blanks after it.
    private func take(from start: Int) -> String { String(characters[start..<position].prefix { !Self.isBlank($0) }) }

    private mutating func skip(_ character: Character) -> Bool {
        guard current == character else { return false }
        position += 1
        return true
    }

    private mutating func skipBlanks() { while let current, Self.isBlank(current) { position += 1 } }

    private static func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }

    /// ASCII only: `Character.isNumber` knows the digits of all scripts.
    private static func isDigit(_ character: Character) -> Bool { character.isASCII && character.isNumber }

    private static func isLetter(_ character: Character) -> Bool { character.isASCII && character.isLetter }

    /// ASCII only: lower case turns the Kelvin sign into `k`.
    private static func lowercased(_ word: String) -> String { word.allSatisfy(\.isASCII) ? word.lowercased() : word }

    private func expectEnd(_ expected: String) throws(ScheduleError) {
        guard current == nil else { throw error(wordAtPosition, at: position, expected) }
    }

    private func error(_ found: String, at offset: Int, _ expected: String) -> ScheduleError {
        ScheduleError(expression: expression, offset: offset, found: ScheduleError.quoted(found), expected: expected)
    }
}
