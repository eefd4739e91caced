import Postgres

/// What deletes a batch and accounts for it. A script, so all values in it are SQL text.
struct BatchStatement {
    enum Rows {
        /// The rows at these addresses (a `tid[]`) of one table or partition.
        case addresses(String, partition: String)
        /// The first due rows, up to a limit, on the pages from one address up to but without another. For a table
        /// without parts.
        case pages(from: String, upTo: String, limit: String)

        init(_ addresses: RowAddresses, _ range: Range<Int>) {
            self = .addresses(
                "'\(addresses.literal(range))'::tid[]", partition: "\(addresses.partition)::oid")
        }

        init(on pages: Range<Int>, limit: Int) {
            self = .pages(
                from: "'(\(pages.lowerBound),0)'::tid", upTo: "'(\(pages.upperBound),0)'::tid", limit: "\(limit)")
        }
    }

    let table: TableName
    let rule: Rule
    let cutoff: String
    let rows: Rows

    /// What to look at, and what has to be said with an address to delete what is there.
    private var scope: (search: String, deletion: String) {
        switch rows {
        // `ARRAY(SELECT …)` keeps the planner at fetching these addresses; with a bare `ANY` it may walk an index over
        // everything that is due.
        case .addresses(let addresses, let partition):
            (
                "tableoid = \(partition) AND ctid = ANY (ARRAY(SELECT unnest(\(addresses))))",
                "tableoid = \(partition) AND "
            )
        case .pages(let first, let end, _): ("ctid >= \(first) AND ctid < \(end)", "")
        }
    }

    private var due: String { "(\(rule.predicate(cutoff: cutoff))) IS TRUE" }

    /// The part that locks and deletes.
    ///
    /// An address may hold another row by now, or the same one refreshed: so the rule is checked again on the version
    /// that gets locked, and once more where it is deleted. A row that an update moved while it was being locked is locked
    /// at its new address, where this statement does not see it: it is neither deleted nor kept.
    ///
    /// `IS TRUE` keeps the planner from the indexes. What it knows of the table may be from before the rows were due: an
    /// index would then look shorter than the few pages, and be walked from end to end for each batch.
    /// - Parameter condition: what has to hold for anything to be locked.
    func lockAndDelete(if condition: String? = nil) -> String {
        let (search, deletion) = scope
        var limit = ""
        if case .pages(_, _, let most) = rows { limit = "LIMIT \(most) " }
        return """
            WITH locked AS MATERIALIZED (
                SELECT ctid FROM \(table.quoted)
                 WHERE \(search) AND \(due)\(condition.map { " AND \($0)" } ?? "")
                 \(limit)FOR UPDATE SKIP LOCKED
            ), deleted AS (
                DELETE FROM \(table.quoted)
                 WHERE \(deletion)ctid = ANY (ARRAY(SELECT ctid FROM locked)) AND \(due)
                RETURNING ctid
            )
            """
    }

    /// The whole batch, without the transaction's beginning; `sql` comes before the last of its statements.
    func script(claim: RunClaim?, skipped: Int) -> String {
        "\(claim.map(HistoryStatements.hold) ?? "") \(sql(claim: claim, skipped: skipped)); COMMIT"
    }

    /// One row: how many rows are `due` and since when (`oldest`), how many were `locked` and `deleted`, how many are left
    /// that others hold (`held`), how many we hold and something keeps (`kept`), and for how long the server has been at the
    /// script (`work`, in microseconds).
    ///
    /// - Parameters:
    ///   - claim: what the rows are deleted and counted for, and nothing is if it is not ours any more.
    ///   - skipped: what was held by others in the batches before.
    private func sql(claim: RunClaim?, skipped: Int) -> String {
        let (search, deletion) = scope
        var held = "due - locked"
        // What it may not take is not held: the pages are looked at again.
        if case .pages(_, _, let most) = rows { held = "CASE WHEN locked < \(most) THEN due - locked ELSE 0 END" }
        return """
            \(lockAndDelete(if: claim.map(HistoryStatements.isOurs))), counted AS (
                SELECT count(*) AS due, min(\(rule.dueSince)) AS oldest
                     , (SELECT count(*) FROM locked) AS locked, (SELECT count(*) FROM deleted) AS deleted
                  FROM \(table.quoted) WHERE \(search) AND \(due)
            )\(claim.map { ", accounted AS (\n\(HistoryStatements.account($0, held: held, skipped: skipped))\n)" } ?? "")
            SELECT due, \(Statements.utc("oldest")) AS oldest, locked, deleted, \(held) AS held
                 , CASE WHEN deleted < locked THEN (
                       SELECT count(*) FROM \(table.quoted)
                        WHERE \(deletion)ctid = ANY (ARRAY(SELECT ctid FROM locked EXCEPT SELECT ctid FROM deleted))
                   ) ELSE 0 END AS kept
                 , (extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000)::bigint AS work
              FROM counted
            """
    }
}
