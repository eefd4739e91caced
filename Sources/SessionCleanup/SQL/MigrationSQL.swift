import Postgres

/// The statements of migrations that depend on the role or the table; the others are the files under `migrations/`.
enum MigrationSQL {
    /// Makes migrations of several processes take turns, for a transaction each: two CREATE … IF NOT EXISTS at once fail.
    static let takeTurns = "SELECT pg_advisory_xact_lock(hashtextextended('mcp-cleanupd migrate', 0))"

    /// What a run needs on the sessions table: UPDATE is for `FOR UPDATE`.
    static let tablePrivileges = ["SELECT", "UPDATE", "DELETE"]

    /// Grants the role what it needs, no more. Only warns if the sessions table is another owner's or not there yet.
    static func grant(_ grant: Migration.Grant) -> String {
        let role = SQL.identifier(grant.role)
        let onSessions = """
            BEGIN
                GRANT USAGE ON SCHEMA \(SQL.identifier(grant.table.schema)) TO \(role);
                GRANT \(tablePrivileges.joined(separator: ", ")) ON \(grant.table.quoted) TO \(role);
            EXCEPTION WHEN insufficient_privilege OR undefined_table OR invalid_schema_name THEN
                RAISE WARNING $message$%$message$, SQLERRM;
            END
            """
        return """
            GRANT USAGE ON SCHEMA mcp_cleanup TO \(role);
            GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO \(role);
            GRANT INSERT, SELECT, DELETE ON mcp_cleanup.removed TO \(role);
            DO \(SQL.literal(onSessions));
            """
    }

    /// One row: the privileges that the role lacks on the sessions table. Fails where there is no such role.
    static func privileges(_ grant: Migration.Grant) -> String {
        let role = SQL.literal(grant.role)
        return """
            SELECT c.oid IS NOT NULL AS is_there
                 , coalesce(has_schema_privilege(\(role), c.relnamespace, 'USAGE'), false) AS can_use_schema
                 , array_to_string(ARRAY(
                       SELECT p FROM unnest(ARRAY[\(tablePrivileges.map(SQL.literal).joined(separator: ", "))]) AS p
                        WHERE NOT has_table_privilege(\(role), c.oid, p)), ' ') AS missing
              FROM (SELECT) AS one
              LEFT JOIN (pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace)
                ON n.nspname = \(SQL.literal(grant.table.schema)) AND c.relname = \(SQL.literal(grant.table.table))
            """
    }

    /// One row with the validity of the table's index of this name; none if there is no such index. Under any search path.
    static func state(of index: PartialIndex) -> String {
        "SELECT i.indisvalid AS is_valid \(catalogEntries(of: [index]))"
    }

    /// For psql: drops invalid indexes of interrupted builds. They serve no search, and each write pays for them.
    static func dropLeftovers(_ indexes: [PartialIndex]) -> String {
        """
        SELECT pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname)
        \(catalogEntries(of: indexes)) AND NOT i.indisvalid
        \\gexec
        """
    }

    /// The indexes are on one table.
    private static func catalogEntries(of indexes: [PartialIndex]) -> String {
        let names = indexes.map { SQL.literal($0.name) }.joined(separator: ", ")
        return """
              FROM pg_catalog.pg_index AS i
              JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
              JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
             WHERE i.indrelid OPERATOR(pg_catalog.=) \(SQL.literal(indexes.first?.table.quoted ?? ""))::pg_catalog.regclass
               AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY[\(names)])
            """
    }

    static func create(_ index: PartialIndex) -> String {
        """
        CREATE INDEX CONCURRENTLY IF NOT EXISTS \(SQL.identifier(index.name))
            ON \(index.table.quoted) (\(index.rule.column)) WHERE \(index.rule.qualifiedCandidates)
        """
    }

    static func drop(_ index: PartialIndex) -> String {
        "DROP INDEX CONCURRENTLY IF EXISTS \(SQL.identifier(index.table.schema)).\(SQL.identifier(index.name))"
    }
}
