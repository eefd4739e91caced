import Time

/// An error or a notice of the server, reduced to what may be shown.
///
/// A message can quote the values of rows, and the application's own code in the database can raise any SQLSTATE with any
/// text and any names. So DETAIL, HINT and CONTEXT are dropped here, and the primary message too unless `Condition` has
/// its code among those whose messages quote no values and no CONTEXT came with it.
package struct ServerMessage: Hashable, Sendable, CustomStringConvertible {
    package let severity: Severity
    package let sqlState: SQLState
    /// The primary message, in the server's language, on one line of at most `longestText` bytes; `nil` if it may not be
    /// shown.
    package let text: String?
    /// True if a CONTEXT came with the message: it was raised in a function, a trigger or a check of a foreign key.
    package let hasContext: Bool
    /// True if PL/pgSQL's RAISE made the message: its SQLSTATE is the application's choice.
    package let isRaised: Bool
    /// The objects that the message names, as they are in the catalog if they are in it. The application's code can choose
    /// them freely: show one only if the catalog has it. `description` shows none.
    package let names: Names
    /// For an error in a script, the index, from 0, of the statement that failed: as many results came before it. Else
    /// `nil`.
    package let statementIndex: Int?

    /// A message is cut to this: the server's own are far shorter, and it is stored, logged and shown on a page.
    package static let longestText = 1024
    /// A name is cut to this: four times NAMEDATALEN, the most that a name of the catalog has.
    static let longestName = 256

    /// Reduces a message to what may be shown.
    ///
    /// - Parameters:
    ///   - text: the primary message.
    ///   - isAtPosition: true if the message points at a character of our statement.
    package init(
        severity: Severity = .error, sqlState: SQLState, text: String, hasContext: Bool = false, isRaised: Bool = false,
        isAtPosition: Bool = false, names: Names = Names(), statementIndex: Int? = nil
    ) {
        self.severity = severity
        self.sqlState = sqlState.isWellFormed ? sqlState : "XX000"
        self.hasContext = hasContext
        self.isRaised = isRaised
        let mayBeShown =
            switch Condition.named(self.sqlState)?.text ?? .unused {
            case .shown: !hasContext
            case .login: !hasContext && severity == .fatal
            case .unquoted: !hasContext && !text.hasQuotation
            case .quoted: !hasContext && isAtPosition
            case .value, .name, .user, .unused: false
            }
        self.text = mayBeShown ? text.visible(upTo: Self.longestText) : nil
        self.names = names
        self.statementIndex = statementIndex
    }

    /// The message, or the condition's name where the message may not be shown, and the SQLSTATE.
    package var description: String {
        if let text { return "\(text) (SQLSTATE \(sqlState))" }
        let name = sqlState.conditionName.map { " (\($0))" } ?? ""
        return "SQLSTATE \(sqlState)\(name); the server's log has the message"
    }

    /// The severity: libpq's `PG_DIAG_SEVERITY_NONLOCALIZED`.
    package enum Severity: String, Hashable, Sendable {
        case panic = "PANIC"
        case fatal = "FATAL"
        case error = "ERROR"
        case warning = "WARNING"
        case notice = "NOTICE"
        case debug = "DEBUG"
        case info = "INFO"
        case log = "LOG"
    }

    /// The names of objects that came with a message, without those that it does not have.
    package struct Names: Hashable, Sendable {
        package let schema: String?
        package let table: String?
        package let column: String?
        package let dataType: String?
        package let constraint: String?

        package init(
            schema: String? = nil, table: String? = nil, column: String? = nil, dataType: String? = nil,
            constraint: String? = nil
        ) {
            self.schema = schema
            self.table = table
            self.column = column
            self.dataType = dataType
            self.constraint = constraint
        }
    }
}

extension SQLState {
    /// Five digits and capital letters, as the server and PL/pgSQL let a code be.
    fileprivate var isWellFormed: Bool {
        rawValue.utf8.count == 5 && rawValue.utf8.allSatisfy { (48...57).contains($0) || (65...90).contains($0) }
    }
}

extension String {
    /// True if the text has a quotation mark of any language that the server speaks.
    fileprivate var hasQuotation: Bool { unicodeScalars.contains { $0 == "\"" || $0.properties.isQuotationMark } }

    /// Returns the longest beginning of at most this many bytes, visible, with an ellipsis if something was cut.
    func visible(upTo bytes: Int) -> String {
        // Cut twice: not to work on a long text, and because U+FFFD may be longer than the character that it replaces.
        cut(to: bytes).visible.cut(to: bytes)
    }

    /// Returns the longest beginning of at most this many bytes, with an ellipsis if something was cut.
    func cut(to bytes: Int) -> String {
        guard utf8.count > bytes else { return self }
        var end = utf8.index(startIndex, offsetBy: bytes - "…".utf8.count)
        while end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return String(self[..<end]) + "…"
    }
}
