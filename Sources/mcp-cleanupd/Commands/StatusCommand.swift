import ArgumentParser
import CleanupSchedule
import Logging
import Postgres
import SessionCleanup
import Time

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show each job's schedule, next fire time, last run and last success.",
        discussion: """
            What ran is read from mcp_cleanup.runs, for which SELECT is enough. Without a database URL, or without that \
            table, schedules are shown alone, and the exit code is 0; when the database cannot be asked, it says why.
            """)

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    func run() async throws {
        try root.refuseOnceFlags(with: "status", except: ["--json"])
        let setup = try CommandSetup(common.merged(with: root.common))
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
        let statuses = jobs.map { JobStatus(job: $0, record: records[$0.name], now: .now) }
        if json || root.json {
            for status in statuses { try StandardStream.output.write("\(status.json)\n") }
        } else {
            var columns = Columns()
            for status in statuses { columns.append(status.cells) }
            for line in columns.lines() { try StandardStream.output.write(line + "\n") }
        }
        guard let unknown else { return }
        let metadata: Logger.Metadata? = unknown.hint.map { ["hint": "\($0)"] }
        setup.logger.notice("What ran is not known: \(unknown.message)", metadata: metadata)
        if unknown.code != .success, setup.hasDatabaseURL { throw ExitCode(unknown.code.rawValue) }
    }
}

/// A job, what the history knows of it, and what follows.
private struct JobStatus {
    let job: Job
    let record: JobRecord?
    let now: UTCInstant

    var nextFireTime: UTCInstant? {
        job.isEnabled ? job.schedule.next(after: now, in: job.timeZone?.rules) : nil
    }

    /// Whether its last success, or else its first run, is longer ago than the service's readiness would let it be; `nil`
    /// when that is not known.
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

    var cells: [Columns.Cell] {
        let next = nextFireTime.map { "next at \($0), in \(($0 - now).inWords)" } ?? "disabled"
        var cells: [Columns.Cell] = [.text(job.name), .text("\(job.schedule)"), .text(next)]
        guard let record else { return cells }
        guard let last = record.lastRun else { return cells + [.text("never ran")] }
        cells.append(
            .text(
                "\(last.status.rawValue) \((record.now - last.startedAt).inWords) ago, \(last.rowsDeleted.groupedText) deleted",
                RecordedRun.color(of: last.status)))
        if isOverdue == true {
            let since = record.lastSuccessAt.map { "no success for \((record.now - $0).inWords)" } ?? "never succeeded"
            cells.append(.text("overdue: \(since)", .red))
        }
        return cells
    }
}

extension Duration {
    /// For people, to two units: `4 min 12 s`, `13 h 5 min`.
    fileprivate var inWords: String {
        let seconds = Int(components.seconds)
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s"),
        ]
        guard let first = parts.firstIndex(where: { $0.0 > 0 }) else { return "0 s" }
        return parts[first...].prefix(2).filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: " ")
    }
}
