/// Reads a schedule from left to right, and knows where it is when something is wrong.
///
/// Every loop consumes a character, and there are at most `Schedule.maximumLength`.
struct ScheduleParser {
    private let expression: String
    private let characters: [Character]
    private var position = 0

    init(_ expression: String) throws(ScheduleError) {
        // A bounded look: counting the characters of a huge text is work for nothing.
        let characters = Array(expression.prefix(Schedule.maximumLength + 1))
        guard characters.count <= Schedule.maximumLength else {
            throw ScheduleError(
                expression: String(characters.dropLast()), offset: Schedule.maximumLength,
                reason: .tooLong(limit: Schedule.maximumLength))
        }
        self.expression = expression
        self.characters = characters
    }

    /// The rule that the text names.
    ///
    /// - Throws: `ScheduleError` for the first character, from the left, that no schedule could have there; that a
    ///   schedule never fires is found last.
    mutating func rule() throws(ScheduleError) -> Schedule.Rule {
        skipBlanks()
        guard let first = current else { throw error(.empty, at: 0) }
        if first == "@" { return try nickname() }
        if isAtNumberOfSeconds { return try numberOfSeconds() }
        return .calendar(try calendarRule())
    }

    // MARK: Nicknames and seconds

    private mutating func nickname() throws(ScheduleError) -> Schedule.Rule {
        let start = position
        let word = take { !Self.isBlank($0) }
        if ["@reboot", "@restart"].contains(Self.lowercased(word)) {
            throw error(.nicknameWithoutTime(found: word), at: start)
        }
        guard let nickname = Schedule.nicknames.first(where: { $0.name == Self.lowercased(word) }) else {
            throw error(.nicknameUnknown(found: word), at: start)
        }
        skipBlanks()
        guard current == nil else { throw error(.fieldsExceeded(found: wordAtPosition), at: position) }
        var fields = try ScheduleParser(nickname.fields)
        return .calendar(try fields.calendarRule())
    }

    /// Whether digits and then a word that begins with `sec` stand here: no field has such a word.
    private var isAtNumberOfSeconds: Bool {
        var ahead = self
        guard !ahead.take(while: Self.isDigit).isEmpty else { return false }
        ahead.skipBlanks()
        return ahead.take(while: Self.isLetter).lowercased().hasPrefix("sec")
    }

    /// `30 seconds`; as in pg_cron also `1 second`, in any case, and with or without blanks between.
    private mutating func numberOfSeconds() throws(ScheduleError) -> Schedule.Rule {
        let start = position
        let digits = take(while: Self.isDigit)
        guard let seconds = Int64(digits), (1...59).contains(seconds) else {
            throw error(.secondsOutOfRange(found: digits), at: start)
        }
        skipBlanks()
        let wordStart = position
        let word = take { !Self.isBlank($0) }
        guard ["second", "seconds"].contains(Self.lowercased(word)) else {
            throw error(.secondsMalformed(found: word), at: wordStart)
        }
        skipBlanks()
        guard current == nil else { throw error(.secondsMalformed(found: wordAtPosition), at: position) }
        return .everySeconds(seconds)
    }

    // MARK: The five fields

    /// A field's values, one bit for each number.
    private struct Field {
        var values: UInt64 = 0
        /// Whether its first character is `*`.
        var beginsWithStar = false
        /// Whether it is `$`.
        var isLastDay = false
        var start = 0
        var text = ""
    }

    private mutating func calendarRule() throws(ScheduleError) -> CalendarRule {
        let minute = try field(.minute)
        let hour = try field(.hour)
        let dayOfMonth = try field(.dayOfMonth)
        let month = try field(.month)
        var dayOfWeek = try field(.dayOfWeek)
        guard current == nil else { throw error(.fieldsExceeded(found: wordAtPosition), at: position) }

        // 7 is Sunday as well.
        if dayOfWeek.values & 1 << 7 != 0 { dayOfWeek.values = dayOfWeek.values & 0x7f | 1 }
        let rule = CalendarRule(
            minutes: minute.values, hours: UInt32(hour.values), daysOfMonth: UInt32(dayOfMonth.values),
            months: UInt16(month.values), daysOfWeek: UInt8(dayOfWeek.values),
            includesLastDayOfMonth: dayOfMonth.isLastDay,
            eitherDayMatches: !dayOfMonth.beginsWithStar && !dayOfWeek.beginsWithStar)
        guard rule.canFire else {
            throw error(.neverFires(days: dayOfMonth.text, months: month.text), at: dayOfMonth.start)
        }
        return rule
    }

    /// One field and the blanks after it.
    private mutating func field(_ name: ScheduleField) throws(ScheduleError) -> Field {
        guard let first = current else { throw error(.fieldMissing(name), at: position) }
        var field = Field(beginsWithStar: first == "*", start: position)
        if name == .dayOfMonth, first == "$" {
            position += 1
            guard isAtBlankOrEnd else { throw error(.lastDayNotAlone(found: wordAtPosition), at: position) }
            field.isLastDay = true
        } else {
            field.values = try list(name)
        }
        field.text = String(characters[field.start..<position])
        skipBlanks()
        return field
    }

    /// Items with commas between them, up to a blank or the end.
    private mutating func list(_ field: ScheduleField) throws(ScheduleError) -> UInt64 {
        var values = try item(field)
        while skip(",") { values |= try item(field) }
        guard isAtBlankOrEnd else { throw error(.fieldNotEnded(found: wordAtPosition, field: field), at: position) }
        return values
    }

    /// `*`, `*/step`, `value`, `start-end` or `start-end/step`.
    private mutating func item(_ field: ScheduleField) throws(ScheduleError) -> UInt64 {
        if skip("*") { return Self.bits(field.range, step: try stepIfAny()) }
        let start = try value(field)
        guard skip("-") else {
            guard current != "/" else { throw error(.stepWithoutRange(start: start, field: field), at: position) }
            return 1 << start
        }
        let endPosition = position
        let end = try value(field)
        guard start <= end else {
            let found = String(characters[endPosition..<position])
            throw error(.rangeReversed(found: found, start: start, field: field), at: endPosition)
        }
        return Self.bits(start...end, step: try stepIfAny())
    }

    /// A number or a name.
    private mutating func value(_ field: ScheduleField) throws(ScheduleError) -> Int {
        let start = position
        let digits = take(while: Self.isDigit)
        guard digits.isEmpty else {
            guard let number = Int(digits), field.range.contains(number) else {
                throw error(.valueOutOfRange(found: digits, field: field), at: start)
            }
            return number
        }
        let word = take(while: Self.isLetter)
        guard !word.isEmpty, let index = field.valueNames.firstIndex(of: word.lowercased()) else {
            position = start
            throw error(.valueMissing(found: wordAtPosition, field: field), at: start)
        }
        return field.range.lowerBound + index
    }

    /// What follows a `/`, or 1 without one. As in pg_cron a step may be longer than the range: it then names the
    /// range's first value only.
    private mutating func stepIfAny() throws(ScheduleError) -> Int {
        guard skip("/") else { return 1 }
        let start = position
        let digits = take(while: Self.isDigit)
        guard let step = Int(digits), step >= 1 else {
            throw error(.stepInvalid(found: digits.isEmpty ? wordAtPosition : digits), at: start)
        }
        return step
    }

    private static func bits(_ range: ClosedRange<Int>, step: Int) -> UInt64 {
        stride(from: range.lowerBound, through: range.upperBound, by: step).reduce(0) { $0 | 1 << $1 }
    }

    // MARK: Characters

    private var current: Character? { position < characters.count ? characters[position] : nil }

    private var isAtBlankOrEnd: Bool { current.map(Self.isBlank) ?? true }

    /// What an error shows of the place: the letters and digits that stand together here, or one character.
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

    private func error(_ reason: ScheduleError.Reason, at offset: Int) -> ScheduleError {
        ScheduleError(expression: expression, offset: offset, reason: reason)
    }
}
