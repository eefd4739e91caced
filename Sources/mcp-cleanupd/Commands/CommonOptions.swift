import ArgumentParser
import Settings

/// Options that every command takes, before or after its name.
struct CommonOptions: ParsableArguments, Sendable {
    @Option(
        help: ArgumentHelp(
            "Read the configuration from this file; default: \(EffectiveConfiguration.standardPath), if there is one.",
            valueName: "path"))
    var config: String?

    @Option(
        name: .customLong("database-url-file"),
        help: ArgumentHelp("Read the database URL from this file, again for each connection.", valueName: "path"))
    var databaseURLFile: String?

    @Option(help: ArgumentHelp("The minimum level of the messages to log.", valueName: "level")) var logLevel: LogLevel?
    @Option(help: ArgumentHelp("The format of log messages.", valueName: "format")) var logFormat: LogFormat?

    /// The names, for suggestions.
    static let usage = " --config --database-url-file --log-level --log-format --help --version"

    /// The keys of the configuration that the command line sets.
    var settings: [(option: String, key: String, value: String)] {
        (logLevel.map { [("--log-level", "log.level", $0.rawValue)] } ?? [])
            + (logFormat.map { [("--log-format", "log.format", $0.rawValue)] } ?? [])
    }
}

extension LogLevel: ExpressibleByArgument {}
extension LogFormat: ExpressibleByArgument {}

/// A command other than the service and `--once`.
protocol Subcommand: ParsableCommand {
    /// The program's own options. The parser gives them to the program wherever they stand: a command has options of the
    /// same names for its help only.
    var root: RootCommand { get }
    /// Options of the program that the command takes for its own.
    static var ownRootOptions: Set<String> { get }
}

extension Subcommand {
    static var ownRootOptions: Set<String> { [] }

    /// Reads the configuration, once it is clear that all options belong to the command. `key` is the only one that it needs.
    func setup(needingOnly key: String? = nil) throws -> CommandSetup {
        try refuseOnceOptions()
        return try CommandSetup(root.common, needingOnly: key)
    }

    func refuseOnceOptions() throws {
        let foreign = root.onceOnlyOptions.first { !Self.ownRootOptions.contains($0) }
        guard let option = root.once ? "--once" : foreign else { return }
        let command = Self.configuration.commandName ?? ""
        throw ValidationError("\(option) and the command \(command) do not go together.")
    }

    /// Refuses a number of records that is none, or more than memory should hold: a month of runs every five minutes.
    func checkNumber(_ option: String, _ number: Int) throws {
        guard (1...10_000).contains(number) else {
            throw ValidationError("\(option) is \(number); expected a whole number from 1 to 10000.")
        }
    }
}
