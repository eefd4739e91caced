import Postgres
import Time

/// Everything that a run needs to know of the table: made from a survey once nothing stands in the way.
struct Target: Sendable {
    let table: TableName
    var cutoff: UTCInstant
    let rule: Rule
    let survey: Survey
    /// The table, its partitions and its inheritance children. Empty until a run has something to delete, unless the
    /// table has children: one may be on another server.
    var parts: [Part]
    /// The tables without active row security that an own job's condition looks at by EXISTS.
    var others: [TableName] = []
    /// What batches record of the rows that they delete; `nil` for nothing.
    var recording: RemovedSQL.Recording?

    /// A table, partition or inheritance child.
    struct Part: Hashable, Sendable {
        let oid: UInt32
        let name: TableName
        /// `pg_class.relkind`.
        let kind: String
        /// The role may delete from it under its own name.
        let canDelete: Bool
        let hasRowSecurity: Bool
        /// A BEFORE DELETE trigger for each row may keep rows.
        let mayKeepRows: Bool
        /// A batch may add or change rows, by a DELETE trigger (but for a foreign key's that only deletes) or a trigger
        /// on the history; or the table is not of access method `heap`: its writers may take no transaction number.
        let mayBringRows: Bool

        /// Reads a row of `SurveySQL.parts`.
        init(_ row: QueryResult.Row) throws(PostgresError) {
            oid = UInt32(truncatingIfNeeded: try row.integer("oid"))
            name = TableName(schema: try row.text("schema"), table: try row.text("name"))
            kind = try row.text("kind")
            canDelete = try row.bool("can_delete")
            hasRowSecurity = try row.bool("has_row_security")
            mayKeepRows = try row.bool("may_keep_rows")
            mayBringRows = try row.bool("may_bring_rows")
        }
    }

    /// An own job's condition runs under the role's own search path.
    var path: Transaction.SearchPath { rule.condition == nil ? .catalog : .role }

    /// The tables of which row security must hide nothing, but for those with active policies that hide nothing: the
    /// server would refuse these too.
    var unfiltered: [TableName] { (survey.isRowSecurityActive ? [] : [table]) + others }

    /// True if batches may delete in one pass, which costs half or less of locking the rows first. It waits for locked
    /// rows, and does not show which rows a BEFORE DELETE trigger keeps; an own job's condition may look at other
    /// tables, which it would see as they were before the wait.
    var mayPassOnce: Bool { rule.condition == nil && !parts.contains(where: \.mayKeepRows) }

    /// Returns the relation that a statement for rows of a part names.
    ///
    /// A part named alone is planned without the others, but bypasses the statement triggers and the policies of its
    /// parent, and needs privileges of its own.
    func relation(of oid: UInt32) -> BatchSQL.Relation {
        guard let part = parts.first(where: { $0.oid == oid }), isNamedAlone(part) else {
            return rule.relation(table)
        }
        var relation = rule.relation(table, part)
        relation.whole = oid == survey.oid ? nil : survey.oid
        return relation
    }

    func isNamedAlone(_ part: Part) -> Bool {
        guard survey.hasChildren else { return true }
        guard let whole = parts.first(where: { $0.oid == survey.oid }) else { return false }
        return part.canDelete && whole.canDelete && !survey.isRowSecurityActive && !part.hasRowSecurity
            && !whole.mayKeepRows
    }
}
