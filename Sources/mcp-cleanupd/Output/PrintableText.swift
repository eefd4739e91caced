import Time

extension Unicode.Scalar {
    /// True if the character would steer a terminal, forge a second line or turn the direction of the text around it.
    var steersText: Bool {
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        case .format: properties.isBidiControl
        default: false
        }
    }
}

extension String {
    /// The text without characters that steer a terminal: others wrote what ends up here.
    var printable: String {
        guard unicodeScalars.contains(where: \.steersText) else { return self }
        var text = ""
        for scalar in unicodeScalars { text.unicodeScalars.append(scalar.steersText ? "\u{FFFD}" : scalar) }
        return text
    }

    /// The same for a text of several lines, such as a schedule and a caret below it.
    var printableLines: String {
        split(separator: "\n", omittingEmptySubsequences: false).map { String($0).printable }.joined(separator: "\n")
    }

    /// The text with spaces at its end, so that columns line up.
    func padding(to width: Int) -> String {
        self + String(repeating: " ", count: Swift.max(0, width - count))
    }
}

extension UTCInstant {
    /// The instant in a table, whose header says that it is UTC: `2026-05-13 12:05:00`.
    var tableText: String { "\(toTheSecond)".replacing("T", with: " ").replacing("Z", with: "") }

    /// The same to the minute.
    var minuteText: String { String(tableText.dropLast(3)) }
}
