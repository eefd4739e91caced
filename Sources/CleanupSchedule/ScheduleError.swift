/// Why a text is not a schedule, and at which character.
package struct ScheduleError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text as it was given, cut to `Schedule.maximumLength` characters.
    package let expression: String
    /// In characters from 0; the number of characters when something is missing at the end.
    package let offset: Int
    package let found: String
    package let expected: String

    /// One line for the operator: the schedule, the place, what was found and what was expected.
    package var description: String {
        "schedule \"\(printable)\", character \(offset + 1): found \(found), expected \(expected)"
    }

    /// Two lines for a terminal: the schedule, and below it a caret under the offending character with the message.
    package var annotated: String {
        "\(printable)\n\(String(repeating: " ", count: offset))^ found \(found), expected \(expected)"
    }

    /// One column for each character, so that the caret is at its place: a tab is a blank, and any other character
    /// outside printable ASCII a question mark.
    private var printable: String { String(expression.map { $0 == "\t" ? " " : Self.isPrintableASCII($0) ? $0 : "?" }) }

    /// The text in quotes, safe for a terminal, and cut when it is long. Characters outside ASCII appear by number: a
    /// digit of another script looks like one of ours.
    static func quoted(_ found: ArraySlice<Character>) -> String {
        guard !found.isEmpty else { return "the end" }
        let longest = 40
        let shown = found.prefix(longest).map { character in
            let numbers = character.unicodeScalars.map { "U+" + String($0.value, radix: 16, uppercase: true) }
            return isPrintableASCII(character) ? String(character) : numbers.joined(separator: " ")
        }
        return "'\(shown.joined())\(found.count > longest ? "..." : "")'"
    }

    private static func isPrintableASCII(_ character: Character) -> Bool {
        character >= " " && character <= "~" && character.isASCII
    }
}
