/// The rows of a statement, as the server's text, read by type.
package struct QueryResult: Sendable {
    package let rows: [Row]

    /// Returns the only row, or throws `unexpectedAnswer`.
    package func onlyRow() throws(PostgresError) -> Row {
        guard rows.count == 1 else { throw .unexpectedAnswer("\(rows.count) rows instead of 1") }
        return rows[0]
    }

    /// Values by column name. Reading throws `unexpectedAnswer` for an unknown column or a value of another type.
    package struct Row: Sendable {
        package let columns: [String]
        let values: [String?]

        /// The value, or `nil` for NULL, as the server wrote it.
        package func textIfPresent(_ column: String) throws(PostgresError) -> String? {
            guard let index = columns.firstIndex(of: column) else { throw .unexpectedAnswer("no column \(column)") }
            return values[index]
        }

        package func text(_ column: String) throws(PostgresError) -> String {
            guard let text = try textIfPresent(column) else { throw .unexpectedAnswer("NULL in column \(column)") }
            return text
        }

        package func bool(_ column: String) throws(PostgresError) -> Bool {
            guard let value = ["t": true, "f": false][try text(column)] else {
                throw .unexpectedAnswer("column \(column) is not a boolean")
            }
            return value
        }

        package func boolIfPresent(_ column: String) throws(PostgresError) -> Bool? {
            try textIfPresent(column) == nil ? nil : try bool(column)
        }

        /// Reads an integer.
        /// - Parameter most: the largest one on either side of zero. For a number that nothing is added to it may be `.max`.
        package func integer(_ column: String, most: Int = mostOfInteger) throws(PostgresError) -> Int {
            guard let value = Int(try text(column)), value.magnitude <= most.magnitude else {
                throw .unexpectedAnswer("column \(column) is not an integer, or too large a one")
            }
            return value
        }

        /// More than any count, number or age in milliseconds that a server has. Sums of thousands do not overflow.
        package static let mostOfInteger = 1_000_000_000_000_000
    }
}

/// SQL text for a name or a value that comes from outside.
package enum SQL {
    /// A quoted identifier: a name with quotes or semicolons in it stays one name.
    package static func identifier(_ name: String) -> String { "\"" + doubling(["\""], in: name) + "\"" }

    /// A quoted literal, valid under either setting of `standard_conforming_strings`.
    package static func literal(_ value: String) -> String {
        (value.unicodeScalars.contains("\\") ? " E'" : "'") + doubling(["'", "\\"], in: value) + "'"
    }

    /// By scalars, as the server sees them: a quote and a combining mark after it are one Character, which is no quote.
    private static func doubling(_ marks: [Unicode.Scalar], in text: String) -> String {
        var doubled = String.UnicodeScalarView()
        for scalar in text.unicodeScalars { doubled += marks.contains(scalar) ? [scalar, scalar] : [scalar] }
        return String(doubled)
    }
}
