import ArgumentParser
import CleanupSchedule
import Settings
import SessionCleanup
import Time

struct ScheduleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schedule", abstract: "Show the next times at which a schedule fires.",
        discussion: """
            A schedule is five fields, minute hour day-of-month month day-of-week, as in pg_cron: "*/5 * * * *", \
            "0 3 * * mon-fri", "0 0 $ * *" for the last day of the month; or "30 seconds"; or @hourly, @daily, \
            @weekly, @monthly, @yearly.
            """)

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Argument(help: "The schedule, in quotes.")
    var expression: String

    @Option(help: ArgumentHelp("Times after this one; now if not given.", valueName: "rfc3339"))
    var from: String?

    @Option(help: ArgumentHelp("How many times to show.", valueName: "number"))
    var count = 5

    @Option(help: ArgumentHelp("The IANA time zone of the schedule; UTC if not given.", valueName: "zone"))
    var timeZone: String?

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    /// More lines than anybody reads; each costs microseconds.
    private static let countLimit = 10_000

    func run() throws {
        try root.refuseOnceFlags(with: "schedule", except: ["--json"])
        guard (1...Self.countLimit).contains(count) else {
            throw ValidationError("--count is \(count); expected a whole number from 1 to \(Self.countLimit).")
        }
        var instant = UTCInstant.now
        if let from {
            guard let given = UTCInstant(rfc3339: from) else {
                throw ValidationError("--from is “\(from)”; expected a time such as 2026-05-13T12:05:00Z.")
            }
            instant = given
        }
        let (schedule, zone) = (try parsedSchedule(), try parsedZone())
        for _ in 0..<count {
            guard let fireTime = schedule.next(after: instant, in: zone) else { break }
            let line = json || root.json ? "\(JSON.object([("fire_time", .string("\(fireTime)"))]))" : "\(fireTime)"
            try StandardStream.output.write(line + "\n")
            instant = fireTime
        }
    }

    private func parsedSchedule() throws -> Schedule {
        do {
            return try Schedule(expression)
        } catch {
            throw CommandFailure(.usage, "the schedule is malformed:\n\(error.annotated)")
        }
    }

    private func parsedZone() throws -> TimeZoneRules? {
        guard let timeZone else { return nil }
        do {
            return try NamedTimeZone(systemName: timeZone).rules
        } catch {
            throw CommandFailure(.usage, "there is no time zone “\(timeZone)”: \(error)")
        }
    }
}
