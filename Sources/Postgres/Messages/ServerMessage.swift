import CLibpq
import Glibc
import Time

/// An error or a notice of the server, reduced to what may be shown.
///
/// A message can quote the values of rows, and the application's own code in the database can raise any SQLSTATE with
/// any text and any names. So DETAIL, HINT and CONTEXT are dropped here. The primary message is kept only if no CONTEXT
/// came with it and `Condition` lists its code as one whose messages quote no values.
package struct ServerMessage: Hashable, Sendable, CustomStringConvertible {
    package let severity: Severity
    package let sqlState: SQLState
    /// The primary message on one line, cut to `longestText`; `nil` if it may not be shown.
    package let text: String?
    /// True if a CONTEXT came with the message: it was raised in a function, a trigger or a check of a foreign key.
    package let hasContext: Bool
    /// True if PL/pgSQL's RAISE made the message: its SQLSTATE is the application's choice.
    package private(set) var isRaised = false
    /// The objects that the message names, if it does. The application's code can choose them freely: show one only if
    /// the catalog has it. `description` shows none.
    package internal(set) var table: String?
    package internal(set) var constraint: String?
    /// For an error in a script, the index, from 0, of the statement that failed.
    package private(set) var statementIndex: Int?

    /// In bytes: the server's own messages are far shorter, and the text is stored, logged and shown on a page.
    package static let longestText = 1024
    /// In bytes: four times NAMEDATALEN, the most that a name of the catalog has.
    private static let longestName = 256

    /// The values of libpq's `PG_DIAG_SEVERITY_NONLOCALIZED`, here in lower case.
    package enum Severity: String, Hashable, Sendable {
        case panic, fatal, error, warning, notice, debug, info, log
    }

    /// - Parameter isAtPosition: true if the message points at a character of our statement.
    package init(
        severity: Severity = .error, sqlState: SQLState, text: String, hasContext: Bool = false,
        isAtPosition: Bool = false
    ) {
        self.severity = severity
        self.sqlState = sqlState.isWellFormed ? sqlState : "XX000"
        self.hasContext = hasContext
        let mayBeShown =
            switch Condition.all[self.sqlState]?.text ?? .hidden {
            case .shown: true
            case .login: severity == .fatal
            // Quotation marks of any language: the server may translate its messages.
            case .unquoted: !text.unicodeScalars.contains { $0 == "\"" || $0.properties.isQuotationMark }
            case .quoted: isAtPosition
            case .hidden: false
            }
        // Cut twice: first to save work on a long text, then because U+FFFD may be longer than what it replaces.
        let shown = text.cut(to: Self.longestText).visible.cut(to: Self.longestText)
        self.text = mayBeShown && !hasContext ? shown : nil
    }

    /// Reads the message of an error or notice result; `nil` when it has no SQLSTATE, that is when no server made it.
    /// - Parameter secrets: passwords, none of which is repeated.
    init?(_ raw: OpaquePointer, statementIndex: Int?, secrets: [String]) {
        // PG_DIAG_… of postgres_ext.h, which are character constants that Swift does not import. One byte more than the
        // bound is copied, so that a field that is too long is recognized.
        func field(_ code: Unicode.Scalar, upTo bytes: Int, hiding secrets: [String] = []) -> String? {
            PQresultErrorField(raw, Int32(code.value)).map {
                String(beginningOf: $0, upTo: bytes + 1, hiding: secrets)
            }
        }
        func name(_ code: Unicode.Scalar) -> String? {
            field(code, upTo: Self.longestName, hiding: secrets)?.cut(to: Self.longestName)
        }
        guard let state = field("C", upTo: 5) else { return nil }
        self.init(
            severity: field("V", upTo: 16).flatMap { Severity(rawValue: $0.lowercased()) } ?? .error,
            sqlState: SQLState(rawValue: state), text: field("M", upTo: Self.longestText, hiding: secrets) ?? "",
            hasContext: field("W", upTo: 0) != nil, isAtPosition: field("P", upTo: 0) != nil)
        isRaised = field("R", upTo: Self.longestName) == "exec_stmt_raise"
        (table, constraint, self.statementIndex) = (name("t"), name("n"), statementIndex)
    }

    /// The message, or the condition's name where the message may not be shown, and the SQLSTATE.
    package var description: String {
        if let text { return "\(text) (SQLSTATE \(sqlState))" }
        let name = Condition.all[sqlState].map { " (\($0.name))" } ?? ""
        return "SQLSTATE \(sqlState)\(name); the server's log has the message"
    }
}

extension String {
    /// Copies the beginning of a NUL-terminated text, without passwords, and without the beginning of a password that
    /// the bound cuts in two. The bound is exact only for a text that has none of the passwords.
    init(beginningOf text: UnsafePointer<CChar>, upTo bytes: Int, hiding secrets: [String]) {
        let longest = secrets.map(\.utf8.count).max() ?? 0
        let count = strnlen(text, bytes + longest)
        // `count` bytes before the NUL; copied at once.
        let copy = String(decoding: UnsafeRawBufferPointer(start: text, count: count), as: UTF8.self).hiding(secrets)
        let isCut = count == bytes + longest
        self = isCut ? String(decoding: copy.utf8.dropLast(longest), as: UTF8.self) : copy
    }

    /// Returns the longest beginning of at most this many bytes, with an ellipsis if something was cut.
    fileprivate func cut(to bytes: Int) -> String {
        guard utf8.count > bytes else { return self }
        var end = utf8.index(startIndex, offsetBy: bytes - "…".utf8.count)
        while end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return String(self[..<end]) + "…"
    }
}
