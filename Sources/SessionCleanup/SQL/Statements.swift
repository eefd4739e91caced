import Postgres

/// Every statement that is sent to the database.
enum Statements {
    /// A time as ISO 8601 in UTC without its `Z`, whatever the session's `DateStyle` and `TimeZone`.
    static func utc(_ expression: String) -> String {
        "to_json((\(expression)) AT TIME ZONE 'UTC') #>> '{}'"
    }

    /// Starts a transaction that the server itself ends when it takes too long, or when we fall silent in it.
    ///
    /// Isolation and access mode are said explicitly: under a role's default of repeatable read, SKIP LOCKED would
    /// fail with 40001. SET LOCAL is the only kind of setting that a transaction pooler keeps apart.
    /// - Parameters:
    ///   - limit: for each statement and each silence; at least a millisecond.
    ///   - lockLimit: for each lock. Half of the statement's unless said otherwise, so that the server names the lock
    ///     as the cause before it ends the statement for its length.
    static func begin(isReadOnly: Bool = false, limit: Duration, lockLimit: Duration? = nil) -> String {
        """
        BEGIN ISOLATION LEVEL READ COMMITTED \(isReadOnly ? "READ ONLY" : "READ WRITE");
        SET LOCAL statement_timeout = \(milliseconds(limit));
        SET LOCAL lock_timeout = \(milliseconds(lockLimit ?? limit / 2));
        SET LOCAL idle_in_transaction_session_timeout = \(milliseconds(limit));
        """
    }

    /// Makes it an error if row security applies to us on the table, and locks the table so that it cannot from then on:
    /// three statements at a transaction's beginning, for a table where it is not active and must not become so in
    /// silence. Where it is active, with policies that hide nothing, this would refuse those too.
    ///
    /// The setting holds for the one statement that reads nothing: a trigger of the application may well write to another
    /// table, whose policies admit it.
    static func refuseFilters(of table: TableName) -> String {
        "SET LOCAL row_security = off; SELECT FROM ONLY \(table.quoted) LIMIT 0; SET LOCAL row_security TO DEFAULT;"
    }

    /// Never 0, which means no limit.
    private static func milliseconds(_ limit: Duration) -> Int64 {
        max(1, limit.components.seconds * 1000 + limit.components.attoseconds / 1_000_000_000_000_000)
    }

    /// The columns that decide anything.
    static let columnsOfInterest = ["active", "status", "expires_at", "updated_at"]

    /// One row about the server itself, with the clock that a run is judged by. Each run begins with it: it looks into no
    /// table, so that there is next to nothing to plan.
    static let server = """
        SELECT \(utc("now()")) AS clock
             , current_setting('server_version_num') AS server_version
             , pg_is_in_recovery() AS is_in_recovery
             , current_user AS role
        """

    /// One row about the table, the history's and what our role may do with them: see `Inspection`. Reads catalogs only.
    static func inspect(_ table: TableName) -> String {
        let types = columnsOfInterest.map { column in
            """
            , (SELECT format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attname = '\(column)' AND a.attnum > 0 AND NOT a.attisdropped)
              AS type_of_\(column)
            """
        }.joined()
        return """
            SELECT c.relkind AS kind
                 , c.relkind = 'p' OR c.relhassubclass AS has_children
                 , has_schema_privilege(n.oid, 'USAGE') AS can_use_schema
                 , has_table_privilege(c.oid, 'SELECT') AS can_select
                 , has_table_privilege(c.oid, 'UPDATE') OR has_any_column_privilege(c.oid, 'UPDATE') AS can_update
                 , has_table_privilege(c.oid, 'DELETE') AS can_delete
                 , row_security_active(c.oid) AS is_row_security_active
            \(types)
                 , h.oid IS NOT NULL AS has_history
                 , has_schema_privilege(h.relnamespace, 'USAGE') AS can_use_history_schema
                 , has_table_privilege(h.oid, 'SELECT') AS can_select_history
                 , has_table_privilege(h.oid, 'INSERT') AS can_insert_history
                 , has_table_privilege(h.oid, 'UPDATE') AS can_update_history
                 , has_table_privilege(h.oid, 'DELETE') AS can_delete_history
                 , row_security_active(h.oid) AS is_history_row_security_active
              FROM (SELECT) AS one
              LEFT JOIN (pg_catalog.pg_class AS h JOIN pg_catalog.pg_namespace AS hn ON hn.oid = h.relnamespace)
                ON hn.nspname = 'mcp_cleanup' AND h.relname = 'runs'
              LEFT JOIN (pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace)
                ON n.nspname = \(SQL.literal(table.schema)) AND c.relname = \(SQL.literal(table.table))
               AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            """
    }

    /// The columns and the valid unique indexes of the history's table, which has to be there: one row, for
    /// `HistoryTable`. Apart from `inspect`, since to plan this takes longer than the rest that it asks of the history.
    static let inspectHistory = """
        SELECT (SELECT string_agg(a.attname || E'\\t' || format_type(a.atttypid, NULL), E'\\n')
                  FROM pg_catalog.pg_attribute AS a
                 WHERE a.attrelid = 'mcp_cleanup.runs'::regclass AND a.attnum > 0 AND NOT a.attisdropped) AS columns
             , (SELECT string_agg(pg_get_indexdef(i.indexrelid), E'\\n') FROM pg_catalog.pg_index AS i
                 WHERE i.indrelid = 'mcp_cleanup.runs'::regclass AND i.indisunique AND i.indisvalid) AS indexes
        """

    /// A foreign table among the table's partitions and heirs, if there is one. Its rows' addresses mean nothing here.
    static func foreignDescendant(of table: TableName) -> String {
        """
        \(tree(of: table))
        SELECT min(c.oid::regclass::text) AS name
          FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.relation WHERE c.relkind = 'f'
        """
    }

    /// The policies of a table that apply to our role: see `RowSecurity`.
    static func policies(of table: TableName) -> String {
        """
        SELECT p.polname AS name, p.polcmd AS command, p.polpermissive AS is_permissive
             , pg_get_expr(p.polqual, p.polrelid) AS condition
          FROM pg_catalog.pg_policy AS p
         WHERE p.polrelid = \(SQL.literal(table.quoted))::regclass AND p.polcmd <> 'a'
           AND EXISTS (SELECT FROM unnest(p.polroles) AS r (oid)
                        WHERE r.oid = 0 OR pg_has_role(current_user, r.oid, 'USAGE'))
         ORDER BY p.polname
        """
    }

    /// The addresses of the rows that have been due longest, and since when: `$1` is the cutoff, `$2` the most to return.
    ///
    /// In this order a server with an index on the rule's column uses it. Left to itself it may believe, since it takes a
    /// rule's parts for independent, that a quarter of the table is due, and read all of that for a handful of rows.
    static func searchOldest(_ table: TableName, rule: Rule) -> String {
        search(table, rule: rule, "", "ORDER BY \(rule.column) LIMIT $2")
    }

    /// The addresses of due rows on the pages from one address (`$2`) up to but without another (`$3`), in all of the
    /// table's parts, `$4` of them at the most.
    static func searchPages(_ table: TableName, rule: Rule) -> String {
        search(table, rule: rule, "IS TRUE AND ctid >= $2 AND ctid < $3", "LIMIT $4")
    }

    private static func search(_ table: TableName, rule: Rule, _ range: String, _ order: String) -> String {
        """
        SELECT found.tableoid AS partition, array_agg(found.ctid ORDER BY found.ctid) AS addresses
             , \(utc("min(found.due_since)")) AS oldest
          FROM (SELECT tableoid, ctid, \(rule.dueSince) AS due_since FROM \(table.quoted)
                 WHERE (\(rule.predicate)) \(range)
                 \(order)) AS found
         GROUP BY found.tableoid ORDER BY found.tableoid
        """
    }

    /// How many rows there are on the pages from one address (`$2`) up to but without another (`$3`), and how many of
    /// them are due.
    static func countPages(_ table: TableName, rule: Rule) -> String {
        """
        SELECT count(*) AS total, count(*) FILTER (WHERE \(rule.predicate)) AS due
          FROM \(table.quoted) WHERE ctid >= $2 AND ctid < $3
        """
    }

    /// A function among these that may answer otherwise each time it is asked, if there is one. Which of several functions
    /// of one name is meant, only their arguments would tell: one that is volatile is enough.
    static func volatileFunction(of calls: [RowCondition.Call]) -> String {
        let names = calls.map { call in
            "(\(call.schema.map(SQL.literal) ?? "NULL"), \(SQL.literal(call.name)))"
        }
        return """
            SELECT min(p.oid::regproc::text) AS name
              FROM (VALUES \(names.joined(separator: ", "))) AS called (schema, name)
              JOIN pg_catalog.pg_proc AS p ON p.proname = called.name
              JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
             WHERE p.provolatile = 'v'
               AND CASE WHEN called.schema IS NULL THEN pg_function_is_visible(p.oid) ELSE n.nspname = called.schema END
            """
    }

    /// How many pages the table has, or the largest of its parts.
    static func pageCount(of table: TableName) -> String {
        """
        \(tree(of: table))
        SELECT coalesce(max(pg_relation_size(relation) / current_setting('block_size')::bigint), 0) AS pages FROM tree
        """
    }

    /// A table with all its partitions and heirs.
    private static func tree(of table: TableName) -> String {
        """
        WITH RECURSIVE tree AS (
            SELECT \(SQL.literal(table.quoted))::regclass::oid AS relation
             UNION
            SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.relation
        )
        """
    }

    /// How many rows are due, and since when the oldest of them: `$1` is the cutoff.
    static func countDue(in table: TableName, rule: Rule) -> String {
        """
        SELECT count(*) AS due, \(utc("min(\(rule.dueSince))")) AS oldest_due_at
          FROM \(table.quoted) WHERE (\(rule.predicate))
        """
    }

    /// When the first of the rows that are not due yet will be: `$1` is the cutoff.
    static func firstPending(in table: TableName, rule: Rule) -> String {
        "SELECT \(utc("min(\(rule.dueSince))")) AS due_at FROM \(table.quoted) WHERE (\(rule.pending))"
    }

    /// How the server would look for due rows: `$1` is the cutoff. One row with a JSON document.
    static func explainSearch(of table: TableName, rule: Rule) -> String {
        "EXPLAIN (FORMAT JSON) SELECT ctid FROM \(table.quoted) WHERE (\(rule.predicate))"
    }

    /// Takes an EXPLAIN document (`$1`) apart: the top node's type, and the first index that the plan names.
    static let readPlan = """
        SELECT $1::json #>> '{0,Plan,Node Type}' AS node
             , jsonb_path_query_first($1::jsonb, '$.**."Index Name"') #>> '{}' AS index
        """

    /// A user's sessions (`$1`), without any credential, and until when each of them is kept.
    static func sessions(of table: TableName, transient: Rule, dormant: Rule) -> String {
        // The first time that has a name stands for all before it: they are as much in the past.
        let first = "timestamptz '0001-01-01 00:00:00+00'"
        return """
            SELECT s.*
                 , \(utc("CASE WHEN s.due_since < \(first) THEN \(first) ELSE s.due_since END")) AS kept_until
              FROM (SELECT session_id, server_id, server_name
                         , \(utc("created_at")) AS created, \(utc("updated_at")) AS updated, \(utc("expires_at")) AS expires
                         , coalesce(\(dormant.candidates), false) AS is_active
                         , coalesce(\(dormant.candidates), false) OR coalesce(\(transient.candidates), false) AS is_removable
                         , CASE WHEN \(dormant.candidates) THEN \(dormant.dueSince)
                                WHEN \(transient.candidates) THEN \(transient.dueSince) END AS due_since
                      FROM \(table.quoted) WHERE user_id = $1) AS s
             ORDER BY s.created, s.session_id
            """
    }
}
