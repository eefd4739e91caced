/// The rows of a statement, as the server's text, read by type.
package struct QueryResult: Sendable {
    /// Names in the statement's order; not necessarily distinct.
    package let columns: [String]
    package let rows: [Row]

    /// Returns the only row.
    /// - Throws: `unexpectedAnswer` for no row or several.
    package func onlyRow() throws(PostgresError) -> Row {
        guard rows.count == 1 else { throw .unexpectedAnswer("\(rows.count) rows instead of 1") }
        return rows[0]
    }

    /// One row: values by column name.
    package struct Row: Sendable {
        let columns: [String]
        let values: [String?]

        /// The value, or `nil` for NULL, as the server wrote it.
        /// - Throws: `unexpectedAnswer` when the statement has no such column.
        package func textIfPresent(_ column: String) throws(PostgresError) -> String? {
            guard let index = columns.firstIndex(of: column) else {
                throw .unexpectedAnswer("no column \(column)")
            }
            return values[index]
        }

        /// The value as the server wrote it.
        /// - Throws: `unexpectedAnswer` for NULL or a missing column.
        package func text(_ column: String) throws(PostgresError) -> String {
            guard let text = try textIfPresent(column) else { throw .unexpectedAnswer("NULL in column \(column)") }
            return text
        }

        /// A `boolean`.
        package func bool(_ column: String) throws(PostgresError) -> Bool {
            switch try text(column) {
            case "t": return true
            case "f": return false
            default: throw .unexpectedAnswer("column \(column) is not a boolean")
            }
        }

        /// A `boolean`, or `nil` for NULL.
        package func boolIfPresent(_ column: String) throws(PostgresError) -> Bool? {
            try textIfPresent(column) == nil ? nil : try bool(column)
        }

        /// An integer of any width up to 64 bits.
        package func integer(_ column: String) throws(PostgresError) -> Int {
            guard let value = Int(try text(column)) else {
                throw .unexpectedAnswer("column \(column) is not an integer")
            }
            return value
        }
    }
}

/// A value for `$1`, `$2`, …, sent as text with a declared type, so that the server does not have to infer one.
package struct Parameter: Sendable {
    /// The type's OID from `pg_type.dat`; built-in types' never change.
    let type: UInt32
    let text: String?

    package static func text(_ value: String?) -> Parameter { Parameter(type: 25, text: value) }
    package static func integer(_ value: Int) -> Parameter { Parameter(type: 20, text: String(value)) }
    /// A `timestamptz`, as ISO 8601 text with an offset, which no `DateStyle` reads differently.
    package static func timestamp(_ iso8601: String) -> Parameter { Parameter(type: 1184, text: iso8601) }
}

/// SQL text for a name or a value that comes from outside.
package enum SQL {
    /// A quoted identifier: a name with quotes or semicolons in it stays one name.
    package static func identifier(_ name: String) -> String {
        var quoted = "\""
        // Scalars, as the server sees them: a quote with a combining mark after it is one Character, and no quote.
        for scalar in name.unicodeScalars {
            if scalar == "\"" { quoted.unicodeScalars.append(scalar) }
            quoted.unicodeScalars.append(scalar)
        }
        return quoted + "\""
    }

    /// A quoted literal, right under either setting of `standard_conforming_strings`.
    package static func literal(_ value: String) -> String {
        var quoted = value.unicodeScalars.contains("\\") ? " E'" : "'"
        for character in value.unicodeScalars {
            if character == "'" || character == "\\" { quoted.unicodeScalars.append(character) }
            quoted.unicodeScalars.append(character)
        }
        return quoted + "'"
    }
}
