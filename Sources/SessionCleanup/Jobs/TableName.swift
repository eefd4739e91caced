import Postgres

/// A table's schema-qualified name.
package struct TableName: Hashable, Sendable, CustomStringConvertible {
    /// The names as the catalogs have them: unquoted, in their true case.
    package let schema: String
    package let table: String

    package static let sessions = TableName(schema: "public", table: "mcp_sessions")
}

extension TableName {
    /// Reads `schema.table` as SQL does: a part without quotes is folded to lower case and has only letters, digits,
    /// `_` and `$`; anything else stands in double quotes, and a double quote inside is doubled.
    ///
    /// - Throws: `TableNameError` for anything else, a name without a schema included: which table a bare name means
    ///   depends on the role's `search_path`.
    package init(parsing text: String) throws(TableNameError) {
        // Scalars, as the server reads it: a quote with a combining accent is one Character, unequal to a quote.
        var rest = text.unicodeScalars[...]
        var parts = [try Self.takePart(from: &rest)]
        while let separator = rest.popFirst() {
            guard separator == "." else { throw .malformed }
            parts.append(try Self.takePart(from: &rest))
        }
        guard parts.count == 2 else { throw parts.count == 1 ? .schemaMissing : .malformed }
        self.init(schema: parts[0], table: parts[1])
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
            while let character = rest.first, isPlain(character, isFirst: part.isEmpty) {
                part += rest.removeFirst().properties.lowercaseMapping.unicodeScalars
            }
        }
        guard !part.isEmpty else { throw .malformed }
        let name = String(part)
        // NAMEDATALEN - 1. The server would cut a longer name and look for another table.
        guard name.utf8.count <= 63 else { throw .tooLong }
        return name
    }

    private static func isPlain(_ character: Unicode.Scalar, isFirst: Bool) -> Bool {
        switch character {
        case "a"..."z", "A"..."Z", "_": true
        case "0"..."9", "$": !isFirst
        default: false
        }
    }

    /// For SQL: both parts quoted.
    package var quoted: String { "\(SQL.identifier(schema)).\(SQL.identifier(table))" }

    /// For people: quoted only where SQL needs it.
    package var description: String { "\(Self.readable(schema)).\(Self.readable(table))" }

    private static func readable(_ part: String) -> String {
        let isPlain = part.unicodeScalars.enumerated().allSatisfy { index, scalar in
            Self.isPlain(scalar, isFirst: index == 0) && !("A"..."Z").contains(scalar)
        }
        return isPlain && !part.isEmpty ? part : SQL.identifier(part)
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
