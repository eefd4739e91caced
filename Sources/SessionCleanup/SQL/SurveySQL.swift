import Postgres

/// The statements that read the catalogs before a run or a command does anything. All of them run under the search path
/// `pg_catalog, pg_temp`, so unqualified names mean pg_catalog's; none takes a lock that others wait for.
enum SurveySQL {
    /// One row about the server, with the clock that a run compares with the host's. Reads no table.
    static let server = """
        SELECT \(SearchSQL.seconds("now()")) AS clock
             , current_setting('server_version_num'::text) AS server_version
             , current_setting('in_hot_standby'::text, true) AS is_in_recovery
             , current_user AS role
             , current_setting('synchronous_commit'::text) AS synchronous_commit
             , current_setting('client_min_messages'::text) AS client_min_messages
             , current_setting('deadlock_timeout'::text) AS deadlock_timeout
        """

    /// One row about the table, a table of the history and what the role may do with both. By the catalogs' unique indexes.
    ///
    /// Each run begins with it, in a server process whose caches are empty: each name looked up costs some ten buffers,
    /// and an operator or a function with other argument types two hundred. What is rarely needed is in `details`.
    static func tables(_ table: TableName, _ history: HistoryTable.Name) -> String {
        """
        SELECT c.oid AS oid, c.relkind AS kind, c.relhassubclass AS has_children
             , c.relhasrules AS has_rules, c.relrowsecurity AS has_row_security
             , has_schema_privilege(c.relnamespace, 'USAGE'::text) AS can_use_schema
             , has_table_privilege(c.oid, 'SELECT'::text) AS can_select
             , has_table_privilege(c.oid, 'UPDATE'::text) AS can_update
             , has_table_privilege(c.oid, 'DELETE'::text) AS can_delete
             , \(columns("a.attnum, a.atttypid, a.attname", of: "c")) AS columns
             , h.oid IS NOT NULL AS has_history, h.relowner = c.relowner AS history_has_same_owner
             , h.relrowsecurity AS history_has_row_security
             , has_schema_privilege(h.relnamespace, 'USAGE'::text) AS can_use_history_schema
             , has_table_privilege(h.oid, 'SELECT'::text) AS can_select_history
             , has_table_privilege(h.oid, 'INSERT'::text) AS can_insert_history
             , has_table_privilege(h.oid, 'UPDATE'::text) AS can_update_history
             , has_table_privilege(h.oid, 'DELETE'::text) AS can_delete_history
             , \(columns("a.attnum, a.atttypid, a.attname", of: "h")) AS history_columns
             , ARRAY(SELECT ROW(i.indkey, i.indpred) FROM pg_index AS i
                      WHERE i.indrelid = h.oid AND i.indisunique AND i.indisvalid) AS history_indexes
        \(both(table, history))
        """
    }

    /// An array with a row for each column.
    private static func columns(_ fields: String, of relation: String) -> String {
        "ARRAY(SELECT ROW(\(fields)) FROM pg_attribute AS a WHERE a.attrelid = \(relation).oid)"
    }

    private static func both(_ table: TableName, _ history: HistoryTable.Name) -> String {
        """
          FROM (SELECT) AS one
          LEFT JOIN pg_class AS c ON c.relname = \(SQL.literal(table.table))
           AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = \(SQL.literal(table.schema)))
          LEFT JOIN pg_class AS h ON h.relname = '\(history == .runs ? "runs" : "removed")'
           AND h.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'mcp_cleanup')
        """
    }

    /// One row: what `tables` leaves open where there are rules, row security, privileges on columns, a history with another
    /// owner, a column of another type than a run needs, or an index whose condition is in no known form. Conditions come
    /// without the quotation marks that `quote_all_identifiers` adds.
    static func details(_ table: TableName, _ history: HistoryTable.Name) -> String {
        """
        SELECT c.relhasrules AND EXISTS (
                   SELECT FROM pg_rewrite WHERE ev_class = c.oid AND ev_type = '4') AS has_delete_rule
             , has_any_column_privilege(c.oid, 'UPDATE') AS can_update_columns
             , row_security_active(c.oid) AS is_row_security_active
             , row_security_active(c.oid) AND current_setting('row_security') = 'off' AS refuses_filters
             , (h.relowner = c.relowner OR r.rolsuper OR r.rolname = current_user OR h.relowner = d.datdba) IS TRUE
               AS is_history_trusted
             , r.rolname AS history_owner
             , row_security_active(h.oid) AS is_history_row_security_active
             , \(columns("a.atttypid, a.atttypid::regtype", of: "c")) AS types
             , \(columns("a.atttypid, a.atttypid::regtype", of: "h")) AS history_types
             , ARRAY(SELECT ROW(i.indkey, replace(pg_get_expr(i.indpred, i.indrelid), '"', '')) FROM pg_index AS i
                      WHERE i.indrelid = h.oid AND i.indisunique AND i.indisvalid) AS history_indexes
        \(both(table, history))
          LEFT JOIN pg_roles AS r ON r.oid = h.relowner
          LEFT JOIN pg_database AS d ON h.oid IS NOT NULL AND d.datname = current_database()
        """
    }

    /// A recursive query for the table with its partitions and inheritance children. A partition whose DETACH CONCURRENTLY
    /// has not ended, or was canceled, belongs to the table no longer.
    static func tree(of table: UInt32) -> String {
        """
        WITH RECURSIVE tree AS (
            SELECT \(table)::oid AS relation
             UNION
            SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON i.inhparent = tree.relation AND NOT i.inhdetachpending
        )
        """
    }

    /// One row for the table and for each of its partitions and inheritance children. `can_delete`: the role may delete from it
    /// under its own name, and no rule or statement trigger makes that differ from a DELETE from the whole table. Of a trigger's
    /// type, pg_trigger.h has ROW as 1, BEFORE as 2, DELETE as 8. `relam` is 2 for PostgreSQL's own kind of table, and 0 where no
    /// rows are stored.
    static func parts(of table: UInt32) -> String {
        """
        \(tree(of: table))
        SELECT c.oid AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind
             , has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
               AND (has_table_privilege(c.oid, 'UPDATE') OR has_any_column_privilege(c.oid, 'UPDATE'))
               AND has_table_privilege(c.oid, 'DELETE')
               AND NOT (c.relhasrules AND EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND ev_type = '4'))
               AND t.is_for_statement IS NOT TRUE AS can_delete
             , c.relrowsecurity AS has_row_security, t.may_keep_rows IS TRUE AS may_keep_rows
             , t.may_bring_rows IS TRUE OR \(historyHasTriggers) OR c.relam NOT IN (0, 2) AS may_bring_rows
          FROM tree JOIN pg_class AS c ON c.oid = tree.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
         CROSS JOIN LATERAL (
               SELECT bool_or(tgtype & 9::int2 = 8::int2) AS is_for_statement
                    , bool_or(tgtype & 11::int2 = 11::int2) AS may_keep_rows
                    , bool_or(tgtype & 8::int2 = 8::int2 AND NOT (tgisinternal AND \(onlyDeletesChildren))) AS may_bring_rows
                 FROM pg_trigger WHERE c.relhastriggers AND tgrelid = c.oid AND tgenabled <> 'D') AS t
         ORDER BY c.oid
        """
    }

    /// The condition that a table of the history has a trigger: a batch counts and records there what it deletes.
    private static let historyHasTriggers = """
        EXISTS (SELECT FROM pg_trigger AS g JOIN pg_class AS h ON h.oid = g.tgrelid
                 WHERE NOT g.tgisinternal
                   AND h.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'mcp_cleanup'))
        """

    /// The condition that a foreign key's trigger at most deletes, from a plain table without rules or DELETE triggers.
    private static let onlyDeletesChildren = """
        EXISTS (SELECT FROM pg_constraint AS k JOIN pg_class AS child ON child.oid = k.conrelid
                 WHERE k.oid = tgconstraint AND k.confdeltype IN ('a', 'r', 'c') AND child.relkind = 'r'
                   AND NOT child.relhasrules
                   AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = child.oid AND tgtype & 8::int2 = 8::int2))
        """

    /// How many pages each of the tables has. Waits while another transaction has one locked in ACCESS EXCLUSIVE mode.
    static func pages(of tables: [UInt32]) -> String {
        """
        SELECT t.oid, coalesce(pg_relation_size(t.oid), 0) / current_setting('block_size')::int8 AS pages
          FROM unnest(ARRAY[\(tables.map(String.init).joined(separator: ", "))]::oid[]) AS t (oid)
        """
    }

    /// The policies of a table that apply to the role: see `RowPolicy`.
    static func policies(of table: UInt32) -> String {
        """
        SELECT p.polname AS name, p.polpermissive AS is_permissive
             , CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' END AS command
             , pg_get_expr(p.polqual, p.polrelid) AS condition
          FROM pg_policy AS p
         WHERE p.polrelid = \(table)::oid AND p.polcmd <> 'a'
           AND EXISTS (SELECT FROM unnest(p.polroles) AS r (oid)
                        WHERE r.oid = 0 OR pg_has_role(current_user, r.oid, 'USAGE'))
         ORDER BY p.polname
        """
    }

    /// The names of the triggers of the table and its parts that can keep a row from being deleted.
    static func keepers(of table: UInt32) -> String {
        """
        \(tree(of: table))
        SELECT DISTINCT t.tgname AS name FROM tree JOIN pg_trigger AS t ON t.tgrelid = tree.relation
         WHERE t.tgenabled <> 'D' AND t.tgtype & 11::int2 = 11::int2 ORDER BY t.tgname
        """
    }

    /// Counts the constraints of that name in the catalog: a name in an error may be forged.
    static func knows(constraint name: String) -> String {
        "SELECT count(*) AS known FROM pg_constraint WHERE conname = \(SQL.literal(name))"
    }

    /// The name of the subquery of `explainCondition`.
    static let conditionAlias = "mcp_cleanup_condition"

    /// Returns a statement whose plan has a node with the name `conditionAlias` if the condition contains a volatile function,
    /// operator or cast: the planner never merges a subquery with a volatile result into the query around it, and merges each
    /// other one. Executes nothing. Under the role's own search path.
    static func explainCondition(_ table: TableName, _ condition: String) -> String {
        """
        EXPLAIN (FORMAT JSON, COSTS FALSE)
        SELECT FROM (SELECT (\(condition)) AS is_due FROM \(table.quoted) AS \(SQL.identifier(table.table))) AS \(conditionAlias) WHERE is_due
        """
    }

    /// The name of a volatile function among those that a condition calls, for a message. Under the role's own search path.
    static func volatileFunction(of calls: [RowCondition.Call]) -> String {
        let names = calls.map { "(\($0.schema.map(SQL.literal) ?? "NULL"), \(SQL.literal($0.name)))" }
        return """
            SELECT pg_catalog.min(p.oid::pg_catalog.regproc::pg_catalog.text) AS name
              FROM (VALUES \(names.joined(separator: ", "))) AS called (schema, name)
              JOIN pg_catalog.pg_proc AS p ON p.proname OPERATOR(pg_catalog.=) called.name::pg_catalog.name
              JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
             WHERE p.provolatile OPERATOR(pg_catalog.=) 'v'
               AND CASE WHEN called.schema IS NULL THEN pg_catalog.pg_function_is_visible(p.oid)
                        ELSE n.nspname OPERATOR(pg_catalog.=) called.schema::pg_catalog.name END
            """
    }
}
