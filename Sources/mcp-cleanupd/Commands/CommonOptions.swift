import ArgumentParser
import Settings

/// Options that every command takes, before or after its name.
struct CommonOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Read the configuration from this file; from \(ConfigurationFile.standardPath), if there is one, otherwise.",
            valueName: "path"))
    var config: String?

    @Option(
        name: .customLong("database-url-file"),
        help: ArgumentHelp("Read the database URL from this file, anew for each connection.", valueName: "path"))
    var databaseURLFile: String?

    @Option(help: ArgumentHelp("The least important messages to log: trace to critical.", valueName: "level"))
    var logLevel: LogLevel?

    @Option(help: ArgumentHelp("How messages look: auto, text, json or journal.", valueName: "format"))
    var logFormat: LogFormat?

    /// What was given; what is `nil` is left to the configuration and the defaults.
    struct Values {
        var config: String?
        var databaseURLFile: String?
        var logLevel: LogLevel?
        var logFormat: LogFormat?

        /// What the command line sets of the configuration.
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

extension LogLevel: ExpressibleByArgument {}
extension LogFormat: ExpressibleByArgument {}
