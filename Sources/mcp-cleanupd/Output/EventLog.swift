import CleanupDaemon
import Glibc
import Logging
import Settings
import Synchronization
import Systemd
import Time

/// Writes each event of the log: as a line on standard error, for people or as JSON, or as an entry of the journal.
struct EventLog: LogHandler {
    enum Form {
        case text, json, journal
    }

    /// The minimum level: the process's, so that a reload changes it for all copies of the logger.
    private static let level = Mutex(Logger.Level.info)

    let form: Form
    private let isTerminal = StandardStream.error.isTerminal
    var metadata: Logger.Metadata = [:]

    /// - Parameters:
    ///   - isService: true for the service, false for a one-shot command.
    ///   - environment: the process's variables.
    init(_ format: LogFormat, isService: Bool, environment: [String: String]) {
        let isJournal = { Journal.isConnected(to: STDERR_FILENO, environment: environment) }
        form =
            switch format {
            case .text: .text
            case .json: .json
            case .journal: .journal
            case .auto: isJournal() ? .journal : isService && !isTerminal ? .json : .text
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
        if form == .journal, isInJournal(event, fields) { return }
        StandardStream.error.attempt((form == .json ? json(event, fields) : text(event, fields)) + "\n")
    }

    private typealias Fields = [(key: String, value: Logger.Metadata.Value)]

    private func json(_ event: LogEvent, _ fields: Fields) -> String {
        let members: [(String, JSON)] = [
            ("time", UTCInstant.now.json), ("level", .string(event.level.rawValue)),
            ("message", .string("\(event.message)")),
        ]
        return "\(JSON.object(members + fields.map { ($0.key, Self.json($0.key, "\($0.value)")) }))"
    }

    /// Counts are numbers for programs; a SQLSTATE of five digits is none.
    private static func json(_ key: String, _ value: String) -> JSON {
        let isCount = key.hasPrefix("rows_") || ["batches", "attempts", "run_id", "duration_usec"].contains(key)
        return isCount ? Int(value).map(JSON.integer) ?? .string(value) : .string(value)
    }

    private func text(_ event: LogEvent, _ fields: Fields) -> String {
        // A terminal shows when a line came; elsewhere the line has to say it.
        let time = isTerminal ? "" : "\(UTCInstant.now) "
        // The ID is for machines, and 32 digits long; a person finds the hint on a line of its own, as after an error.
        let isApart = { (key: String) in key == MessageID.metadataKey || key == "hint" && isTerminal }
        let suffix = fields.filter { !isApart($0.key) }.map { " \($0.key)=\($0.value)" }.joined()
        let hint = isTerminal ? fields.first { $0.key == "hint" }.map { "\nhint: \("\($0.value)".visible)" } : nil
        // A line for each event, of however many lines its message has.
        let message = "\(event.message)".replacing("\n", with: " ")
        return "\(time)\(event.level): \(message)\(suffix)".visible + (hint ?? "")
    }

    /// Sends the event to the journal, with its metadata as fields of our own.
    ///
    /// - Returns: false if the journal or libsystemd is missing. Standard error may still lead to the journal then.
    private func isInJournal(_ event: LogEvent, _ fields: Fields) -> Bool {
        var entry = [
            (name: "MESSAGE", value: "\(event.message)"), ("PRIORITY", "\(event.level.priority)"),
            // libsystemd would take the program's name, which a link to it changes.
            ("SYSLOG_IDENTIFIER", "mcp-cleanupd"),
        ]
        for (key, value) in fields {
            let name = key == MessageID.metadataKey ? "MESSAGE_ID" : "MCP_CLEANUP_" + key.uppercased()
            entry.append((name, "\(value)"))
        }
        do {
            try Journal.send(entry)
            return true
        } catch {
            return false
        }
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
