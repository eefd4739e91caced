import CleanupDaemon
import SessionCleanup
import Glibc
import Logging
import Time

/// Writes one line per event to standard error: for people, or as JSON.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    let isJSON: Bool
    private let isTerminal: Bool

    init(isJSON: Bool, level: Logger.Level) {
        logLevel = level
        self.isJSON = isJSON
        isTerminal = StandardStream.error.isTerminal
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
            members += fields.map { ($0.key, Self.json($0.key, $0.value)) }
            line = "\(JSON.object(members))"
        } else {
            // A terminal shows when a line came; elsewhere the line has to say it.
            let time = isTerminal ? "" : "\(UTCInstant.now) "
            // The ID is for machines, and 32 digits long; a person finds the hint on a line of its own, as after an error.
            let isApart = { (key: String) in key == MessageID.metadataKey || key == "hint" && isTerminal }
            let suffix = fields.filter { !isApart($0.key) }.map { " \($0.key)=\($0.value)" }.joined()
            let hint = isTerminal ? fields.first { $0.key == "hint" }.map { "\nhint: \("\($0.value)".visible)" } : nil
            // A line for each event, of however many lines its message has.
            let message = "\(event.message)".replacing("\n", with: " ")
            line = "\(time)\(event.level): \(message)\(suffix)".visible + (hint ?? "")
        }
        do {
            try StandardStream.error.write(line + "\n")
        } catch {
            // Nothing is left to write to.
        }
    }

    /// Counts are numbers for programs; a SQLSTATE of five digits is none.
    private static func json(_ key: String, _ value: Logger.Metadata.Value) -> JSON {
        let isCount = key.hasPrefix("rows_") || ["batches", "attempts", "run_id", "duration_usec"].contains(key)
        guard isCount, let number = Int("\(value)") else { return .string("\(value)") }
        return .integer(number)
    }
}
