import Postgres

/// A condition on the rows of a table that an operator wrote: SQL over its columns, with the cutoff as `$1`.
///
/// It is put between parentheses into the statements of a run, and cannot leave them: what could end or comment them out
/// is refused here, and everything else is left to the server, which reads an expression there and nothing more.
package struct RowCondition: Hashable, Sendable {
    /// What stands before, between and after the cutoffs.
    private let parts: [String]
    /// What is called in it, as names for `Statements.volatileFunction`.
    let calls: [Call]

    struct Call: Hashable, Sendable {
        let schema: String?
        let name: String
    }

    /// The greatest length of a condition in bytes: far above what a person can read at a glance.
    private static let sizeLimit = 4096

    /// - Throws: `RowConditionError` for the first thing that is refused.
    package init(parsing text: String) throws(RowConditionError) {
        guard text.utf8.count <= Self.sizeLimit else { throw .tooLong(limit: Self.sizeLimit) }
        var lexer = ConditionLexer(text: text)
        try lexer.read()
        guard lexer.parts.count > 1 else { throw .cutoffMissing }
        parts = lexer.parts
        calls = lexer.calls
    }

    package var sql: String { sql(cutoff: "$1") }

    /// The condition with something else for the cutoff: a complete expression.
    func sql(cutoff: String) -> String { parts.joined(separator: cutoff) }
}

package enum RowConditionError: Error, Hashable, Sendable, CustomStringConvertible {
    case tooLong(limit: Int)
    case cutoffMissing
    case unbalanced(String)
    case unterminated(String)
    case refused(String, why: String)

    package var description: String {
        switch self {
        case .tooLong(let limit): "it is longer than \(limit) bytes"
        case .cutoffMissing: "it does not use $1, the cutoff"
        case .unbalanced(let bracket): "a \(bracket) has no counterpart"
        case .unterminated(let quote): "a \(quote) is not closed"
        case .refused(let found, let why): "\(found) cannot be used: \(why)"
        }
    }
}

/// Reads SQL as far as it takes to know where strings, names and brackets end: PostgreSQL manual, 4.1.
private struct ConditionLexer {
    private var rest: Substring.UnicodeScalarView
    private var open: [Unicode.Scalar] = []
    /// The name that has just been read, with its schema: a parenthesis would make it a call.
    private var name: [String] = []
    private var isAfterDot = false
    /// The text up to now, in pieces: the cutoff stands between them.
    private(set) var parts = [""]
    private(set) var calls: [RowCondition.Call] = []

    private static let partners: [Unicode.Scalar: Unicode.Scalar] = [")": "(", "]": "["]

    private let text: String
    /// Where the last of the pieces begins.
    private var start: String.Index

    init(text: String) {
        self.text = text
        start = text.startIndex
        rest = text.unicodeScalars[...]
    }

    mutating func read() throws(RowConditionError) {
        // Each turn takes something.
        while let scalar = rest.first {
            switch scalar {
            case " ", "\t", "\n", "\r", "\u{C}", "\u{B}": rest.removeFirst()
            case "'":
                _ = try quoted(by: "'")
                name = []
            case "\"": try append(try quoted(by: "\""))
            case "(", "[":
                if scalar == "(", let called = name.last {
                    calls.append(.init(schema: name.count > 1 ? name[name.count - 2] : nil, name: called))
                }
                open.append(scalar)
                take()
            case ")", "]":
                guard open.popLast() == Self.partners[scalar] else { throw .unbalanced(String(scalar)) }
                take()
            case ".":
                rest.removeFirst()
                isAfterDot = true
            case "$": try parameter()
            case "0"..."9": number()
            case "\0"..." ", "\\":
                throw .refused(scalar.escaped(asASCII: true), why: "it has no meaning in a condition")
            case ";": throw .refused(";", why: "a condition is one expression")
            case "-" where rest.dropFirst().first == "-": throw .refused("--", why: "comments belong into the file")
            case "/" where rest.dropFirst().first == "*": throw .refused("/*", why: "comments belong into the file")
            case _ where Self.beginsName(scalar): try word()
            default: take()
            }
        }
        if let bracket = open.last { throw .unbalanced(String(bracket)) }
        parts[parts.count - 1] = String(text.unicodeScalars[start...])
    }

    private mutating func take() {
        rest.removeFirst()
        name = []
        isAfterDot = false
    }

    private mutating func append(_ part: String) throws(RowConditionError) {
        // The server would cut it, and take another function.
        guard part.utf8.count <= 63 else { throw .refused(part, why: "a name has at most 63 bytes") }
        name = isAfterDot ? name + [part] : [part]
        isAfterDot = false
    }

    /// What stands between two quotes; a doubled one is one.
    private mutating func quoted(by quote: Unicode.Scalar) throws(RowConditionError) -> String {
        rest.removeFirst()
        var text = "".unicodeScalars
        while let scalar = rest.popFirst() {
            // Whether it means anything in a string depends on a setting of the session.
            if scalar == "\\" || scalar == "\0" {
                throw .refused("\\", why: "what it means in quotes depends on the server")
            }
            if scalar == quote {
                guard rest.first == quote else { return String(text) }
                rest.removeFirst()
            }
            text.append(scalar)
        }
        throw .unterminated(String(quote))
    }

    private mutating func parameter() throws(RowConditionError) {
        let piece = text.unicodeScalars[start..<rest.startIndex]
        rest.removeFirst()
        let digits = rest.prefix { ("0"..."9").contains($0) }
        rest.removeFirst(digits.count)
        guard String(digits) == "1", !(rest.first.map { Self.continuesName($0) } ?? false) else {
            throw .refused("$\(String(digits))", why: "$1, the cutoff, is the only parameter, and strings stand in '…'")
        }
        parts[parts.count - 1] = String(piece)
        parts.append("")
        start = rest.startIndex
        name = []
    }

    /// Digits and letters alike: `1e5`, `0x1F`.
    private mutating func number() {
        while let scalar = rest.first, Self.continuesName(scalar), scalar != "$" { rest.removeFirst() }
        name = []
    }

    private mutating func word() throws(RowConditionError) {
        var word = "".unicodeScalars
        while let scalar = rest.first, Self.continuesName(scalar) { word.append(rest.removeFirst()) }
        let text = String(word)
        if text.lowercased() == "u", rest.first == "&" {
            throw .refused("U&", why: "write the characters themselves")
        }
        if ["select", "table"].contains(text.lowercased()) {
            throw .refused(
                text, why: "a condition looks at the row alone; a view or a column can hold what else it needs")
        }
        // As the server folds it: ASCII only, in every locale.
        try append(
            String(
                // 32 after an upper-case letter of ASCII is the lower-case one.
                String.UnicodeScalarView(word.map { ("A"..."Z").contains($0) ? Unicode.Scalar($0.value + 32)! : $0 })))
    }

    private static func beginsName(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "_": true
        default: !scalar.isASCII
        }
    }

    private static func continuesName(_ scalar: Unicode.Scalar) -> Bool {
        beginsName(scalar) || ("0"..."9").contains(scalar) || scalar == "$"
    }
}
