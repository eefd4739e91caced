extension Duration {
    /// Seconds for operators, such as `0.25 s` or `15 s`: milliseconds at the finest, rounded toward zero.
    package var secondsText: String {
        let milliseconds = wholeMilliseconds.magnitude
        // The digit 1 in front keeps the leading zeros, and is then replaced by the point.
        var fraction = ".\(String(1000 + milliseconds % 1000).dropFirst())"
        while let last = fraction.last, ".0".contains(last) { fraction.removeLast() }
        return "\(wholeMilliseconds < 0 ? "-" : "")\(milliseconds / 1000)\(fraction) s"
    }

    /// The duration for people, in its two largest units: `4 min 12 s`, `13 h 5 min`. Below a second: `12 ms`.
    package var inWords: String {
        guard self >= .zero else { return "0 s" }
        if self < .seconds(1) { return "\(wholeMilliseconds) ms" }
        let seconds = Int(components.seconds)
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s"),
        ]
        return parts.drop { $0.0 == 0 }.prefix(2).filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: " ")
    }

    package var fractionalSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }

    /// Rounded toward zero.
    package var wholeMilliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}

extension Int {
    /// The number in groups of three digits, such as `1,234,567`.
    package var groupedText: String {
        var text = String(magnitude)
        for place in stride(from: text.count - 3, to: 0, by: -3) {
            text.insert(",", at: text.index(text.startIndex, offsetBy: place))
        }
        return self < 0 ? "-" + text : text
    }
}

extension UTCInstant {
    package var fractionalSeconds: Double { Double(microsecondsSinceEpoch) / 1e6 }

    package var toTheSecond: UTCInstant { UTCInstant(secondsSinceEpoch: wholeSecondsSinceEpoch) }
}
