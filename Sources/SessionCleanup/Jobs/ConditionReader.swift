/// Scans the SQL of a condition only to find where strings, names and brackets end (PostgreSQL manual, 4.1), and which
/// tables the condition looks at by EXISTS.
///
/// The only query that it accepts is `SELECT [*|1] FROM schema.table [[AS] name], … [WHERE condition]`, right behind
/// `EXISTS (`. It refuses the word SELECT anywhere else.
struct ConditionReader {
    /// The text read so far, split at each cutoff (`$1`).
    private(set) var parts = [""]
    private(set) var calls: [RowCondition.Call] = []
    private(set) var tables: [TableName] = []

    private let text: String
    private var rest: Substring.UnicodeScalarView
    /// The index at which the last part begins.
    private var start: String.Index
    private var open: [Unicode.Scalar] = []
    /// For each query that is not closed yet, the number of brackets that were open at its WHERE.
    private var queries: [Int] = []
    private var last = Last()

    /// The token before this place.
    private struct Last {
        /// A name, its schema first: a parenthesis behind it would make it a call.
        var name: [String] = []
        /// A word without quotes that may be a keyword, as the server folds it.
        var keyword = ""
        /// True for a dot behind a name or a bracket: the name that follows is no keyword.
        var isDot = false
        /// True if a dot behind this token selects a part of it; otherwise the dot begins a number.
        var isOperand = false
    }

    private static let blanks: Set<Unicode.Scalar> = [" ", "\t", "\n", "\r", "\u{C}", "\u{B}"]
    /// The clauses that may follow a query's condition. All are reserved: without quotes or a dot, none is a name.
    private static let clauses: Set<String> = [
        "group", "having", "window", "union", "intersect", "except", "order", "limit", "offset", "fetch", "for",
    ]
    private static let form =
        "EXISTS takes (SELECT FROM schema.table AS name, … WHERE condition), and nothing else of a query"

    init(text: String) {
        (self.text, start, rest) = (text, text.startIndex, text.unicodeScalars[...])
    }

    mutating func read() throws(RowConditionError) {
        // Each turn takes something.
        while let scalar = peek() {
            let before = last
            last = Last()
            switch scalar {
            case "'": _ = try quoted(by: "'")
            case "\"": try append(try quoted(by: "\""), behind: before)
            case "(", "[":
                if scalar == "(", let called = before.name.last {
                    calls.append(.init(schema: before.name.dropLast().last, name: called))
                }
                open.append(rest.removeFirst())
                if scalar == "(", before.keyword == "exists" { try query() }
            case ")", "]":
                guard open.popLast() == (scalar == ")" ? "(" : "[") else { throw .unbalanced(String(scalar)) }
                if let depth = queries.last, depth > open.count { queries.removeLast() }
                rest.removeFirst()
                last.isOperand = true
            case ".":
                rest.removeFirst()
                if before.isOperand {
                    last = before
                    last.isDot = true
                }
            case "$": try parameter()
            case "0"..."9": try number()
            case "\0"..." ", "\\":
                throw .refused(scalar.escaped(asASCII: true), why: "it has no meaning in a condition")
            case ";": throw .refused(";", why: "a condition is one expression")
            case "-" where rest.dropFirst().first == "-": throw .refused("--", why: "comments belong into the file")
            case "/" where rest.dropFirst().first == "*": throw .refused("/*", why: "comments belong into the file")
            case _ where Self.beginsName(scalar): try word(behind: before)
            default: rest.removeFirst()
            }
        }
        if let bracket = open.last { throw .unbalanced(String(bracket)) }
        parts[parts.count - 1] = String(text.unicodeScalars[start...])
    }

    /// Skips blanks, and returns the scalar that follows; `nil` at the end.
    private mutating func peek() -> Unicode.Scalar? {
        rest = rest.drop(while: Self.blanks.contains)
        return rest.first
    }

    private mutating func append(_ part: String, keyword: String = "", behind before: Last) throws(RowConditionError) {
        // The server would truncate a longer name, and call another function.
        guard part.utf8.count <= 63 else { throw .refused(part, why: "a name has at most 63 bytes") }
        last = Last(name: [part], keyword: keyword, isOperand: true)
        if before.isDot { last = Last(name: before.name + [part], isOperand: true) }
    }

    /// Takes a quoted text, and returns what is between the quotes; a doubled quote counts as one.
    private mutating func quoted(by quote: Unicode.Scalar) throws(RowConditionError) -> String {
        rest.removeFirst()
        var text = "".unicodeScalars
        while let scalar = rest.popFirst() {
            // The meaning of a backslash in a string depends on the session: standard_conforming_strings.
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
        let digits = rest.dropFirst().prefix { ("0"..."9").contains($0) }
        rest = rest[digits.endIndex...]
        guard String(digits) == "1", rest.first.map(Self.continuesName) != true else {
            throw .refused("$\(String(digits))", why: "$1, the cutoff, is the only parameter, and strings stand in '…'")
        }
        parts[parts.count - 1] = String(piece)
        parts.append("")
        start = rest.startIndex
    }

    /// Takes a number with its letters: `1e5`, `0x1F`. Refuses `1LIMIT`, for PostgreSQL 14 a number and a word.
    private mutating func number() throws(RowConditionError) {
        let text = takeWord()
        let isDecimal = { (part: Substring) in part.allSatisfy { $0.isASCII && ($0.isNumber || $0 == "_") } }
        let halves = text.split(separator: "e", maxSplits: 1, omittingEmptySubsequences: false)
        let isSigned = rest.first == "+" || rest.first == "-"
        let isWhole =
            ["0x", "0o", "0b"].contains(text.prefix(2))
            ? text.dropFirst(2).allSatisfy { $0.isHexDigit || $0 == "_" }
            : isDecimal(halves[0]) && (halves.count == 1 || isDecimal(halves[1]) && !(halves[1].isEmpty && !isSigned))
        guard isWhole else { throw .refused(text, why: "a number ends before a letter") }
    }

    private mutating func word(behind before: Last) throws(RowConditionError) {
        let word = takeWord()
        if word == "u", rest.first == "&" { throw .refused("U&", why: "write the characters themselves") }
        if ["select", "table"].contains(word) {
            throw .refused(
                word, why: "a condition looks at other tables only by EXISTS (SELECT FROM schema.table WHERE …)")
        }
        if !before.isDot, queries.last == open.count, Self.clauses.contains(word) {
            throw .refused(word, why: Self.form)
        }
        try append(word, keyword: word, behind: before)
    }

    /// Takes a word and returns it in lower case, as the server folds it: only ASCII letters, in any locale.
    private mutating func takeWord() -> String {
        let word = rest.prefix(while: Self.continuesName)
        rest = rest[word.endIndex...]
        // An ASCII letter's lower case is 32 above its upper case, and so a scalar.
        let folded = word.map { ("A"..."Z").contains($0) ? Unicode.Scalar($0.value + 32)! : $0 }
        return String(String.UnicodeScalarView(folded))
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

    /// Takes the query of an EXISTS up to its WHERE, or to the parenthesis that closes it.
    private mutating func query() throws(RowConditionError) {
        guard takes("select") else { throw .refused("EXISTS", why: Self.form) }
        if let scalar = peek(), scalar == "*" || scalar == "1" { rest.removeFirst() }
        guard takes("from") else { throw .refused("SELECT", why: Self.form) }
        // Ends because each turn takes a table.
        repeat {
            let schema = try identifier()
            guard takes(".") else { throw .refused(schema, why: Self.form) }
            tables.append(TableName(schema: schema, table: try identifier()))
            if !isNext("where"), !isNext(","), !isNext(")") {
                _ = takes("as")
                _ = try identifier()
            }
        } while takes(",")
        if takes("where") {
            queries.append(open.count)
        } else if !isNext(")") {
            throw .refused(String(rest.prefix { $0 != " " }), why: Self.form)
        }
    }

    /// True if the next token is that word, or that character.
    private func isNext(_ token: String) -> Bool {
        var ahead = self
        return ahead.takes(token)
    }

    private mutating func takes(_ token: String) -> Bool {
        let before = rest
        guard let scalar = peek() else { return false }
        let found = Self.beginsName(scalar) ? takeWord() : String(rest.removeFirst())
        if found != token { rest = before }
        return found == token
    }

    private mutating func identifier() throws(RowConditionError) -> String {
        var name = ""
        if let scalar = peek(), scalar == "\"" || Self.beginsName(scalar) {
            name = scalar == "\"" ? try quoted(by: scalar) : takeWord()
        }
        guard !name.isEmpty, name.utf8.count <= 63 else {
            throw .refused(String(rest.prefix { $0 != " " }), why: Self.form)
        }
        return name
    }
}
