extension String {
    /// This text on one line that steers nothing: each control character, line or paragraph separator, and formatting
    /// character that has no shape of its own (among them those that turn the direction of writing) becomes U+FFFD.
    ///
    /// Used for every text that another program wrote, before it reaches a terminal, a log, a page or a file.
    package var visible: String {
        // Printable ASCII, which is nearly every text, needs no copy.
        if utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return self }
        var text = ""
        for scalar in unicodeScalars { text.unicodeScalars.append(scalar.isInvisible ? "\u{FFFD}" : scalar) }
        return text
    }
}

extension Unicode.Scalar {
    /// True for C0, DEL and C1, for U+2028 and U+2029, and for the category Cf: U+200B–F, U+202A–E, U+2066–9, U+FEFF….
    package var isInvisible: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }
}
