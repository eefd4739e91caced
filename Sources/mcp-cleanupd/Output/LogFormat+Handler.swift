import CleanupDaemon
import Glibc
import Logging
import SessionCleanup
import Settings
import Systemd

extension LogFormat {
    /// Returns the handler that writes messages in this format.
    ///
    /// - Parameters:
    ///   - isService: true for the service, false for a one-shot command.
    ///   - environment: the process's variables.
    func handler(level: Logger.Level, isService: Bool, environment: [String: String]) -> any LogHandler {
        let lines = LineLogHandler(isJSON: false, level: level)
        switch self {
        case .text: return lines
        case .json: return LineLogHandler(isJSON: true, level: level)
        case .journal: return JournalLogHandler(fallback: lines)
        case .auto where isJournal(environment): return JournalLogHandler(fallback: lines)
        case .auto:
            return LineLogHandler(isJSON: isService && !StandardStream.error.isTerminal, level: level)
        }
    }

    /// True if messages in this format go to the journal.
    ///
    /// - Parameter environment: the process's variables.
    func isJournal(_ environment: [String: String]) -> Bool {
        switch self {
        case .journal: true
        case .auto: Journal.isConnected(to: STDERR_FILENO, environment: environment)
        case .text, .json: false
        }
    }
}

extension CommandSetup {
    /// Writes a run of `--once` to the journal, with the fields that the service writes, if messages go there.
    ///
    /// - Returns: false if they go elsewhere.
    func recordInJournal(_ report: RunReport) -> Bool {
        guard configuration.logFormat.isJournal(environment) else { return false }
        ServiceLog(logger: logger).record(.runConcluded(report))
        return true
    }
}
