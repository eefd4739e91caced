import ArgumentParser
import CleanupDaemon
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
            let (access, table) = (try setup.databaseAccess(), setup.table.name)
            records = try await Signals.canceling { try await access.records(of: jobs.map(\.name), beside: table) }
        } catch {
            guard let failure = CommandFailure(expected: error) else { throw error }
            unknown = failure
            // Without a URL or a history the schedules are all there is to show.
            let hasURL = (try? setup.databaseURLSource()) != nil
            if !hasURL || error as? RunFailure == .nothingRecorded { unknown?.code = .success }
        }
        try print(
            jobs.map { JobStatus(job: $0, record: records[$0.name], now: .now) },
            header: ["JOB", "SCHEDULE", "NEXT RUN (UTC)", "LAST RUN", "DELETED"], flexible: 1, json: \.json, row: \.row)
        guard var unknown else { return try await printRemoved(setup) }
        guard unknown.code == .success else {
            unknown.message = "past runs are not known: \(unknown.message)"
            throw unknown
        }
        let metadata: Logger.Metadata? = unknown.hint.map { ["hint": "\($0)"] }
        setup.logger.notice("Past runs are not known: \(unknown.message)", metadata: metadata)
    }

    /// Prints the number of recorded removed sessions, below the table for people, if the configuration records them.
    private func printRemoved(_ setup: CommandSetup) async throws {
        guard !isJSON, setup.configuration.history.removed != nil else { return }
        let (access, table) = (try setup.databaseAccess(), setup.table.name)
        let (recorded, oldest) = try await Signals.canceling { try await access.removedCount(beside: table) }
        let since = oldest.map { ", since \($0.minuteText)" } ?? ""
        try print("Removed sessions on record: \(recorded.groupedText)\(since)")
    }
}

/// A job, its history, and what follows from them.
private struct JobStatus {
    let job: Job
    let record: JobRecord?
    let now: UTCInstant

    private var nextFireTime: UTCInstant? {
        job.isEnabled ? job.schedule.next(after: now, in: job.timeZone?.rules) : nil
    }

    /// True if its last success, or its first run if none succeeded, is longer ago than the service's readiness allows;
    /// `nil` if the history does not tell.
    private var isOverdue: Bool? {
        guard let record else { return nil }
        guard job.isEnabled, let since = record.lastSuccessAt ?? record.firstRunAt else { return false }
        return record.now - since > job.budget(after: since)
    }

    var json: JSON {
        [
            "job": job.name, "enabled": job.isEnabled, "schedule": "\(job.schedule)",
            "time_zone": job.timeZone?.name ?? "UTC", "next_fire_at": nextFireTime,
            "last_run_at": record?.lastRun?.startedAt, "last_run_status": record?.lastRun?.status,
            "last_success_at": record?.lastSuccessAt, "overdue": isOverdue,
        ]
    }

    var row: Table.Row {
        // To the minute, but for a schedule of seconds.
        let next = nextFireTime.map { $0.tableText.hasSuffix(":00") ? $0.minuteText : $0.tableText }
        let cells: [Table.Cell] = [
            // The longest name that leaves room for the times and for a schedule such as `*/10 * * * *`.
            .text(job.displayName.cut(to: 12)), .text("\(job.schedule)"), .text(next ?? "disabled"),
        ]
        guard let record else { return Table.Row(cells: cells) }
        guard let last = record.lastRun else { return Table.Row(cells: cells + [.text("never")]) }
        let ago = (record.now - last.startedAt).inWords
        let success = record.lastSuccessAt.map { "last success \((record.now - $0).inWords) ago" } ?? "never succeeded"
        let isOverdue = isOverdue == true
        let hasNews = isOverdue || last.outcome != .succeeded
        return Table.Row(
            cells: cells + [
                .status(last.outcome, "\(last.status) \(ago) ago"),
                .number(last.rowsDeleted.groupedText),
            ], note: hasNews ? (isOverdue ? "overdue: " : "") + success : nil, noteColor: isOverdue ? .red : nil)
    }
}
