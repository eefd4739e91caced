import Postgres
import Time

/// The statements that look for due rows. They may contain the condition of an operator's own job and then run under the
/// role's search path, so every function, operator and type of ours is qualified.
enum SearchSQL {
    /// Seconds since the Unix epoch, with a fraction, or `Infinity`: no setting of the session changes the text, and no other
    /// schema's function or operator can be meant.
    static func seconds(_ time: String) -> String { "pg_catalog.extract('epoch'::pg_catalog.text, \(time))" }

    /// A time for SQL. `timestamp with time zone` is grammar; `timestamptz` would be looked up along the search path.
    static func literal(_ instant: UTCInstant) -> String { "timestamp with time zone '\(instant)'" }

    /// The last row of a search by age, behind which the next one continues.
    struct Key: Hashable, Sendable {
        /// The time in the rule's column as JSON text: exact, infinity included. `nil` for an own job's condition.
        let age: String?
        let row: RowAddress
    }

    /// Which end of the due rows a search by age begins at.
    enum Order: Hashable, Sendable {
        case oldestFirst, youngestFirst

        fileprivate var keyword: String { self == .oldestFirst ? "ASC" : "DESC" }
        fileprivate var comparison: String { "OPERATOR(pg_catalog.\(self == .oldestFirst ? ">" : "<"))" }
    }

    /// Returns the statement for the addresses of due rows in the order of their age, at most `limit` of them.
    ///
    /// Uses an index on the rule's column where there is one, and reads it as far as rows are due. Without ORDER BY the
    /// planner, which takes the rule's conditions for independent, may read a quarter of the table for a few rows.
    /// Takes no row locks.
    /// - Parameters:
    ///   - key: the row behind which to begin, in that order; the first row unless given.
    static func byAge(
        _ table: TableName, _ rule: Rule, cutoff: UTCInstant, order: Order = .oldestFirst, after key: Key? = nil,
        limit: Int
    ) -> String {
        let columns = (rule.condition == nil ? [rule.column] : []) + ["tableoid", "ctid"]
        let sort = columns.map { "\($0) \(order.keyword)" }.joined(separator: ", ")
        let last = ["age", "tableoid", "ctid"].map { "\($0) \(order == .oldestFirst ? "DESC" : "ASC")" }
        let range = key.map { "AND ROW(\(columns.joined(separator: ", "))) \(order.comparison) \(row($0, rule))" } ?? ""
        return """
            WITH found AS MATERIALIZED (
                SELECT tableoid, ctid, \(rule.column) AS age, \(rule.dueSince) AS due_since FROM \(rule.relation(table).sql)
                 WHERE (\(rule.predicate(cutoff: literal(cutoff)))) \(range)
                 ORDER BY \(sort) LIMIT \(limit)
            ), last AS (SELECT tableoid, ctid, age FROM found ORDER BY \(last.joined(separator: ", ")) LIMIT 1)
            SELECT found.tableoid AS partition, pg_catalog.array_agg(found.ctid ORDER BY found.ctid) AS addresses
                 , \(seconds("pg_catalog.min(found.due_since)")) AS oldest
                 , (SELECT tableoid FROM last) AS last_partition, (SELECT ctid FROM last) AS last_address
                 , (SELECT pg_catalog.to_json(age) OPERATOR(pg_catalog.#>>) '{}' FROM last) AS last_age
              FROM found GROUP BY found.tableoid ORDER BY found.tableoid
            """
    }

    /// Returns the statement for due rows, at most `limit` of them, in the order in which the server finds them fastest. If
    /// none is due and `record` wrote a row, it returns one row, with the number of that row in `recorded`.
    ///
    /// - Parameter record: a statement that writes a row of the history if the CTE `found` is empty, and returns its number.
    static func first(_ table: TableName, _ rule: Rule, cutoff: UTCInstant, limit: Int, record: String?) -> String {
        """
        WITH found AS MATERIALIZED (
            SELECT tableoid, ctid, \(rule.dueSince) AS due_since FROM \(rule.relation(table).sql)
             WHERE (\(rule.predicate(cutoff: literal(cutoff)))) LIMIT \(limit)
        )\(record.map { ", recorded AS (\n\($0)\n)" } ?? "")
        SELECT tableoid AS partition, ctid AS addresses, \(seconds("due_since")) AS oldest, NULL AS recorded FROM found
        \(record == nil ? "" : "UNION ALL SELECT NULL, NULL, NULL, run_id FROM recorded")
        """
    }

    private static func row(_ key: Key, _ rule: Rule) -> String {
        let age = rule.condition == nil ? ["timestamp with time zone \(SQL.literal(key.age ?? "-infinity"))"] : []
        return "ROW(\((age + ["\(key.row.partition)::pg_catalog.oid", key.row.literal]).joined(separator: ", ")))"
    }

    /// Returns the statement for the addresses of due rows of all of the table's parts, at most `limit`. Takes no row locks.
    ///
    /// - Parameter pages: the pages to read, by a TID range scan. `IS TRUE` keeps the planner from an index, whose
    ///   statistics may be from before the rows were due. `nil` for the rows that are cheapest to find.
    static func unordered(
        _ relation: BatchSQL.Relation, _ rule: Rule, cutoff: UTCInstant, on pages: Range<Int>?, limit: Int
    ) -> String {
        """
        SELECT found.tableoid AS partition, pg_catalog.array_agg(found.ctid ORDER BY found.ctid) AS addresses
             , \(seconds("pg_catalog.min(found.due_since)")) AS oldest
          FROM (SELECT tableoid, ctid, \(rule.dueSince) AS due_since FROM \(relation.sql)
                 WHERE (\(rule.predicate(cutoff: literal(cutoff))))\(pages.map { " IS TRUE AND \(range($0))" } ?? "")
                 LIMIT \(limit)) AS found
         GROUP BY found.tableoid ORDER BY found.tableoid
        """
    }

    /// The condition that a row is on one of the pages.
    static func range(_ pages: Range<Int>) -> String {
        "ctid OPERATOR(pg_catalog.>=) '(\(pages.lowerBound),0)'::pg_catalog.tid "
            + "AND ctid OPERATOR(pg_catalog.<) '(\(pages.upperBound),0)'::pg_catalog.tid"
    }

    /// Returns the statement for how many rows are on some pages of all of the table's parts, and how many are due.
    static func countOnPages(_ table: TableName, _ rule: Rule, cutoff: UTCInstant, _ pages: Range<Int>) -> String {
        """
        SELECT pg_catalog.count(*) AS total
             , pg_catalog.count(*) FILTER (WHERE \(rule.predicate(cutoff: literal(cutoff)))) AS due
          FROM \(rule.relation(table).sql) WHERE \(range(pages))
        """
    }

    /// Returns the statement for the number of due rows, and since when the oldest is due: a scan of what is due.
    static func countDue(_ table: TableName, _ rule: Rule, cutoff: UTCInstant) -> String {
        """
        SELECT pg_catalog.count(*) AS due, \(seconds("pg_catalog.min(\(rule.dueSince))")) AS oldest_due_at
          FROM \(rule.relation(table).sql) WHERE (\(rule.predicate(cutoff: literal(cutoff))))
        """
    }

    /// Returns the statement for when the oldest due row became due: it reads one index entry where there is an index
    /// on the rule's column.
    static func oldest(_ table: TableName, _ rule: Rule, cutoff: UTCInstant) -> String {
        """
        SELECT \(seconds(rule.dueSince)) AS oldest
          FROM (SELECT pg_catalog.min(\(rule.column)) AS \(rule.column) FROM \(rule.relation(table).sql)
                 WHERE (\(rule.predicate(cutoff: literal(cutoff))))) AS due
        """
    }

    /// Returns the statement for the time at which the first of the rows that are not due yet becomes due.
    static func firstPending(_ table: TableName, _ rule: Rule, cutoff: UTCInstant) -> String {
        """
        SELECT \(seconds("pg_catalog.min(\(rule.dueSince))")) AS due_at
          FROM \(table.quoted) WHERE (\(rule.pending(cutoff: literal(cutoff))))
        """
    }

    /// Numbers that show whether transactions that write are under way, for `SoleWriter`.
    static let transactions = """
        SELECT pg_snapshot_xmin(s) AS oldest, pg_snapshot_xmax(s) AS next FROM pg_current_snapshot() AS s
        """

    /// Returns the statement that shows how the server would look for due rows: one row with a JSON document.
    static func explain(_ table: TableName, _ rule: Rule, cutoff: UTCInstant) -> String {
        "EXPLAIN (FORMAT JSON) SELECT ctid FROM \(rule.relation(table).sql) "
            + "WHERE (\(rule.predicate(cutoff: literal(cutoff))))"
    }

    /// Returns the statement that takes an EXPLAIN document apart: the top node's type, and the first index of the plan.
    static func readPlan(_ document: String) -> String {
        """
        SELECT \(SQL.literal(document))::json #>> '{0,Plan,Node Type}' AS node
             , jsonb_path_query_first(\(SQL.literal(document))::jsonb, '$.**."Index Name"') #>> '{}' AS index
        """
    }
}
