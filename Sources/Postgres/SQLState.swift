/// A five-character SQLSTATE: PostgreSQL manual, appendix A.
package struct SQLState: RawRepresentable, Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }
    package init(stringLiteral value: String) { rawValue = value }

    /// The first two characters, which name the kind of condition: `08` is a connection exception.
    package var conditionClass: String { String(rawValue.prefix(2)) }

    package var description: String { rawValue }
}

/// What the server says about an error or a notice.
package struct ServerMessage: Hashable, Sendable, CustomStringConvertible {
    /// `ERROR`, `FATAL`, `WARNING`, `NOTICE`, …: never localized.
    package var severity: String
    package var sqlState: SQLState
    /// The primary message, in the server's language.
    package var message: String
    package var detail: String?
    package var hint: String?
    /// Where it happened, as the server's call stack: present for triggers and foreign keys.
    package var context: String?
    package var table: String?
    package var constraint: String?
    package var statementIndex: Int?
    package var hasContext: Bool { context != nil }
    package struct Names: Hashable, Sendable { package var constraint: String? }
    package var names: Names { Names(constraint: constraint) }

    package init(
        severity: String = "ERROR", sqlState: SQLState, message: String, detail: String? = nil, hint: String? = nil,
        context: String? = nil, table: String? = nil, constraint: String? = nil
    ) {
        self.severity = severity
        self.sqlState = sqlState
        self.message = message
        self.detail = detail
        self.hint = hint
        self.context = context
        self.table = table
        self.constraint = constraint
    }

    package var description: String {
        var text = "\(message) (SQLSTATE \(sqlState))"
        if let detail { text += "; \(detail)" }
        return text
    }
}
