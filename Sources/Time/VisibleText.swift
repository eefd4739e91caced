extension String {
    /// This text on one line, harmless to a terminal: each control character, line or paragraph separator, and
    /// formatting character without a shape (such as those that turn the direction of writing) becomes U+FFFD.
    ///
    /// Every text that another program wrote passes through this where it enters, and again where it is written: to a
    /// terminal, the log, the journal, the service manager, HTTP, files. The second time changes nothing.
    package var visible: String { visible(keepingLines: false) }

    /// The same for a text of several lines: line feeds stay.
    package var visibleLines: String { visible(keepingLines: true) }

    private func visible(keepingLines: Bool) -> String {
        // Printable ASCII, which is nearly every text, needs no copy.
        if utf8.allSatisfy({ (0x20...0x7E).contains($0) || keepingLines && $0 == 0x0A }) { return self }
        // By scalars: a carriage return and the line feed after it are one Character.
        let scalars = unicodeScalars.map { scalar in
            keepingLines && scalar == "\n" || !scalar.isInvisible ? scalar : "\u{FFFD}"
        }
        return String(String.UnicodeScalarView(scalars))
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
