import ArgumentParser
import Logging
import SessionCleanup

struct PgCronCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pg-cron",
        abstract: "Deactivate the jobs that remove the same sessions under pg_cron, or give them back.",
        discussion: """
            status shows them. takeover deactivates those that are active, in one transaction, and notes it at the end of \
            each one's command; rollback activates those that have the note, and takes it away. Where the role may not, \
            the SQL for somebody who may is printed, and the exit code is 77. takeover changes nothing, and ends with 78, \
            where a job's command or schedule differs from what mcp-cleanupd does.
            """)

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Argument(help: "status, takeover or rollback.")
    var action: CronJobs.Action

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    @Flag(help: "With takeover: also deactivate jobs whose command or schedule differs.")
    var acceptDifferences = false

    func validate() throws {
        if acceptDifferences, action != .takeover {
            throw ValidationError("--accept-differences goes with takeover.")
        }
    }

    func run() async throws {
        try root.refuseOnceFlags(with: "pg-cron", except: ["--json"])
        let isJSON = json || root.json
        let setup = try CommandSetup(common.merged(with: root.common))
        let access = try setup.databaseAccess()
        let successors = acceptDifferences ? nil : CronSuccessors(setup.jobs, on: setup.table)
        let answer = try await SignalCancellation.run { [action] in
            try await CronJobs(access).perform(action, comparing: successors)
        }
        switch answer {
        case .absent:
            let text = "pg_cron is not in this database."
            try write(isJSON ? "\(JSON.object([("pg_cron", .string("absent"))]))" : text)
        case .forbidden(let reason, let sql):
            let members: [(String, JSON)] = [
                ("pg_cron", .string("forbidden")), ("reason", .string(reason)), ("sql", .string(sql)),
            ]
            try write(isJSON ? "\(JSON.object(members))" : sql)
            throw CommandFailure(
                .noPermission, reason, hint: "Have the SQL on standard output run by somebody who may.")
        case .differ(let differences):
            for difference in differences { try write(isJSON ? "\(difference.json)" : difference.text) }
            throw CommandFailure(
                .configuration, "pg_cron's jobs differ from what mcp-cleanupd does, so nothing was changed",
                hint:
                    "Set schedule and after of the jobs in the configuration, or run it again with --accept-differences."
            )
        case .jobs(let jobs, let changed):
            if isJSON {
                for job in jobs { try write("\(job.json(hasChanged: changed.contains(job.id)))") }
            } else {
                var columns = Columns()
                for job in jobs { columns.append(job.cells(hasChanged: changed.contains(job.id))) }
                for line in columns.lines() { try write(line) }
            }
            if jobs.isEmpty { setup.logger.info("pg_cron has no job that removes sessions here.") }
        }
    }

    private func write(_ line: String) throws { try StandardStream.output.write(line + "\n") }
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

extension CronJob {
    /// The keys that scripts rely on, in their order.
    fileprivate func json(hasChanged: Bool) -> JSON {
        .object([
            ("job", .string(name)), ("job_id", .integer(id)), ("schedule", .string(schedule)), ("role", .string(role)),
            ("active", .boolean(isActive)), ("taken_over", .boolean(isTakenOver)), ("changed", .boolean(hasChanged)),
        ])
    }

    fileprivate func cells(hasChanged: Bool) -> [Columns.Cell] {
        let state = isActive ? "active" : isTakenOver ? "inactive, taken over" : "inactive"
        let color: Columns.Color = isActive ? .yellow : .green
        return [
            .text("job \(id)"), .text(name), .text(schedule), .text("as \(role)"),
            .text(hasChanged ? "now \(state)" : state, color),
        ]
    }
}
