import Time

/// Which rows of a table are due at a cutoff, and since when each of them is.
package struct Rule: Hashable, Sendable {
    /// A condition on the row that time does not change; SQL over its columns.
    var candidates: String
    /// The `timestamptz` column whose age decides.
    let column: String
    /// A row becomes due this long after the time in the column.
    package var after = Duration.zero
    /// An operator's condition, which replaces all of the above; `nil` for a built-in job.
    package fileprivate(set) var condition: RowCondition?

    /// The condition for a row to be due, with the cutoff as `$1`, as documents show it. A row exactly at the cutoff is not due.
    package var predicate: String {
        if let condition { return condition.sql }
        return after == .zero ? "\(column) < $1 AND \(candidates)" : "\(candidates) AND \(column) < $1 - \(interval)"
    }

    /// The same for a statement under any search path, with a complete expression for the cutoff.
    func predicate(cutoff: String) -> String {
        if let condition { return condition.sql(cutoff: cutoff) }
        return "\(column) OPERATOR(pg_catalog.<) \(limit(cutoff)) AND \(qualifiedCandidates)"
    }

    /// The relation for a statement with this rule: the job's table, or one part of it alone.
    func relation(_ table: TableName, _ part: Target.Part? = nil) -> BatchSQL.Relation {
        BatchSQL.Relation(
            name: part?.name ?? table, alone: part?.oid, alias: condition == nil ? nil : table.table)
    }

    /// The condition for a row to become due later. For an operator's condition there is none.
    func pending(cutoff: String) -> String {
        "\(qualifiedCandidates) AND \(column) OPERATOR(pg_catalog.>=) \(limit(cutoff))"
    }

    /// SQL for the first time that is not due. In parentheses: all OPERATOR(…) have the same precedence.
    private func limit(_ cutoff: String) -> String {
        after == .zero ? "(\(cutoff))" : "((\(cutoff)) OPERATOR(pg_catalog.-) \(interval))"
    }

    /// SQL for the instant up to which the row is kept, under any search path. A time after the year 9999 counts as
    /// that year's last day: adding to a time near the server's maximum would be an error.
    var dueSince: String {
        guard after != .zero else { return column }
        let time = "LEAST(\(column), timestamp with time zone '9999-12-31 00:00:00+00')"
        return "\(time) OPERATOR(pg_catalog.+) \(interval)"
    }

    /// SQL for the rows that the job may ever remove, under any search path: each operator means pg_catalog's.
    var qualifiedCandidates: String {
        // The text is the program's own: its operators stand between blanks, and in no string.
        candidates.split(separator: " ").map { word in
            ["=", "<>"].contains(word) ? "OPERATOR(pg_catalog.\(word))" : String(word)
        }.joined(separator: " ")
    }

    /// `after` in SQL, rounded up to whole milliseconds, the configuration's smallest unit: no row is due too early.
    private var interval: String { (after + .nanoseconds(999_999)).interval }
}

extension Duration {
    /// SQL for the whole milliseconds of it, in hours or seconds: never in days, whose length depends on the session's time
    /// zone, nor in milliseconds, since PostgreSQL 14 reads a number in an interval into 32 bits.
    var interval: String {
        let milliseconds = wholeMilliseconds
        if milliseconds.isMultiple(of: 3_600_000) { return "interval '\(milliseconds / 3_600_000) hours'" }
        let fraction = milliseconds.isMultiple(of: 1000) ? "" : ".\(String(1000 + milliseconds % 1000).dropFirst())"
        return "interval '\(milliseconds / 1000)\(fraction) seconds'"
    }
}

extension Rule {
    /// The rows that meet a condition of the operator's own; since when each of them does is not known.
    package init(_ condition: RowCondition) {
        self.init(candidates: condition.sql, column: "NULL::timestamp with time zone")
        self.condition = condition
    }
}

/// The two shapes that the sessions table has had.
package enum SchemaGeneration: String, Hashable, Sendable, CaseIterable {
    /// `active BOOLEAN DEFAULT false`.
    case active
    /// `status TEXT CHECK (status IN ('pending', 'active'))`.
    case status
}

/// The values of `database.session-schema`.
package enum SessionSchema: String, Hashable, Sendable, CaseIterable {
    case auto, active, status

    /// The generation that the table must have; `nil` to detect it.
    package var generation: SchemaGeneration? { SchemaGeneration(rawValue: rawValue) }
}
