import ArgumentParser
import Logging
import Postgres
import SessionCleanup
import Time

struct HistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history", abstract: "Show the latest runs, of every process that shares the database.",
        discussion: "Reads mcp_cleanup.runs, for which SELECT is enough. --job NAME shows one job's runs; repeatable.")

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Option(help: ArgumentHelp("How many runs to show.", valueName: "number"))
    var limit = 20

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    /// A month of runs every five minutes, which is what the history keeps; all of it is in memory once.
    private static let largestLimit = 10_000

    func run() async throws {
        try root.refuseOnceFlags(with: "history", except: ["--json", "--job"])
        guard (1...Self.largestLimit).contains(limit) else {
            throw ValidationError("--limit is \(limit); expected a whole number from 1 to \(Self.largestLimit).")
        }
        let setup = try CommandSetup(common.merged(with: root.common))
        let jobs = try setup.jobs(named: root.jobs).map(\.name)
        let access = try setup.databaseAccess()
        let isAll = root.jobs.isEmpty
        let runs = try await SignalCancellation.run { [limit] in
            try await RecordedRuns(access).latest(limit, of: isAll ? [] : jobs)
        }
        if json || root.json {
            for run in runs { try StandardStream.output.write("\(run.json)\n") }
        } else {
            var columns = Columns()
            for run in runs { columns.append(run.cells) }
            for line in columns.lines() { try StandardStream.output.write(line + "\n") }
        }
        if runs.isEmpty { setup.logger.info("No run is recorded.") }
    }
}

extension RecordedRun {
    /// The keys that scripts rely on, in their order.
    fileprivate var json: JSON {
        let error: JSON =
            errorMessage == nil && errorSQLState == nil
            ? .null : .object([("sqlstate", JSON(errorSQLState)), ("message", JSON(errorMessage))])
        return .object([
            ("job", .string(job)), ("status", .string(status.rawValue)), ("origin", .string(origin.rawValue)),
            ("scheduled_at", .string("\(scheduledAt)")), ("started_at", .string("\(startedAt)")),
            ("heartbeat_at", .string("\(heartbeatAt)")), ("finished_at", JSON(finishedAt.map { "\($0)" })),
            ("cutoff", .string("\(cutoff)")), ("rows_deleted", .integer(rowsDeleted)),
            ("rows_skipped", .integer(rowsSkipped)), ("batches", .integer(batches)),
            ("attempts", .integer(attempts)), ("run_id", .integer(runID)), ("claimed_by", .string(claimedBy)),
            ("error", error),
        ])
    }

    fileprivate var cells: [Columns.Cell] {
        [
            .text("\(scheduledAt.toTheSecond)"), .text(job), .text(status.rawValue, Self.color(of: status)),
            .number("\(rowsDeleted.groupedText) deleted,"), .number("\(rowsSkipped.groupedText) skipped,"),
            .number("\(batches.groupedText) \(batches == 1 ? "batch" : "batches"),"),
            .number(finishedAt.map { ($0 - startedAt).secondsText } ?? "not ended"), .text(origin.rawValue),
            .text(errorMessage ?? ""),
        ]
    }

    /// The color of a run that is, or ended, so.
    static func color(of status: RunStatus) -> Columns.Color {
        switch status.outcome {
        case .succeeded: .green
        case .failed, .timedOut: .red
        case .capped, .canceled, .abandoned, .skipped, nil: .yellow
        }
    }
}
