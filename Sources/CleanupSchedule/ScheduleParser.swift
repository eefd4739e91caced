/// Reads a schedule from left to right, and knows where it is when something is wrong.
///
/// Every loop consumes a character, and there are at most `Schedule.maximumLength`.
struct ScheduleParser {
    private let expression: String
    private let characters: [Character]
    private var position = 0

    init(_ expression: String) throws(ScheduleError) {
        let limit = Schedule.maximumLength
        // One character beyond the limit is enough: counting the characters of a huge text is wasted work.
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
        if let seconds = try numberOfSeconds() { return .everySeconds(seconds) }
        return .calendar(try calendarRule())
    }

    private mutating func nickname() throws(ScheduleError) -> Schedule.Rule {
        let start = position
        let word = Self.lowercased(take { !Self.isBlank($0) })
        guard let nickname = Schedule.nicknames.first(where: { $0.key == word }) else {
            throw error(
                ["@reboot", "@restart"].contains(word)
                    ? "a schedule that names times; a start of the service is none"
                    : "one of \(Schedule.nicknames.map(\.key).joined(separator: ", "))", from: start)
        }
        try expectEnd("the end after five fields")
        var fields = try ScheduleParser(nickname.value)
        return .calendar(try fields.calendarRule())
    }

    /// `30 seconds`; as in pg_cron also `1 second`, in any case, and with or without blanks between. `nil` if no word that
    /// begins with `sec` follows digits: no field has such a word.
    private mutating func numberOfSeconds() throws(ScheduleError) -> Int64? {
        let start = position
        let digits = take(while: Self.isDigit)
        let digitsEnd = position
        skipBlanks()
        let wordStart = position
        let word = Self.lowercased(take { !Self.isBlank($0) })
        guard !digits.isEmpty, word.hasPrefix("sec") else {
            position = start
            return nil
        }
        guard let seconds = Int64(digits), (1...59).contains(seconds) else {
            throw error("a number of seconds from 1 to 59", from: start, to: digitsEnd)
        }
        let expected = "'seconds' and nothing after it, as in '30 seconds'"
        guard ["second", "seconds"].contains(word) else { throw error(expected, from: wordStart) }
        try expectEnd(expected)
        return seconds
    }

    private struct Field {
        /// The field's name for operators.
        let name: String
        /// In the day of week both 0 and 7 are Sunday.
        let range: ClosedRange<Int>
        /// Names for the numbers of the range, from its first one on; `sun` is 0, never 7, as in pg_cron.
        var names: [String] = []
        /// For messages: the forms of a value other than a number.
        var otherForms = " or '*'"

        var values: String { "a number from \(range.lowerBound) to \(range.upperBound)\(otherForms) for the \(name)" }

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
        let minutes = try values(of: Field(name: "minute", range: 0...59))
        let hours = try values(of: Field(name: "hour", range: 0...23))
        let dayStart = position
        let daysOfMonth = try values(of: .dayOfMonth)
        let monthStart = position
        let months = try values(of: .month)
        let weekdayStart = position
        let daysOfWeek = try values(of: .dayOfWeek)
        try expectEnd("the end after five fields")
        let rule = CalendarRule(
            minutes: minutes, hours: hours, daysOfMonth: daysOfMonth, months: months,
            // 7 is Sunday as well.
            daysOfWeek: daysOfWeek & 0x7f | daysOfWeek >> 7,
            eitherDayMatches: characters[dayStart] != "*" && characters[weekdayStart] != "*")
        guard rule.canFire else {
            let words = [dayStart, monthStart].map { characters[$0...].prefix { !Self.isBlank($0) } }
            let (day, month) = (ScheduleError.quoted(words[0]), ScheduleError.quoted(words[1]))
            throw ScheduleError(
                expression: expression, offset: dayStart, found: "day \(day) in month \(month)",
                expected: "a day that one of these months has; this schedule would never fire")
        }
        return rule
    }

    /// Reads a field, items with commas between them, and the blanks after it: one bit for each number, bit 0 for `$`.
    private mutating func values(of field: Field) throws(ScheduleError) -> UInt64 {
        guard current != nil else { throw error("the \(field.name) (a schedule has five fields)") }
        let isLastDay = field.name == Field.dayOfMonth.name && skip("$")
        var values = isLastDay ? 1 : try item(field)
        while !isLastDay, skip(",") { values |= try item(field) }
        guard current.map(Self.isBlank) ?? true else {
            throw error(
                isLastDay
                    ? "a blank after '$', which stands alone in its field"
                    : "a blank, or ',', '-' or '/' inside the \(field.name)")
        }
        skipBlanks()
        return values
    }

    /// `*`, `*/step`, `value`, `start-end` or `start-end/step`.
    private mutating func item(_ field: Field) throws(ScheduleError) -> UInt64 {
        if skip("*") { return try bits(field.range) }
        let (start, last) = (try value(field), field.range.upperBound)
        guard skip("-") else {
            // pg_cron too refuses a step after a single value, which leaves open where the range ends.
            guard current != "/" else { throw error("a range before a step, as in \(start)-\(last)/2") }
            return 1 << start
        }
        let endPosition = position
        let end = try value(field)
        guard start <= end else {
            let sunday = field.name == Field.dayOfWeek.name ? " (Sunday is 7 there)" : ""
            throw error("a number from \(start) to \(last) at the end of the range\(sunday)", from: endPosition)
        }
        return try bits(start...end)
    }

    /// A number or a name.
    private mutating func value(_ field: Field) throws(ScheduleError) -> Int {
        let start = position
        let digits = take(while: Self.isDigit)
        guard digits.isEmpty else {
            guard let number = Int(digits), field.range.contains(number) else { throw error(field.values, from: start) }
            return number
        }
        let word = take { $0.isASCII && $0.isLetter }
        guard let index = field.names.firstIndex(of: word.lowercased()) else {
            position = start
            throw error(field.values)
        }
        return field.range.lowerBound + index
    }

    /// The values of a range, in steps of the number after a `/` if there is one. As in pg_cron a step may be longer
    /// than the range: it then names the range's first value only.
    private mutating func bits(_ range: ClosedRange<Int>) throws(ScheduleError) -> UInt64 {
        let start = position
        guard let step = skip("/") ? Int(take(while: Self.isDigit)) : 1, step >= 1 else {
            throw error("a step from 1 on", from: start + 1)
        }
        return stride(from: range.lowerBound, through: range.upperBound, by: step).reduce(0) { $0 | 1 << $1 }
    }

    private var current: Character? { position < characters.count ? characters[position] : nil }

    private mutating func take(while isWanted: (Character) -> Bool) -> String {
        let taken = characters[position...].prefix(while: isWanted)
        position = taken.endIndex
        return taken.reduce(into: "") { $0.append($1) }
    }

    private mutating func skip(_ character: Character) -> Bool {
        guard current == character else { return false }
        position += 1
        return true
    }

    private mutating func skipBlanks() { _ = take(while: Self.isBlank) }

    private static func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }

    /// ASCII only: `Character.isNumber` knows the digits of all scripts.
    private static func isDigit(_ character: Character) -> Bool { character.isASCII && character.isNumber }

    /// ASCII only: lower case turns the Kelvin sign into `k`.
    private static func lowercased(_ word: String) -> String { word.allSatisfy(\.isASCII) ? word.lowercased() : word }

    private mutating func expectEnd(_ expected: String) throws(ScheduleError) {
        skipBlanks()
        guard current == nil else { throw error(expected) }
    }

    /// Returns an error about the text from `start` to `end`; each is the current position unless given. If that text
    /// is empty, the error is about the letters and digits that begin there, else about one character.
    private func error(_ expected: String, from start: Int? = nil, to end: Int? = nil) -> ScheduleError {
        let start = start ?? position
        var found = characters[start..<(end ?? position)]
        if found.isEmpty { found = characters[start...].prefix { $0.isLetter || $0.isNumber } }
        if found.isEmpty { found = characters[start...].prefix(1) }
        return ScheduleError(
            expression: expression, offset: start, found: ScheduleError.quoted(found), expected: expected)
    }
}
