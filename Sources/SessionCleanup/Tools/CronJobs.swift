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
        /// A takeover changed nothing: these jobs differ from the daemon's.
        case differ([CronDifference])
        /// The jobs, and the IDs of those that changed.
        case jobs([CronJob], changed: Set<Int>)
        /// The role may not read or change the jobs: why, and the SQL for a role that may.
        case forbidden(reason: String, sql: String)
    }

    /// Looks, and does what is asked, over a connection of its own, within half a minute.
    ///
    /// - Parameter successors: jobs that a takeover compares pg_cron's with; `nil` accepts every difference.
    package func perform(_ action: Action, comparing successors: CronSuccessors?) async throws(RunFailure) -> Answer {
        try await access.withSession(deadline: .seconds(30)) { session in
            try await Self.perform(action, comparing: successors, in: session)
        }
    }

    static func perform(
        _ action: Action, comparing successors: CronSuccessors? = nil, in session: DatabaseSession
    ) async throws -> Answer {
        let survey = try await session.read(CronSQL.survey).onlyRow()
        let (database, role) = (try survey.text("database"), try survey.text("role"))
        let statement = CronSQL.statement(action, database: database)
        let sql = "\(statement);"
        guard try survey.bool("is_here") else {
            // Unknown to a role that may not see the setting.
            guard let home = try survey.textIfPresent("home"), home != database else { return .absent }
            return .forbidden(
                reason: "pg_cron keeps its jobs in the database \(home), and this one is \(database)",
                sql: "-- In the database \(home):\n\(sql)")
        }
        guard try survey.bool("can_use_schema"), try survey.bool("can_select") else {
            return .forbidden(reason: "the role \(role) may not read cron.job", sql: sql)
        }
        let list = CronSQL.statement(.status, database: database)
        let jobs = try await session.read(list).rows.map(CronJob.init)
        if jobs.isEmpty, try survey.bool("is_restricted") {
            return .forbidden(
                reason: "row security shows the role \(role) its own jobs in cron.job only, and it has none", sql: sql)
        }
        guard action != .status else { return .jobs(jobs, changed: []) }
        if action == .takeover, let successors {
            let differences = jobs.filter(\.isActive).compactMap(successors.difference)
            if !differences.isEmpty { return .differ(differences) }
        }
        let answers: Script.Answers
        do {
            answers = try await session.write(Script(statement, as: .row).adding(list, as: .answer))
        } catch {
            guard error.sqlState == "42501" else { throw error }
            return .forbidden(reason: "the role \(role) may not change pg_cron's jobs: \(error)", sql: sql)
        }
        let changed = try answers.read(.row) { try $0.rows.map { try $0.integer("jobid") } }
        return .jobs(try answers.read(.answer) { try $0.rows.map(CronJob.init) }, changed: Set(changed))
    }
}

/// A job of pg_cron's that removes sessions.
package struct CronJob: Hashable, Sendable {
    package let id: Int
    package let name: String
    package let schedule: String
    package let command: String
    package let role: String
    package let isActive: Bool
    /// Whether a takeover has deactivated it.
    package let isTakenOver: Bool
}

extension CronJob {
    /// Reads a row of `CronSQL`.
    fileprivate init(_ row: QueryResult.Row) throws(PostgresError) {
        id = try row.integer("jobid")
        name = try row.text("jobname")
        schedule = try row.text("schedule")
        command = try row.text("command")
        role = try row.text("username")
        isActive = try row.bool("active")
        isTakenOver = try row.bool("is_taken_over")
    }
}
