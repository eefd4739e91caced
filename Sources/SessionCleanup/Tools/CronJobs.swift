import Postgres

/// The seed's jobs under pg_cron, which remove the same rows.
package struct CronJobs: Sendable {
    private let access: DatabaseAccess

    package init(_ access: DatabaseAccess) { self.access = access }

    package enum Action: String, Hashable, Sendable, CaseIterable {
        case status
        /// Deactivates those that are active, and marks them.
        case takeover
        /// Gives back those with the mark.
        case rollback
    }

    package enum Answer: Sendable {
        /// pg_cron is not in this database, nor known to run this database's jobs from another.
        case absent
        /// The jobs, and the IDs of those that changed.
        case jobs([CronJob], changed: Set<Int>)
        /// We may not: why, and what to run by somebody who may.
        case forbidden(reason: String, sql: String)
    }

    private static let deadline = Duration.seconds(30)

    /// Looks, and does what is asked, in one transaction over a connection of its own.
    package func perform(_ action: Action) async throws(RunFailure) -> Answer {
        let clock = RunClock(deadline: Self.deadline)
        let connection = try await access.connect(limit: clock.remaining)
        let answer = try await Self.perform(action, over: connection, clock: clock)
        await connection.close()
        return answer
    }

    static func perform(
        _ action: Action, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) -> Answer {
        let survey = try await connection.finishTransaction(clock, CronStatements.survey, []).reading {
            try CronSurvey($0.onlyRow())
        }
        let statement = CronStatements.statement(action, database: survey.database)
        let sql = "\(statement);"
        if let elsewhere = survey.elsewhere {
            return .forbidden(
                reason: "pg_cron keeps its jobs in the database \(elsewhere), and this one is \(survey.database)",
                sql: "-- In the database \(elsewhere):\n\(sql)")
        }
        guard survey.isHere else { return .absent }
        guard survey.canUseSchema, survey.canSelect else {
            return .forbidden(reason: "the role \(survey.role) may not read cron.job", sql: sql)
        }
        let list = CronStatements.statement(.status, database: survey.database)
        let jobs = try await connection.finishTransaction(clock, list, []).reading { try $0.rows.map(CronJob.init) }
        if jobs.isEmpty, survey.isRestricted {
            return .forbidden(
                reason: "row security shows the role \(survey.role) its own jobs in cron.job only, and it has none",
                sql: sql)
        }
        guard action != .status else { return .jobs(jobs, changed: []) }
        do {
            let results = try await connection.transaction(clock, "\(sql) \(list); COMMIT")
            let changed = try results.reading(at: 0) { try $0.rows.map { try $0.integer("jobid") } }
            return .jobs(try results.reading(at: 1) { try $0.rows.map(CronJob.init) }, changed: Set(changed))
        } catch {
            guard error.sqlState == "42501" else { throw error }
            return .forbidden(reason: "the role \(survey.role) may not change pg_cron's jobs: \(error)", sql: sql)
        }
    }
}

/// A job of pg_cron's that removes sessions.
package struct CronJob: Hashable, Sendable {
    package let id: Int
    package let name: String
    package let schedule: String
    package let role: String
    package let isActive: Bool
    /// Whether a takeover has deactivated it.
    package let isTakenOver: Bool
}

extension CronJob {
    /// Reads a row of `CronStatements`.
    fileprivate init(_ row: QueryResult.Row) throws(PostgresError) {
        id = try row.integer("jobid")
        name = try row.text("jobname")
        schedule = try row.text("schedule")
        role = try row.text("username")
        isActive = try row.bool("active")
        isTakenOver = try row.bool("is_taken_over")
    }
}

/// Where pg_cron is, and what we may do there.
private struct CronSurvey {
    let database: String
    let role: String
    let isHere: Bool
    /// The database that pg_cron works from, if it is another one, and if we may know.
    let elsewhere: String?
    let canUseSchema: Bool
    let canSelect: Bool
    let isRestricted: Bool

    init(_ row: QueryResult.Row) throws(PostgresError) {
        database = try row.text("database")
        role = try row.text("role")
        isHere = try row.bool("is_here")
        let home = try row.textIfPresent("home")
        elsewhere = isHere || home == database ? nil : home
        canUseSchema = try row.bool("can_use_schema")
        canSelect = try row.bool("can_select")
        isRestricted = try row.bool("is_restricted")
    }
}

/// The statements about `cron.job`.
enum CronStatements {
    /// The seed's names, and the ones that its deployments have had before.
    private static let names = [
        "mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions", "cleanup-transient-sessions",
        "cleanup-dormant-sessions",
    ]

    /// What a takeover appends to a job's command, and a rollback takes away: the job itself remembers who deactivated
    /// it. A comment, and on a line of its own, so that the command stays what it was.
    static let mark = "-- deactivated by mcp-cleanupd pg-cron takeover"
    private static let markedEnd = "chr(10) || '\(mark)'"
    private static let isMarked = "right(command, \(mark.count + 1)) = \(markedEnd)"

    /// One row. `pg_settings` leaves out what we may not see, where `current_setting` would fail.
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

    /// One statement, so that it is one transaction for psql too.
    static func statement(_ action: CronJobs.Action, database: String) -> String {
        let ours = """
            FROM cron.job
             WHERE jobname IN (\(names.map(SQL.literal).joined(separator: ", ")))
               AND database = \(SQL.literal(database))
            """
        return switch action {
        case .status:
            """
            SELECT jobid, jobname, schedule, username, active, NOT active AND \(isMarked) AS is_taken_over
              \(ours)
             ORDER BY jobid
            """
        case .takeover:
            """
            SELECT jobid, cron.alter_job(jobid, active := false,
                       command := CASE WHEN \(isMarked) THEN command ELSE command || \(markedEnd) END)
              \(ours)
               AND active
            """
        case .rollback:
            """
            SELECT jobid, cron.alter_job(jobid, active := true, command := left(command, -\(mark.count + 1)))
              \(ours)
               AND NOT active AND \(isMarked)
            """
        }
    }
}
