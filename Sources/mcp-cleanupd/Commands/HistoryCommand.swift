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

    /// A month of runs every five minutes, as long as the history keeps them; all of it is in memory once.
    private static let largestLimit = 10_000

    func validate() throws {
        guard (1...Self.largestLimit).contains(limit) else {
            throw ValidationError("--limit is \(limit); expected a whole number from 1 to \(Self.largestLimit).")
        }
    }

    func run() async throws {
        let setup = try setup()
        let jobs = try setup.jobs(named: root.jobs).map(\.name)
        let access = try setup.databaseAccess()
        let isAll = root.jobs.isEmpty
        let runs = try await SignalCancellation.run { [limit] in
            try await RecordedRuns(access).latest(limit, of: isAll ? [] : jobs)
        }
        try output.print(runs.map { RunRow(run: $0, shorten: setup.withShortNames) })
        if runs.isEmpty { setup.logger.info("No run is recorded.") }
    }
}

private struct RunRow: OutputRow {
    let run: RecordedRun
    let shorten: (String) -> String

    static let header = ["SCHEDULED (UTC)", "JOB", "STATUS", "DELETED", "SKIPPED", "TOOK", "ORIGIN"]
    static let flexibleColumn = 1

    var json: JSON {
        let error: JSON =
            run.errorMessage == nil && run.errorSQLState == nil
            ? .null : .object([("sqlstate", JSON(run.errorSQLState)), ("message", JSON(run.errorMessage))])
        return .object([
            ("job", .string(run.job)), ("status", .string(run.status.rawValue)),
            ("origin", .string(run.origin.rawValue)),
            ("scheduled_at", .string("\(run.scheduledAt)")), ("started_at", .string("\(run.startedAt)")),
            ("heartbeat_at", .string("\(run.heartbeatAt)")), ("finished_at", JSON(run.finishedAt.map { "\($0)" })),
            ("cutoff", .string("\(run.cutoff)")), ("rows_deleted", .integer(run.rowsDeleted)),
            ("rows_skipped", .integer(run.rowsSkipped)), ("rows_refused", .integer(run.rowsRefused)),
            ("batches", .integer(run.batches)),
            ("attempts", .integer(run.attempts)), ("run_id", .integer(run.runID)),
            ("claimed_by", .string(run.claimedBy)),
            ("error", error),
        ])
    }

    var tableRow: Table.Row {
        Table.Row(
            cells: [
                .text(run.scheduledAt.tableText), .text(shorten(run.job)),
                .text(run.status.rawValue, Table.Color(status: run.status)), .number(run.rowsDeleted.groupedText),
                .number(run.rowsSkipped.groupedText),
                .number(run.finishedAt.map { ($0 - run.startedAt).tableText } ?? "-"), .text(run.origin.rawValue),
            ], note: run.errorMessage.map { "error: \($0)" })
    }
}

extension Table.Color {
    /// The color of a run that is, or ended, so.
    init(status: RunStatus) {
        self =
            switch status.outcome {
            case .succeeded: .green
            case .failed, .timedOut: .red
            case .capped, .canceled, .abandoned, .skipped, nil: .yellow
            }
    }
}

extension Duration {
    /// The duration in at most 8 characters, such as `0.25 s`, `15 s` or `83 min`.
    fileprivate var tableText: String {
        self < .seconds(100)
            ? secondsText : self < .seconds(6000) ? "\(components.seconds / 60) min" : "\(components.seconds / 3600) h"
    }
}
