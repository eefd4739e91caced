import ArgumentParser
import Settings

/// Options that every command takes, before or after its name.
struct CommonOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Read the configuration from this file; default: \(ConfigurationFile.standardPath), if there is one.",
            valueName: "path"))
    var config: String?

    @Option(
        name: .customLong("database-url-file"),
        help: ArgumentHelp(
            "Read the database URL from this file, again for each connection.", valueName: "path"))
    var databaseURLFile: String?

    @Option(help: ArgumentHelp("The minimum level of the messages to log.", valueName: "level"))
    var logLevel: LogLevel?

    @Option(help: ArgumentHelp("The format of log messages.", valueName: "format"))
    var logFormat: LogFormat?

    /// The names, for suggestions.
    static let usage = " --config --database-url-file --log-level --log-format --help --version"

    /// The options that were given; `nil` leaves a value to the configuration and the defaults.
    struct Values {
        var config: String?
        var databaseURLFile: String?
        var logLevel: LogLevel?
        var logFormat: LogFormat?

        /// The keys of the configuration that the command line sets.
        var settings: [(option: String, key: String, value: String)] {
            (logLevel.map { [("--log-level", "log.level", $0.rawValue)] } ?? [])
                + (logFormat.map { [("--log-format", "log.format", $0.rawValue)] } ?? [])
        }
    }

    var values: Values {
        Values(config: config, databaseURLFile: databaseURLFile, logLevel: logLevel, logFormat: logFormat)
    }

    /// These options, completed by those given before the command's name.
    func merged(with earlier: CommonOptions) -> Values {
        Values(
            config: config ?? earlier.config, databaseURLFile: databaseURLFile ?? earlier.databaseURLFile,
            logLevel: logLevel ?? earlier.logLevel, logFormat: logFormat ?? earlier.logFormat)
    }
}

/// The options of a command that lists records.
struct ListingOptions: ParsableArguments {
    @Flag(help: "Print one JSON object per line.")
    var json = false

    @OptionGroup(title: "Common options") var common: CommonOptions
}

/// A command other than the service and `--once`.
protocol Subcommand: ParsableCommand {
    /// The program's own options, given before or after the command's name.
    var root: RootCommand { get }
    var common: CommonOptions { get }
    /// Options of the program that the command takes for its own.
    static var ownRootOptions: Set<String> { get }
}

extension Subcommand {
    static var ownRootOptions: Set<String> { [] }

    /// Reads the configuration, once it is clear that all options belong to the command.
    ///
    /// - Parameter key: the only key that the command needs.
    func setup(needingOnly key: String? = nil) throws -> CommandSetup {
        try refuseOnceOptions()
        return try CommandSetup(common.merged(with: root.common), needingOnly: key)
    }

    /// Refuses what goes with `--once` only.
    ///
    /// The parser gives an option of the program to the program wherever it stands; a command that has an option of the
    /// same name reads it there, and names it as its own.
    func refuseOnceOptions() throws {
        let command = Self.configuration.commandName ?? ""
        if root.once { throw ValidationError("--once and the command \(command) do not go together.") }
        if let option = root.onceOnlyOptions.first(where: { !Self.ownRootOptions.contains($0) }) {
            throw ValidationError("\(option) and the command \(command) do not go together.")
        }
    }
}

/// A command that lists records, as a table or, with `--json`, as objects.
protocol ListingCommand: Subcommand {
    var listing: ListingOptions { get }
}

extension ListingCommand {
    static var ownRootOptions: Set<String> { ["--json"] }
    var common: CommonOptions { listing.common }
    var output: OutputRows { OutputRows(isJSON: listing.json || root.json) }
}

extension LogLevel: ExpressibleByArgument {}
extension LogFormat: ExpressibleByArgument {}
