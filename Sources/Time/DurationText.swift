extension Duration {
    /// Seconds for operators, such as `0.25 s` or `15 s`: milliseconds at the finest, rounded toward zero.
    package var secondsText: String {
        let milliseconds = components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
        let (whole, rest) = milliseconds.quotientAndRemainder(dividingBy: 1000)
        guard rest != 0 else { return "\(whole) s" }
        var digits = String(1000 + rest.magnitude).dropFirst()
        while digits.last == "0" { digits.removeLast() }
        return "\(milliseconds < 0 ? "-" : "")\(whole.magnitude).\(digits) s"
    }

    /// Whole milliseconds, rounded toward zero.
    package var wholeMilliseconds: Int64 {
        components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
    }
}

extension Int {
    /// The number in groups of three digits, such as `1,234,567`.
    package var groupedText: String {
        var text = ""
        for (index, digit) in String(magnitude).reversed().enumerated() {
            if index > 0, index.isMultiple(of: 3) { text.append(",") }
            text.append(digit)
        }
        return (self < 0 ? "-" : "") + text.reversed()
    }
}

extension UTCInstant {
    /// The instant rounded down to a whole second.
    package var toTheSecond: UTCInstant { UTCInstant(secondsSinceEpoch: wholeSecondsSinceEpoch) }
}
