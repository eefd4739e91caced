import CleanupDaemon
import SessionCleanup
import Glibc
import Logging
import Time

/// Writes one line per event to standard error: for people, or as JSON.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    private let isJSON: Bool
    /// A terminal shows when a line came; elsewhere the line has to say it.
    private let hasTime: Bool

    init(isJSON: Bool, level: Logger.Level) {
        logLevel = level
        self.isJSON = isJSON
        hasTime = !StandardStream.error.isTerminal
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        let line: String
        if isJSON {
            var members: [(String, JSON)] = [
                ("time", .string("\(UTCInstant.now)")), ("level", .string(event.level.rawValue)),
                ("message", .string("\(event.message)")),
            ]
            members += fields.map { ($0.key, .string("\($0.value)")) }
            line = "\(JSON.object(members))"
        } else {
            let time = hasTime ? "\(UTCInstant.now) " : ""
            // For machines, and 32 digits long.
            let suffix = fields.filter { $0.key != MessageID.metadataKey }.map { " \($0.key)=\($0.value)" }.joined()
            line = "\(time)\(event.level): \(event.message)\(suffix)".visible
        }
        do {
            try StandardStream.error.write(line + "\n")
        } catch {
            // Nobody is left to tell.
        }
    }
}
