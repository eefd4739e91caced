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

    @Option(help: ArgumentHelp("The number of runs to show.", valueName: "number"))
    var limit = 20

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
            runs, header: ["SCHEDULED (UTC)", "JOB", "STATUS", "DELETED", "SKIPPED", "TOOK", "ORIGIN"], flexible: 1,
            json: \.json, row: { $0.row(shorten: setup.withShortNames) })
        if runs.isEmpty { setup.logger.info("No run is recorded.") }
    }
}

extension RecordedRun {
    fileprivate var json: JSON {
        let hasError = errorMessage != nil || errorSQLState != nil
        let error: JSON = ["sqlstate": errorSQLState, "message": errorMessage]
        return [
            "job": job, "status": status, "origin": origin.rawValue, "scheduled_at": scheduledAt,
            "started_at": startedAt, "heartbeat_at": heartbeatAt, "finished_at": finishedAt, "cutoff": cutoff,
            "rows_deleted": rowsDeleted, "rows_skipped": rowsSkipped, "rows_refused": rowsRefused, "batches": batches,
            "attempts": attempts, "run_id": runID, "claimed_by": claimedBy, "error": hasError ? error : nil,
        ]
    }

    fileprivate func row(shorten: (String) -> String) -> Table.Row {
        Table.Row(
            cells: [
                .text(scheduledAt.tableText), .text(shorten(job)), .text(status, Table.Color(outcome)),
                .number(rowsDeleted.groupedText), .number(rowsSkipped.groupedText),
                .number(finishedAt.map { ($0 - startedAt).tableText } ?? "-"), .text(origin.rawValue),
            ], note: errorMessage.map { "error: \($0)" })
    }
}

extension Duration {
    /// The duration in at most 8 characters, such as `0.25 s`, `15 s` or `83 min`.
    fileprivate var tableText: String {
        self < .seconds(100)
            ? secondsText : self < .seconds(6000) ? "\(components.seconds / 60) min" : "\(components.seconds / 3600) h"
    }
}
