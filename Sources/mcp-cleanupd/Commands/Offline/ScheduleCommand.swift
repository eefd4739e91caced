import ArgumentParser
import CleanupSchedule
import Settings
import SessionCleanup
import Time

struct ScheduleCommand: ParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "schedule", abstract: "Show the next times at which a schedule fires.",
        usage: "mcp-cleanupd schedule EXPRESSION [--from TIME] [--count NUMBER] [--time-zone ZONE] [--json]",
        discussion: """
            A schedule is five fields, minute hour day-of-month month day-of-week, as in pg_cron: "*/5 * * * *", \
            "0 3 * * mon-fri", "0 0 $ * *" for the last day of the month; or "30 seconds"; or @hourly, @daily, \
            @weekly, @monthly, @yearly.
            """)

    @ParentCommand var root: RootCommand
    @Argument(help: "The schedule, in quotes.") var expression: String
    @Option(help: ArgumentHelp("Show times after this one; default: now.", valueName: "rfc3339")) var from: String?
    @Option(help: ArgumentHelp("The number of times to show.", valueName: "number")) var count = 5

    @Option(help: ArgumentHelp("The IANA time zone of the schedule; default: UTC.", valueName: "zone"))
    var timeZone: String?

    @OptionGroup var listing: ListingOptions

    func validate() throws { try checkNumber("--count", count) }

    func run() throws {
        try refuseOnceOptions()
        guard var instant = from.map(UTCInstant.init(rfc3339:)) ?? .now else {
            throw ValidationError("--from is \((from ?? "").shown); expected a time such as 2026-05-13T12:05:00Z.")
        }
        let schedule: Schedule
        do {
            schedule = try Schedule(expression)
        } catch {
            throw CommandFailure(
                .usage, "the schedule is malformed:\n\(error.annotated)",
                hint: "The fields are minute, hour, day of month, month, day of week: mcp-cleanupd schedule --help.")
        }
        let zone: TimeZoneRules?
        do {
            zone = try timeZone.map { try NamedTimeZone(systemName: $0).rules }
        } catch {
            throw CommandFailure(
                .usage, "there is no time zone \(timeZone?.shown ?? ""): \(error)",
                hint: "Names are those of the system's tzdata, such as Europe/Berlin.")
        }
        for _ in 0..<count {
            guard let fireTime = schedule.next(after: instant, in: zone) else { break }
            try print(isJSON ? "\(["fire_time": fireTime] as JSON)" : "\(fireTime)")
            instant = fireTime
        }
    }
}
