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
    @Argument(help: "status, takeover or rollback.") var action: CronAction
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
        let successors: CronSuccessors? = acceptDifferences ? nil : (setup.jobs, setup.table)
        let answer = try await Signals.canceling { [action] in
            try await access.cronJobs(action, comparing: successors)
        }
        switch answer {
        case .absent: try print(["pg_cron": "absent"], orText: "pg_cron is not in this database.")
        case .forbidden(let reason, let sql):
            try print(["pg_cron": "forbidden", "reason": reason, "sql": sql], orText: sql)
            throw CommandFailure(
                .noPermission, reason, hint: "Run the SQL on standard output as a role that may do that.")
        case .differ(let differences):
            for difference in differences { try print(difference) }
            throw CommandFailure(
                .configuration, "pg_cron's jobs differ from what mcp-cleanupd does, so nothing was changed",
                hint:
                    "Set schedule and after of the jobs in the configuration, or run it again with --accept-differences."
            )
        case .jobs(let jobs, let changed):
            try print(jobs, header: ["ID", "JOB", "SCHEDULE", "ROLE", "STATE"], flexible: 3) { job in
                [
                    "job": job.name, "job_id": job.id, "schedule": job.schedule, "role": job.role,
                    "active": job.isActive, "taken_over": job.isTakenOver, "changed": changed.contains(job.id),
                ]
            } row: { job in
                let state = job.isActive ? "active" : job.isTakenOver ? "taken over" : "inactive"
                return Table.Row(cells: [
                    .number("\(job.id)"), .text(job.name), .text(job.schedule), .text(job.role),
                    .text(changed.contains(job.id) ? "now \(state)" : state, job.isActive ? .yellow : .green),
                ])
            }
            if jobs.isEmpty { setup.logger.info("pg_cron has no job that removes sessions here.") }
        }
    }

    private func print(_ difference: CronDifference) throws {
        let job = difference.job
        try print(
            [
                "job": job.name, "job_id": job.id, "schedule": job.schedule, "command": job.command,
                "expected_schedule": difference.schedule, "expected_command": difference.command,
            ],
            orText: """
                job \(job.id)  \(job.name)
                  pg_cron:      \(job.schedule)  \(job.command)
                  mcp-cleanupd: \(difference.schedule)  \(difference.command)
                """)
    }

    private func print(_ json: JSON, orText text: String) throws { try print(isJSON ? "\(json)" : text) }
}

extension CronAction: ExpressibleByArgument {}
