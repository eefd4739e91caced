import ArgumentParser
import CleanupSchedule
import Settings
import SessionCleanup

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show each job's schedule and next fire time.")

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    func run() throws {
        try root.refuseOnceFlags(with: "status", except: ["--json"])
        let setup = try CommandSetup(common.merged(with: root.common))
        let now = UTCInstant.now
        for job in setup.configuration.jobs {
            let next = job.isEnabled ? job.schedule.next(after: now, in: job.timeZone?.rules) : nil
            let line = json || root.json ? "\(job.json(next: next))" : job.line(next: next, now: now)
            try StandardStream.output.write(line + "\n")
        }
    }
}

extension Job {
    fileprivate func json(next: UTCInstant?) -> JSON {
        .object([
            ("job", .string(name)), ("enabled", .boolean(isEnabled)), ("schedule", .string("\(schedule)")),
            ("time_zone", .string(timeZone?.name ?? "UTC")), ("next_fire_at", JSON(next.map { "\($0)" })),
        ])
    }

    fileprivate func line(next: UTCInstant?, now: UTCInstant) -> String {
        let when = next.map { "next at \($0), in \(($0 - now).inWords)" } ?? "disabled"
        return "\(name.padding(to: 32)) \("\(schedule)".padding(to: 14)) \(when)"
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
