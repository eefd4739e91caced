import ArgumentParser
import Logging
import SessionCleanup
import Time

struct HistoryCommand: AsyncParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "history", abstract: "Show the latest runs, of every process that shares the database.",
        usage: "mcp-cleanupd history [--job NAME]... [--limit NUMBER] [--json]",
        discussion: "Reads mcp_cleanup.runs, for which SELECT is enough. --job NAME shows one job's runs; repeatable.")
    static let ownRootOptions: Set<String> = ["--json", "--job"]

    @ParentCommand var root: RootCommand
    @Option(help: ArgumentHelp("The number of runs to show.", valueName: "number")) var limit = 20
    @OptionGroup var listing: ListingOptions

    func validate() throws { try checkNumber("--limit", limit) }

    func run() async throws {
        let setup = try setup()
        let jobs = try root.jobs.isEmpty ? [] : setup.jobs(named: root.jobs).map(\.name)
        let access = try setup.databaseAccess()
        let table = setup.table.name
        let runs = try await Signals.canceling { [limit] in
            try await access.latestRuns(limit, of: jobs, beside: table)
        }
        try print(
            runs, header: ["SCHEDULED (UTC)", "JOB", "STATUS", "DELETED", "SKIPPED", "TOOK", "ORIGIN"], flexible: 1
        ) { run in
            let error: JSON = ["sqlstate": run.errorSQLState, "message": run.errorMessage]
            let hasError = run.errorMessage != nil || run.errorSQLState != nil
            return [
                "job": run.job, "status": run.status, "origin": run.origin.rawValue,
                "scheduled_at": run.scheduledAt, "started_at": run.startedAt, "heartbeat_at": run.heartbeatAt,
                "finished_at": run.finishedAt, "cutoff": run.cutoff, "rows_deleted": run.rowsDeleted,
                "rows_skipped": run.rowsSkipped, "rows_refused": run.rowsRefused, "batches": run.batches,
                "attempts": run.attempts, "run_id": run.runID, "claimed_by": run.claimedBy,
                "error": hasError ? error : nil,
            ]
        } row: { run in
            Table.Row(
                cells: [
                    .text(run.scheduledAt.tableText), .text(setup.withShortNames(run.job)),
                    .status(run.outcome, run.status),
                    .number(run.rowsDeleted.groupedText), .number(run.rowsSkipped.groupedText),
                    .number(run.finishedAt.map { ($0 - run.startedAt).tableText } ?? "-"), .text(run.origin.rawValue),
                ], note: run.errorMessage.map { "error: \($0)" })
        }
        if runs.isEmpty { setup.logger.info("No run is recorded.") }
    }
}

extension Duration {
    /// The duration in at most 8 characters, such as `0.25 s`, `15 s` or `83 min`.
    fileprivate var tableText: String {
        self < .seconds(100)
            ? secondsText : self < .seconds(6000) ? "\(components.seconds / 60) min" : "\(components.seconds / 3600) h"
    }
}
