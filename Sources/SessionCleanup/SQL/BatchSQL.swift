import Postgres
import Time

/// The script that deletes one batch and accounts for it.
///
/// The application's triggers run in it, so it has the role's own search path, and every name of ours is qualified.
struct BatchSQL: Sendable {
    /// Which rows the batch may take.
    enum Rows: Sendable {
        /// Rows at these addresses, in the order of their tables: in one pass, which waits for rows that another
        /// transaction has locked, or else without the locked rows.
        case addresses(ArraySlice<RowAddress>, inOnePass: Bool)
        /// The due rows on some pages of one table, without those that another transaction has locked, at most `limit`.
        case unlocked(Range<Int>, limit: Int)
        /// All due rows on some pages of one table. Waits for rows that another transaction has locked, and fails with
        /// `division_by_zero` if there are more than `limit`.
        case all(Range<Int>, limit: Int)

        /// True if `division_by_zero` may be the statement's own. Otherwise the job's condition or a trigger divides.
        var failsIfTooMany: Bool {
            if case .all = self { true } else { false }
        }
    }

    /// The table to name: a table or partition by itself, or one with all its parts.
    let relation: Relation
    let rule: Rule
    let cutoff: UTCInstant
    let rows: Rows
    /// The columns of deleted rows to record in `mcp_cleanup.removed`; `nil` to record nothing.
    var recording: RemovedSQL.Recording?

    struct Relation: Hashable, Sendable {
        let name: TableName
        /// The table's OID where the statement names it alone (ONLY). Another table of that name by now loses no row.
        let alone: UInt32?
        /// The OID of the job's table, if this one is named alone and is a part of it, of whichever level. A part that is
        /// detached by the time of the batch, by itself or with the part above it, loses no row: it is kept elsewhere.
        var whole: UInt32?
        /// The unqualified name by which an operator's own condition calls the job's table, also where a partition is read.
        var alias: String?

        /// For LOCK TABLE.
        var named: String { alone == nil ? name.quoted : "ONLY \(name.quoted)" }
        /// For FROM.
        var sql: String { named + (alias.map { " AS \(SQL.identifier($0))" } ?? "") }
    }

    private var due: String { "(\(rule.predicate(cutoff: SearchSQL.literal(cutoff)))) IS TRUE" }

    /// The batch's statement: one row with `locked`, `deleted`, and the addresses of rows that were locked and are still
    /// there: a trigger or a rule kept them.
    ///
    /// The rule is checked on the row version that gets locked, and again where it is deleted: an address may hold another
    /// row by now. A row that an update moved meanwhile is locked at its new address, where this statement does not see it;
    /// it is neither deleted nor kept. Locks: FOR UPDATE on the rows that it deletes.
    /// - Parameter claim: the run that the rows are deleted and counted for; if another process owns it by now, nothing is
    ///   deleted.
    func statement(claim: RunClaim?) -> String {
        let held = claim.map { "held AS MATERIALIZED (\n\(HistorySQL.hold($0))\n), " } ?? ""
        let fence = (claim == nil ? "" : " AND EXISTS (SELECT FROM held)") + isStillPart
        let isHeld = claim == nil ? "" : ", (SELECT pg_catalog.count(*) FROM held) AS held"
        var account = claim.map { ", accounted AS (\n\(HistorySQL.account($0))\n)" } ?? ""
        if let claim, let recording { account += ", recorded AS (\n\(recording.insert(claim))\n)" }
        let returned = recording?.returned ?? ""
        if isOnePass {
            return """
                WITH \(held)deleted AS (
                    DELETE FROM \(relation.sql) WHERE \(search) AND \(due)\(fence) RETURNING tableoid\(returned)
                ), counted AS (SELECT pg_catalog.count(*) AS deleted FROM deleted)\(account)
                SELECT deleted AS locked, deleted, NULL AS kept_partitions, NULL AS kept_addresses\(isHeld)\(isWithinLimit)
                  FROM counted
                """
        }
        return """
            WITH \(held)locked AS MATERIALIZED (
                SELECT tableoid, ctid FROM \(relation.sql) WHERE \(search) AND \(due)\(fence)
                \(limit)FOR UPDATE SKIP LOCKED
            ), deleted AS (
                DELETE FROM \(relation.sql) WHERE \(isOne(of: "locked")) AND \(due)
                RETURNING tableoid, ctid\(returned)
            ), counted AS (
                SELECT (SELECT pg_catalog.count(*) FROM locked) AS locked
                     , (SELECT pg_catalog.count(*) FROM deleted) AS deleted
            ), unchanged AS (SELECT tableoid, ctid FROM locked EXCEPT SELECT tableoid, ctid FROM deleted), kept AS (
                SELECT tableoid, ctid FROM \(relation.sql)
                 WHERE (SELECT deleted OPERATOR(pg_catalog.<) locked FROM counted) AND \(isOne(of: "unchanged"))
            )\(account)
            SELECT locked, deleted
                 , (SELECT pg_catalog.array_agg(tableoid ORDER BY tableoid, ctid) FROM kept) AS kept_partitions
                 , (SELECT pg_catalog.array_agg(ctid ORDER BY tableoid, ctid) FROM kept) AS kept_addresses\(isHeld)
              FROM counted
            """
    }

    private var isOnePass: Bool {
        switch rows {
        case .addresses(_, let inOnePass): inOnePass
        case .all: true
        case .unlocked: false
        }
    }

    /// A DELETE has no LIMIT: the statement divides by zero if it deleted more rows.
    private var isWithinLimit: String {
        guard case .all(_, let limit) = rows else { return "" }
        return
            ", 1 OPERATOR(pg_catalog./) (CASE WHEN deleted OPERATOR(pg_catalog.>) \(limit) THEN 0 ELSE 1 END) AS fits"
    }

    private var isStillPart: String {
        guard let whole = relation.whole, let alone = relation.alone else { return "" }
        return """
             AND EXISTS (
                WITH RECURSIVE above AS (
                    SELECT \(alone)::pg_catalog.oid AS part
                     UNION
                    SELECT i.inhparent FROM pg_catalog.pg_inherits AS i
                      JOIN above ON i.inhrelid OPERATOR(pg_catalog.=) above.part WHERE NOT i.inhdetachpending
                ) SELECT FROM above WHERE part OPERATOR(pg_catalog.=) \(whole)::pg_catalog.oid)
            """
    }

    /// Where to look for the rows.
    private var search: String {
        switch rows {
        case .addresses(let addresses, _):
            let partitions = addresses.map { String($0.partition) }.joined(separator: ",")
            return isOne(
                of: """
                    ROWS FROM (pg_catalog.unnest('{\(partitions)}'::pg_catalog.oid[]),
                    pg_catalog.unnest(\(RowAddress.literal(addresses)))) AS given (tableoid, ctid)
                    """)
        case .unlocked(let pages, _), .all(let pages, _):
            return "\(isInRelation)\(SearchSQL.range(pages))"
        }
    }

    private var isInRelation: String {
        relation.alone.map { "tableoid OPERATOR(pg_catalog.=) \($0)::pg_catalog.oid AND " } ?? ""
    }

    private var limit: String {
        if case .unlocked(_, let limit) = rows { return "LIMIT \(limit) " }
        return ""
    }

    /// The condition that a row is one of those that `source` has by `tableoid` and `ctid`.
    ///
    /// `ARRAY(SELECT …)` makes the planner fetch these addresses; with a bare `ANY` it may walk an index over everything
    /// that is due. An address means a row only together with its table: over many parts both are compared with the whole list,
    /// since a condition for each part takes a multiple of the time to plan.
    private func isOne(of source: String) -> String {
        let isThere = "\(isInRelation)ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM \(source)))"
        guard relation.alone == nil else { return isThere }
        return isThere
            + " AND ROW(tableoid, ctid) OPERATOR(pg_catalog.=) ANY (SELECT tableoid, ctid FROM \(source) OFFSET 0)"
    }

    /// The cost of the whole script, with the commit, without the round trip, in microseconds; and the number after the
    /// highest one whose transaction has ended. Follows COMMIT in a message that arrived at `statement_timestamp()`.
    static let cost = """
        SELECT (extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp()) \
        OPERATOR(pg_catalog.*) 1000000)::bigint AS cost, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AS next
        """
}
