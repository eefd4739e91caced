import ArgumentParser
import Logging

/// Options that every command takes, before or after its name.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .customLong("database-url-file"),
        help: ArgumentHelp("Read the database URL from this file, anew for each connection.", valueName: "path"))
    var databaseURLFile: String?

    @Option(
        help: ArgumentHelp("The least important messages to log: trace to critical.", valueName: "level"),
        transform: Self.level)
    var logLevel: Logger.Level?

    @Option(help: ArgumentHelp("How messages look: auto, text, json or journal.", valueName: "format"))
    var logFormat: LogFormat?

    private static func level(_ text: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: text) else {
            let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("“\(text)” is no log level; there are \(known).")
        }
        return level
    }

    /// What was given; what is `nil` is left to the defaults.
    struct Values {
        var databaseURLFile: String?
        var logLevel: Logger.Level?
        var logFormat: LogFormat?
    }

    var values: Values { Values(databaseURLFile: databaseURLFile, logLevel: logLevel, logFormat: logFormat) }

    /// These options, completed by those given before the command's name.
    func merged(with earlier: CommonOptions) -> Values {
        Values(
            databaseURLFile: databaseURLFile ?? earlier.databaseURLFile, logLevel: logLevel ?? earlier.logLevel,
            logFormat: logFormat ?? earlier.logFormat)
    }
}
