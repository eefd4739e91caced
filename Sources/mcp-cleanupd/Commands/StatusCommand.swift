import ArgumentParser
import CleanupSchedule
import Logging
import SessionCleanup
import Settings
import Time

struct StatusCommand: AsyncParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show each job's schedule, next run, last run and last success.",
        usage: "mcp-cleanupd status [--json]",
        discussion: """
            Runs are read from mcp_cleanup.runs, for which SELECT is enough. Without a database URL, or without that table, \
            only the schedules are shown, and the exit code is 0; if the database cannot be read, the exit code says why.
            """)

    @ParentCommand var root: RootCommand
    @OptionGroup var listing: ListingOptions

    func run() async throws {
        let setup = try setup()
        let jobs = setup.jobs
        var records: [String: JobRecord] = [:]
        var unknown: CommandFailure?
        do {
            let access = try setup.databaseAccess()
            records = try await SignalCancellation.run { try await RecordedRuns(access).records(of: jobs.map(\.name)) }
        } catch let failure as CommandFailure {
            unknown = failure
        } catch let failure as RunFailure {
            unknown = CommandFailure(failure)
            if failure == .nothingRecorded { unknown?.code = .success }
        }
        try output.print(jobs.map { JobStatus(job: $0, record: records[$0.name], now: .now) })
        guard let unknown else { return try await printRemoved(setup) }
        guard unknown.code == .success || !setup.hasDatabaseURL else {
            throw CommandFailure(
                unknown.code, "past runs are not known: \(unknown.message)", hint: unknown.hint)
        }
        let metadata: Logger.Metadata? = unknown.hint.map { ["hint": "\($0)"] }
        setup.logger.notice("Past runs are not known: \(unknown.message)", metadata: metadata)
    }
}

extension StatusCommand {
    /// Says how many removed sessions are recorded, below the table for people, where they are to be recorded.
    private func printRemoved(_ setup: CommandSetup) async throws {
        guard !output.isJSON, setup.configuration.historyRemoved != nil else { return }
        let removed = RemovedSessions(try setup.databaseAccess(), of: setup.table.name)
        let (recorded, oldest) = try await SignalCancellation.run { try await removed.count() }
        let since = oldest.map { ", since \($0.minuteText)" } ?? ""
        try StandardStream.output.list("Removed sessions on record: \(recorded.groupedText)\(since)\n")
    }
}

/// A job, its history, and what follows from them.
private struct JobStatus: OutputRow {
    let job: Job
    let record: JobRecord?
    let now: UTCInstant

    static let header = ["JOB", "SCHEDULE", "NEXT RUN (UTC)", "LAST RUN", "DELETED"]
    static let flexibleColumn = 1

    /// To the minute, but for a schedule of seconds.
    private var nextRun: String {
        guard let time = nextFireTime else { return "disabled" }
        return time.tableText.hasSuffix(":00") ? time.minuteText : time.tableText
    }

    var nextFireTime: UTCInstant? {
        job.isEnabled ? job.schedule.next(after: now, in: job.timeZone?.rules) : nil
    }

    /// True if its last success, or else its first run, is longer ago than the service's readiness allows; `nil` if that is
    /// not known.
    var isOverdue: Bool? {
        guard let record else { return nil }
        guard job.isEnabled, let since = record.lastSuccessAt ?? record.firstRunAt else { return false }
        return record.now - since > job.budget(after: since)
    }

    /// The keys that scripts rely on, in their order.
    var json: JSON {
        .object([
            ("job", .string(job.name)), ("enabled", .boolean(job.isEnabled)), ("schedule", .string("\(job.schedule)")),
            ("time_zone", .string(job.timeZone?.name ?? "UTC")), ("next_fire_at", JSON(nextFireTime.map { "\($0)" })),
            ("last_run_at", JSON((record?.lastRun?.startedAt).map { "\($0)" })),
            ("last_run_status", JSON(record?.lastRun?.status.rawValue)),
            ("last_success_at", JSON((record?.lastSuccessAt).map { "\($0)" })),
            ("overdue", isOverdue.map(JSON.boolean) ?? .null),
        ])
    }

    var tableRow: Table.Row {
        var cells: [Table.Cell] = [
            // The longest name that leaves room for the times and for a schedule such as `*/10 * * * *`.
            .text((job.shortName ?? job.name).cut(to: 12)), .text("\(job.schedule)"),
            .text(nextRun),
        ]
        guard let record else { return Table.Row(cells: cells) }
        guard let last = record.lastRun else { return Table.Row(cells: cells + [.text("never")]) }
        cells += [
            .text(
                "\(last.status.rawValue) \((record.now - last.startedAt).inWords) ago", Table.Color(status: last.status)
            ),
            .number(last.rowsDeleted.groupedText),
        ]
        let success = record.lastSuccessAt.map { "last success \((record.now - $0).inWords) ago" } ?? "never succeeded"
        let isOverdue = isOverdue == true
        let hasNews = isOverdue || last.status.outcome != .succeeded
        return Table.Row(
            cells: cells, note: hasNews ? (isOverdue ? "overdue: " : "") + success : nil,
            noteColor: isOverdue ? .red : nil)
    }
}
