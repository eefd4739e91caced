import Glibc
import Logging
import Settings
import Systemd

extension LogFormat {
    /// - Parameters:
    ///   - isService: whether the service speaks, or a one-shot command.
    ///   - environment: the process's variables.
    func handler(level: Logger.Level, isService: Bool, environment: [String: String]) -> any LogHandler {
        switch self {
        case .text: return LineLogHandler(isJSON: false, level: level)
        case .json: return LineLogHandler(isJSON: true, level: level)
        case .journal:
            let lines = LineLogHandler(isJSON: false, level: level)
            do {
                return JournalLogHandler(try Journal(), fallback: lines)
            } catch {
                // Without a socket there is no journal to write to, and there still is standard error.
                return lines
            }
        case .auto:
            if Journal.isConnected(to: STDERR_FILENO, environment: environment) {
                return LogFormat.journal.handler(level: level, isService: isService, environment: environment)
            }
            return LineLogHandler(isJSON: isService && !StandardStream.error.isTerminal, level: level)
        }
    }
}
