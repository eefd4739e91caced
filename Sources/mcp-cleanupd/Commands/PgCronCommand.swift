import ArgumentParser
import Logging
import SessionCleanup
import Time

struct PgCronCommand: AsyncParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "pg-cron",
        abstract: "Deactivate the jobs that remove the same sessions under pg_cron, or activate them again.",
        usage: "mcp-cleanupd pg-cron status|takeover|rollback [--json]",
        discussion: """
            status shows them. takeover deactivates those that are active, in one transaction, and adds a note to the end of \
            each one's command; rollback activates those that have the note, and removes it. Where the role may not do that, \
            the SQL for a role that may is printed, and the exit code is 77. takeover changes nothing, and ends with 78, \
            where a job's command or schedule differs from what mcp-cleanupd does.
            """)

    @ParentCommand var root: RootCommand

    @Argument(help: "status, takeover or rollback.")
    var action: CronJobs.Action

    @OptionGroup var listing: ListingOptions

    @Flag(help: "With takeover: also deactivate jobs whose command or schedule differs.")
    var acceptDifferences = false

    func validate() throws {
        if acceptDifferences, action != .takeover {
            throw ValidationError("--accept-differences goes with takeover.")
        }
    }

    func run() async throws {
        let setup = try setup()
        let access = try setup.databaseAccess(saysWhich: true)
        let successors = acceptDifferences ? nil : CronSuccessors(setup.jobs, on: setup.table)
        let answer = try await SignalCancellation.run { [action] in
            try await CronJobs(access).perform(action, comparing: successors)
        }
        switch answer {
        case .absent:
            let text = "pg_cron is not in this database."
            try write(output.isJSON ? "\(JSON.object([("pg_cron", .string("absent"))]))" : text)
        case .forbidden(let reason, let sql):
            let members: [(String, JSON)] = [
                ("pg_cron", .string("forbidden")), ("reason", .string(reason)), ("sql", .string(sql)),
            ]
            try write(output.isJSON ? "\(JSON.object(members))" : sql)
            throw CommandFailure(
                .noPermission, reason, hint: "Run the SQL on standard output as a role that may do that.")
        case .differ(let differences):
            for difference in differences { try write(output.isJSON ? "\(difference.json)" : difference.text) }
            throw CommandFailure(
                .configuration, "pg_cron's jobs differ from what mcp-cleanupd does, so nothing was changed",
                hint:
                    "Set schedule and after of the jobs in the configuration, or run it again with --accept-differences."
            )
        case .jobs(let jobs, let changed):
            try output.print(jobs.map { CronJobRow(job: $0, hasChanged: changed.contains($0.id)) })
            if jobs.isEmpty { setup.logger.info("pg_cron has no job that removes sessions here.") }
        }
    }

    private func write(_ line: String) throws { try StandardStream.output.list(line + "\n") }
}

extension CronJobs.Action: ExpressibleByArgument {}

extension CronDifference {
    /// The keys that scripts rely on, in their order.
    fileprivate var json: JSON {
        .object([
            ("job", .string(job.name)), ("job_id", .integer(job.id)), ("schedule", .string(job.schedule)),
            ("command", .string(job.command)), ("expected_schedule", .string(schedule)),
            ("expected_command", .string(command)),
        ])
    }

    fileprivate var text: String {
        """
        job \(job.id)  \(job.name)
          pg_cron:      \(job.schedule)  \(job.command)
          mcp-cleanupd: \(schedule)  \(command)
        """
    }
}

private struct CronJobRow: OutputRow {
    let job: CronJob
    let hasChanged: Bool

    static let header = ["ID", "JOB", "SCHEDULE", "ROLE", "STATE"]
    static let flexibleColumn = 3

    var json: JSON {
        .object([
            ("job", .string(job.name)), ("job_id", .integer(job.id)), ("schedule", .string(job.schedule)),
            ("role", .string(job.role)), ("active", .boolean(job.isActive)), ("taken_over", .boolean(job.isTakenOver)),
            ("changed", .boolean(hasChanged)),
        ])
    }

    var tableRow: Table.Row {
        let state = job.isActive ? "active" : job.isTakenOver ? "taken over" : "inactive"
        return Table.Row(cells: [
            .number("\(job.id)"), .text(job.name), .text(job.schedule), .text(job.role),
            .text(hasChanged ? "now \(state)" : state, job.isActive ? .yellow : .green),
        ])
    }
}
