import CleanupDaemon
import Logging
import Systemd

/// Writes each event as an entry of the journal, with its metadata as fields of our own.
struct JournalLogHandler: LogHandler {
    var logLevel: Logger.Level {
        get { lines.logLevel }
        set { lines.logLevel = newValue }
    }
    var metadata: Logger.Metadata = [:]

    /// Writes the entries that the journal does not take.
    private var lines: LineLogHandler

    init(fallback: LineLogHandler) { lines = fallback }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = [
            (name: "MESSAGE", value: "\(event.message)"), ("PRIORITY", "\(event.level.priority)"),
            // libsystemd would take the program's name, which a link to it changes.
            ("SYSLOG_IDENTIFIER", "mcp-cleanupd"),
        ]
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }) {
            fields.append((Self.fieldName(key), "\(value)"))
        }
        do {
            try Journal.send(fields)
        } catch {
            // The journal or libsystemd is missing. Standard error may still lead to the journal, without the fields.
            lines.log(event: event)
        }
    }

    private static func fieldName(_ key: String) -> String {
        key == MessageID.metadataKey ? "MESSAGE_ID" : "MCP_CLEANUP_" + key.uppercased()
    }
}

extension Logger.Level {
    /// syslog(3), as the journal has it.
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
