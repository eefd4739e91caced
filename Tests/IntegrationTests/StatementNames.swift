/// The names and operators in a text of SQL, quoted strings and comments left out: everything that a search path decides
/// on, and more.
struct StatementNames: Equatable {
    /// Names of functions, types, relations and columns, and keywords.
    private(set) var identifiers: Set<String> = []
    private(set) var operators: Set<String> = []

    mutating func read(_ sql: String) {
        var rest = Substring(sql).unicodeScalars
        // Ends because each turn takes something.
        while let scalar = rest.first {
            switch scalar {
            case "'", "\"":
                rest.removeFirst()
                let text = rest.prefix { $0 != scalar }
                if scalar == "\"" { identifiers.insert(String(text)) }
                rest = rest.dropFirst(text.count + 1)
            case _ where Self.isLetter(scalar):
                let name = rest.prefix { Self.isLetter($0) || ("0"..."9").contains($0) }
                identifiers.insert(String(name).lowercased())
                rest = rest.dropFirst(name.count)
            case _ where Self.symbols.contains(scalar):
                let symbol = rest.prefix { Self.symbols.contains($0) }
                rest = rest.dropFirst(symbol.count)
                if symbol.starts(with: "--".unicodeScalars) {
                    rest = rest.drop { $0 != "\n" }
                } else {
                    operators.insert(String(symbol))
                }
            default: rest.removeFirst()
            }
        }
    }

    private static let symbols = Set("+-*/<>=~!@#%^&|`?".unicodeScalars)

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || scalar == "_"
    }
}
