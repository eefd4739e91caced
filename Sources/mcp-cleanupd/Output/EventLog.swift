import CleanupDaemon
import Glibc
import Logging
import Settings
import Synchronization
import Systemd
import Time

/// Writes each event of the log: as a line on standard error, for people or as JSON, or as an entry of the journal.
struct EventLog: LogHandler {
    /// The minimum level, one for the whole process, so that a reload changes it for all copies of the logger.
    private static let level = Mutex(Logger.Level.info)

    /// The format in use, never `auto`.
    let format: LogFormat
    private let isTerminal = StandardStream.error.isTerminal
    var metadata: Logger.Metadata = [:]

    init(_ format: LogFormat, isService: Bool, environment: [String: String]) {
        if format != .auto {
            self.format = format
        } else if Journal.isConnected(to: STDERR_FILENO, environment: environment) {
            self.format = .journal
        } else {
            self.format = isService && !isTerminal ? .json : .text
        }
    }

    var logLevel: Logger.Level {
        get { Self.level.withLock(\.self) }
        set { Self.level.withLock { $0 = newValue } }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
            .map { (key: $0.key, value: "\($0.value)") }
        if format == .journal, isInJournal(event, fields) { return }
        StandardStream.error.attempt((format == .json ? json(event, fields) : text(event, fields)) + "\n")
    }

    private typealias Fields = [(key: String, value: String)]

    private func json(_ event: LogEvent, _ fields: Fields) -> String {
        let members: [(String, JSON)] = [
            ("time", UTCInstant.now.json), ("level", event.level.rawValue.json), ("message", "\(event.message)".json),
        ]
        let facts = fields.map { key, value in
            // Counts are numbers for programs; a SQLSTATE of five digits is none.
            let isCount = key.hasPrefix("rows_") || ["batches", "attempts", "run_id", "duration_usec"].contains(key)
            return (key, isCount ? Int(value)?.json ?? value.json : value.json)
        }
        return "\(JSON.object(members + facts))"
    }

    private func text(_ event: LogEvent, _ fields: Fields) -> String {
        // A terminal shows when a line came; elsewhere the line has to say it.
        let time = isTerminal ? "" : "\(UTCInstant.now) "
        // The ID is for machines, and 32 digits long; a person finds the hint on a line of its own, as after an error.
        let isApart = { (key: String) in key == MessageID.metadataKey || key == "hint" && isTerminal }
        let suffix = fields.filter { !isApart($0.key) }.map { " \($0.key)=\($0.value)" }.joined()
        let hint = isTerminal ? fields.first { $0.key == "hint" }.map { "\nhint: \($0.value.visible)" } : nil
        // One line for each event, even if its message has several.
        let message = "\(event.message)".replacing("\n", with: " ")
        return "\(time)\(event.level): \(message)\(suffix)".visible + (hint ?? "")
    }

    /// Sends the event to the journal, with its metadata as fields of our own. Returns false if the journal or libsystemd is
    /// missing: standard error may still lead to the journal then.
    private func isInJournal(_ event: LogEvent, _ fields: Fields) -> Bool {
        var entry = [
            (name: "MESSAGE", value: "\(event.message)"), ("PRIORITY", "\(event.level.priority)"),
            // By default libsystemd takes the program's name, which a symbolic link changes.
            ("SYSLOG_IDENTIFIER", "mcp-cleanupd"),
        ]
        for (key, value) in fields {
            entry.append((key == MessageID.metadataKey ? "MESSAGE_ID" : "MCP_CLEANUP_" + key.uppercased(), value))
        }
        // If sending fails, the event goes to standard error.
        return (try? Journal.send(entry)) != nil
    }
}

extension Logger.Level {
    /// The level as the journal's PRIORITY: syslog(3).
    fileprivate var priority: Int {
        switch self {
        case .critical: 2
        case .error: 3
        case .warning: 4
        case .notice: 5
        case .info: 6
        case .debug, .trace: 7
        }
    }
}
