/// Which rows of a table are due at a cutoff, and since when each of them is.
package struct Rule: Hashable, Sendable {
    /// A condition on the row that time does not change; SQL over its columns.
    package let candidates: String
    /// The `timestamptz` column whose age decides.
    package let column: String
    /// How far past the time in the column a row becomes due. In hours or less, never in days, whose length would
    /// depend on the session's time zone.
    package let after: Duration
    /// What an operator wrote instead of all that.
    package let condition: RowCondition?

    package init(candidates: String, column: String, after: Duration = .zero) {
        self.candidates = candidates
        self.column = column
        self.after = after
        condition = nil
    }

    /// The rows that meet a condition of the operator's own; since when each of them does is not known.
    package init(_ condition: RowCondition) {
        candidates = condition.sql
        column = "NULL::timestamptz"
        after = .zero
        self.condition = condition
    }

    /// The condition for a row to be due, over the row's columns, with the cutoff as `$1`. Exactly at the cutoff, a
    /// row is not due.
    package var predicate: String { predicate(cutoff: "$1") }

    /// The same with something else for the cutoff: a complete expression.
    func predicate(cutoff: String) -> String {
        if let condition { return condition.sql(cutoff: cutoff) }
        return after == .zero
            ? "\(column) < \(cutoff) AND \(candidates)"
            : "\(candidates) AND \(column) < \(cutoff) - \(interval)"
    }

    /// The condition for a row to become due later, with the cutoff as `$1`; of an operator's own condition it is not known.
    var pending: String {
        "\(candidates) AND \(column) >= $1\(after == .zero ? "" : " - \(interval)")"
    }

    /// SQL for the instant up to which the row is kept.
    package var dueSince: String {
        after == .zero ? column : "\(column) + \(interval)"
    }

    private var interval: String {
        let (seconds, attoseconds) = after.components
        // Rounded up to what the configuration can say: never due too early.
        let milliseconds = seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        if milliseconds.isMultiple(of: 3_600_000) { return "interval '\(milliseconds / 3_600_000) hours'" }
        return milliseconds.isMultiple(of: 1000)
            ? "interval '\(milliseconds / 1000) seconds'" : "interval '\(milliseconds) milliseconds'"
    }
}

/// The two shapes that the sessions table has had.
package enum SchemaGeneration: String, Hashable, Sendable, CaseIterable {
    /// `active BOOLEAN DEFAULT false`.
    case active
    /// `status TEXT CHECK (status IN ('pending', 'active'))`.
    case status
}

/// What `database.session-schema` may say.
package enum SessionSchema: String, Hashable, Sendable, CaseIterable {
    case auto, active, status

    /// The one generation that may be there; `nil` to look for it.
    package var generation: SchemaGeneration? { SchemaGeneration(rawValue: rawValue) }
}
