/// Reads SQL as far as it takes to know where strings, names and brackets end (PostgreSQL manual, 4.1), and which tables it
/// looks at by EXISTS.
///
/// Of a query it takes `SELECT FROM schema.table [AS name], … WHERE condition` and nothing else, only right behind
/// `EXISTS (`, and never the word SELECT elsewhere.
struct ConditionReader {
    /// The text up to now, in pieces: the cutoff stands between them.
    private(set) var parts = [""]
    private(set) var calls: [RowCondition.Call] = []
    private(set) var tables: [TableName] = []

    private let text: String
    private var rest: Substring.UnicodeScalarView
    /// Where the last of the pieces begins.
    private var start: String.Index
    private var open: [Unicode.Scalar] = []
    /// How many brackets were open at the WHERE of each query that is not closed yet.
    private var queries: [Int] = []
    private var last = Last()

    /// What the token before this place was.
    private struct Last {
        /// A name, with its schema: a parenthesis would make it a call.
        var name: [String] = []
        /// A word without quotes that may be a keyword, as the server folds it.
        var keyword = ""
        /// A dot behind a name or a bracket: a name follows that is no keyword.
        var isDot = false
        /// Something that a dot selects from; behind anything else a dot begins a number.
        var isOperand = false
    }

    private static let partners: [Unicode.Scalar: Unicode.Scalar] = [")": "(", "]": "["]
    /// What may follow a query's condition. All are reserved words, which name nothing without quotes or a dot.
    private static let clauses: Set<String> = [
        "group", "having", "window", "union", "intersect", "except", "order", "limit", "offset", "fetch", "for",
    ]
    private static let form =
        "EXISTS takes (SELECT FROM schema.table AS name, … WHERE condition), and nothing else of a query"

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
                last = Last()
            case "\"": try append(try quoted(by: "\""))
            case "(", "[":
                let isQuery = scalar == "(" && last.keyword == "exists"
                if scalar == "(", let called = last.name.last {
                    calls.append(
                        .init(schema: last.name.count > 1 ? last.name[last.name.count - 2] : nil, name: called))
                }
                open.append(scalar)
                take()
                if isQuery { try query() }
            case ")", "]":
                guard open.popLast() == Self.partners[scalar] else { throw .unbalanced(String(scalar)) }
                if let depth = queries.last, depth > open.count { queries.removeLast() }
                take()
                last.isOperand = true
            case ".":
                rest.removeFirst()
                if last.isOperand { last.isDot = true } else { last = Last() }
            case "$": try parameter()
            case "0"..."9": try number()
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
        last = Last()
    }

    // MARK: Tokens

    private mutating func append(_ part: String, keyword: String = "") throws(RowConditionError) {
        // The server would cut it, and take another function.
        guard part.utf8.count <= 63 else { throw .refused(part, why: "a name has at most 63 bytes") }
        let isPart = last.isDot
        last = Last(name: isPart ? last.name + [part] : [part], keyword: isPart ? "" : keyword, isOperand: true)
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
        last = Last()
    }

    /// Digits and letters alike: `1e5`, `0x1F`. PostgreSQL 14 reads `1LIMIT` as a number and a word.
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
        last = Last()
    }

    private mutating func word() throws(RowConditionError) {
        let word = takeWord()
        if word == "u", rest.first == "&" { throw .refused("U&", why: "write the characters themselves") }
        if ["select", "table"].contains(word) {
            throw .refused(
                word, why: "a condition looks at other tables only by EXISTS (SELECT FROM schema.table WHERE …)")
        }
        if !last.isDot, queries.last == open.count, Self.clauses.contains(word) {
            throw .refused(word, why: Self.form)
        }
        try append(word, keyword: word)
    }

    /// Takes a word as the server folds it: ASCII only, in any locale.
    private mutating func takeWord() -> String {
        var word = "".unicodeScalars
        while let scalar = rest.first, Self.continuesName(scalar) {
            // 32 after an upper-case letter of ASCII is the lower-case one.
            word.append(("A"..."Z").contains(scalar) ? Unicode.Scalar(scalar.value + 32)! : scalar)
            rest.removeFirst()
        }
        return String(word)
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

    // MARK: Queries

    /// Takes the query of an EXISTS up to its WHERE, or to the parenthesis that closes it.
    private mutating func query() throws(RowConditionError) {
        guard takes("select") else { throw .refused("EXISTS", why: Self.form) }
        skipBlanks()
        if rest.first == "*" || rest.first == "1" { rest.removeFirst() }
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
        last = Last()
    }

    private mutating func skipBlanks() {
        while let scalar = rest.first, [" ", "\t", "\n", "\r", "\u{C}", "\u{B}"].contains(scalar) { rest.removeFirst() }
    }

    /// True if the next token is that word, or that character.
    private func isNext(_ token: String) -> Bool {
        var ahead = self
        return ahead.takes(token)
    }

    private mutating func takes(_ token: String) -> Bool {
        let before = rest
        skipBlanks()
        guard let scalar = rest.first else { return false }
        if Self.beginsName(scalar) {
            if takeWord() == token { return true }
        } else if String(scalar) == token {
            rest.removeFirst()
            return true
        }
        rest = before
        return false
    }

    private mutating func identifier() throws(RowConditionError) -> String {
        skipBlanks()
        var name = ""
        if rest.first == "\"" {
            name = try quoted(by: "\"")
        } else if let scalar = rest.first, Self.beginsName(scalar) {
            name = takeWord()
        }
        guard !name.isEmpty, name.utf8.count <= 63 else {
            throw .refused(String(rest.prefix { $0 != " " }), why: Self.form)
        }
        return name
    }
}
