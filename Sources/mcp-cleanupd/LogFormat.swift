import ArgumentParser
import Glibc
import Logging
import Systemd

/// How messages on standard error look.
enum LogFormat: String, CaseIterable, Sendable, ExpressibleByArgument {
    /// Entries of the journal where standard error is connected to it; else lines of text on a terminal and from one-shot
    /// commands, and JSON from the service, which then runs in a container or under another supervisor.
    case auto
    case text
    case json
    case journal

    /// - Parameters:
    ///   - isService: whether the service speaks, or a one-shot command.
    ///   - environment: the process's variables.
    func handler(
        level: Logger.Level, isService: Bool, environment: [String: String]
    ) -> any LogHandler {
        switch self {
        case .text: LineLogHandler(isJSON: false, level: level)
        case .json: LineLogHandler(isJSON: true, level: level)
        case .journal:
            if let journal = try? Journal() {
                // Without a socket there is no journal to write to, and there still is standard error.
                JournalLogHandler(journal, fallback: LineLogHandler(isJSON: false, level: level))
            } else {
                LineLogHandler(isJSON: false, level: level)
            }
        case .auto:
            if Journal.isConnected(to: STDERR_FILENO, environment: environment) {
                LogFormat.journal.handler(level: level, isService: isService, environment: environment)
            } else {
                LineLogHandler(isJSON: isService && !StandardStream.error.isTerminal, level: level)
            }
        }
    }
}
