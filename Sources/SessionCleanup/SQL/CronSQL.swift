import Postgres

/// The statements about `cron.job`.
enum CronSQL {
    /// The names of the seed's pg_cron jobs, and the ones that its deployments have had before.
    private static let names = [
        "mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions", "cleanup-transient-sessions",
        "cleanup-dormant-sessions",
    ]

    /// The comment that a takeover appends to a job's command, on a line of its own, and a rollback takes away.
    static let mark = "-- deactivated by mcp-cleanupd pg-cron takeover"
    private static let markedEnd = "pg_catalog.chr(10) OPERATOR(pg_catalog.||) '\(mark)'"
    private static let isMarked =
        "pg_catalog.right(command, \(mark.count + 1)) OPERATOR(pg_catalog.=) (\(markedEnd))"

    /// One row. `pg_settings` omits a setting that the role may not see, where `current_setting` would fail.
    static let survey = """
        SELECT current_database() AS database, current_user AS role
             , EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron') AS is_here
             , (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'cron.database_name') AS home
             , coalesce(has_schema_privilege(c.relnamespace, 'USAGE'), false) AS can_use_schema
             , coalesce(has_table_privilege(c.oid, 'SELECT'), false) AS can_select
             , coalesce(row_security_active(c.oid), false) AS is_restricted
          FROM (SELECT) AS one
          LEFT JOIN (pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace)
            ON n.nspname = 'cron' AND c.relname = 'job'
        """

    /// One statement, and so one transaction in psql too. Safe under any search path: a superuser may run it in psql.
    static func statement(_ action: CronAction, database: String) -> String {
        let ours = """
            FROM cron.job
             WHERE jobname OPERATOR(pg_catalog.=) ANY (ARRAY[\(names.map(SQL.literal).joined(separator: ", "))])
               AND database OPERATOR(pg_catalog.=) \(SQL.literal(database))
            """
        return switch action {
        case .status:
            """
            SELECT jobid, jobname, schedule, command, username, active, NOT active AND \(isMarked) AS is_taken_over
              \(ours)
             ORDER BY jobid
            """
        case .takeover:
            """
            SELECT jobid, cron.alter_job(jobid, active := false,
                       command := CASE WHEN \(isMarked) THEN command ELSE command OPERATOR(pg_catalog.||) \(markedEnd) END)
              \(ours)
               AND active
            """
        case .rollback:
            """
            SELECT jobid, cron.alter_job(jobid, active := true, command := pg_catalog.left(command, -\(mark.count + 1)))
              \(ours)
               AND NOT active AND \(isMarked)
            """
        }
    }
}
