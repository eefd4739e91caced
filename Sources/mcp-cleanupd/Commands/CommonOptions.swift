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
    /// The program's own options. The parser stores them in the root command wherever they stand: a command's own
    /// options of the same names are for its help only.
    var root: RootCommand { get }
    /// Options of the program that this command accepts too.
    static var ownRootOptions: Set<String> { get }
}

extension Subcommand {
    static var ownRootOptions: Set<String> { [] }

    /// Refuses options that the command does not take, and reads the configuration: only `key` is needed, if given.
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

    /// Refuses a number below 1, or above 10,000 for memory's sake: a month of runs every five minutes is less.
    func checkNumber(_ option: String, _ number: Int) throws {
        guard (1...10_000).contains(number) else {
            throw ValidationError("\(option) is \(number); expected a whole number from 1 to 10000.")
        }
    }
}
