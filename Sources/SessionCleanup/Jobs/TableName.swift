import Postgres

/// A table's schema-qualified name.
package struct TableName: Hashable, Sendable, CustomStringConvertible {
    /// The names as the catalogs have them: unquoted, in their true case.
    package let schema: String
    package let table: String

    package static let sessions = TableName(schema: "public", table: "mcp_sessions")

    package init(schema: String, table: String) {
        self.schema = schema
        self.table = table
    }

    /// Reads `schema.table` as SQL does: a part without quotes is folded to lower case and has only letters, digits,
    /// `_` and `$`; anything else stands in double quotes, and a double quote inside is doubled.
    ///
    /// - Throws: `TableNameError` for anything else, a name without a schema included: which table a bare name means
    ///   depends on the role's `search_path`.
    package init(parsing text: String) throws(TableNameError) {
        // Scalars, as the server reads it: a quote with an accent behind it is one Character, and no quote.
        var rest = text.unicodeScalars[...]
        var parts: [String] = []
        while true {
            parts.append(try Self.takePart(from: &rest))
            if rest.isEmpty { break }
            guard rest.removeFirst() == "." else { throw .malformed }
        }
        guard parts.count == 2 else { throw parts.count == 1 ? .schemaMissing : .malformed }
        (schema, table) = (parts[0], parts[1])
    }

    private static func takePart(from rest: inout Substring.UnicodeScalarView) throws(TableNameError) -> String {
        var part = "".unicodeScalars
        if rest.first == "\"" {
            rest.removeFirst()
            while true {
                guard let character = rest.popFirst(), character != "\0" else { throw .malformed }
                if character == "\"" {
                    guard rest.first == "\"" else { break }
                    rest.removeFirst()
                }
                part.append(character)
            }
        } else {
            while let character = rest.first, isPlain(character) {
                part += rest.removeFirst().properties.lowercaseMapping.unicodeScalars
            }
            guard isPlainStart(part) else { throw .malformed }
        }
        guard !part.isEmpty else { throw .malformed }
        let name = String(part)
        // NAMEDATALEN - 1. The server would cut a longer name and look for another table.
        guard name.utf8.count <= 63 else { throw .tooLong }
        return name
    }

    private static func isPlain(_ character: Unicode.Scalar) -> Bool {
        switch character {
        case "a"..."z", "A"..."Z", "0"..."9", "_", "$": true
        default: false
        }
    }

    /// Whether a part without quotes may begin so: not with a digit or a `$`.
    private static func isPlainStart(_ part: String.UnicodeScalarView) -> Bool {
        part.first.map { isPlain($0) && !("0"..."9").contains($0) && $0 != "$" } ?? false
    }

    /// For SQL: both parts quoted.
    package var quoted: String { "\(SQL.identifier(schema)).\(SQL.identifier(table))" }

    /// For people: quoted only where SQL needs it.
    package var description: String { "\(Self.readable(schema)).\(Self.readable(table))" }

    private static func readable(_ part: String) -> String {
        let scalars = part.unicodeScalars
        let isPlain = isPlainStart(scalars) && scalars.allSatisfy { Self.isPlain($0) && !("A"..."Z").contains($0) }
        return isPlain ? part : SQL.identifier(part)
    }
}

package enum TableNameError: Error, Hashable, Sendable, CustomStringConvertible {
    case schemaMissing
    case malformed
    case tooLong

    package var description: String {
        switch self {
        case .schemaMissing: "expected a name with its schema, such as public.mcp_sessions"
        case .malformed:
            "expected schema.table, such as public.mcp_sessions; a part with other characters than letters, digits "
                + "and _ stands in double quotes"
        case .tooLong: "a part of the name has more than 63 bytes"
        }
    }
}
