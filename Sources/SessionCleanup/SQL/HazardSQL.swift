import Postgres

/// The statements with which `check` finds what stops a run, slows it down or endangers it. All but `schemasOfPath` run under
/// the search path `pg_catalog, pg_temp`. They read catalogs by their indexes and take no lock that others wait for.
enum HazardSQL {
    /// One row for each foreign key that refers to the table or a part of it, but for those that PostgreSQL 18 does not
    /// enforce: `conenforced`, which older servers lack.
    static func foreignKeys(to table: UInt32) -> String {
        """
        \(SurveySQL.tree(of: table))
        SELECT k.conname AS name, n.nspname AS schema, c.relname AS relation, k.confdeltype IN ('a', 'r') AS restricts
             , (SELECT string_agg(a.attname, E'\\n' ORDER BY u.place)
                  FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
                  JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS columns
             , EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam
                        WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
                          AND m.amname IN ('btree', 'hash')
                          AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey) AS has_index
          FROM pg_constraint AS k
          JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE k.contype = 'f' AND k.confrelid IN (SELECT relation FROM tree)
           AND (k.conparentid = 0 OR k.confrelid = \(table)::oid)
           AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
         ORDER BY n.nspname, c.relname, k.conname
        """
    }

    /// One row for each trigger of the application's on DELETE; pg_trigger.h has ROW as 1, BEFORE as 2, DELETE as 8.
    static func deleteTriggers(of table: UInt32) -> String {
        """
        \(SurveySQL.tree(of: table))
        SELECT t.tgname AS name, n.nspname AS schema, c.relname AS relation
             , t.tgtype & 1::int2 <> 0::int2 AS is_for_each_row, t.tgtype & 2::int2 <> 0::int2 AS is_before
          FROM tree JOIN pg_trigger AS t ON t.tgrelid = tree.relation
          JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 8::int2 <> 0::int2
           AND (t.tgparentid = 0 OR t.tgrelid = \(table)::oid)
         ORDER BY n.nspname, c.relname, t.tgname
        """
    }

    /// One row: rights of the role beyond those that a run needs.
    static func role(on table: UInt32) -> String {
        """
        SELECT r.rolsuper AS is_superuser, r.rolbypassrls AS bypasses_row_security
             , coalesce(pg_has_role(r.oid, c.relowner, 'USAGE'), false) AS owns_table
          FROM pg_roles AS r LEFT JOIN pg_class AS c ON c.oid = \(table)::oid
         WHERE r.rolname = current_user
        """
    }

    /// The schemas of the role's search path; under that path, so every name is qualified.
    static let schemasOfPath = "SELECT pg_catalog.unnest(pg_catalog.current_schemas(false)) AS schema"

    /// One row for each of the schemas in which roles other than its owner, this role and superusers may create objects.
    static func openSchemas(_ schemas: [String]) -> String {
        """
        SELECT n.nspname AS schema, string_agg(DISTINCT coalesce(quote_ident(g.rolname), 'PUBLIC'), ', ') AS roles
          FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a LEFT JOIN pg_roles AS g ON g.oid = a.grantee
         WHERE n.nspname IN (\(schemas.map(SQL.literal).joined(separator: ", "))) AND a.privilege_type = 'CREATE'
           AND a.grantee <> n.nspowner AND g.rolname IS DISTINCT FROM current_user AND g.rolsuper IS NOT TRUE
         GROUP BY n.nspname ORDER BY n.nspname
        """
    }

    /// Returns a statement that deletes nothing, and that the server refuses if it would refuse each DELETE: it looks for
    /// a replica identity, in each partition, before it executes or explains one.
    static func explainDelete(_ table: TableName) -> String {
        "EXPLAIN DELETE FROM \(table.quoted) WHERE ctid = '(0,0)'::tid"
    }
}
