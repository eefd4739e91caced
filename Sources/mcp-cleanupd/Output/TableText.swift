import Time

extension String {
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
