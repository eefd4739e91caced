import Logging
import Synchronization

/// The least important level that is logged: the same for all copies of a logger, also when a reload changes it.
final class LogThreshold: Sendable {
    private let current: Mutex<Logger.Level>

    init(_ level: Logger.Level) { current = Mutex(level) }

    var level: Logger.Level {
        get { current.withLock(\.self) }
        set { current.withLock { $0 = newValue } }
    }
}

/// Passes on what reaches the threshold.
struct ThresholdLogHandler: LogHandler {
    private var handler: any LogHandler
    private var threshold: LogThreshold

    init(_ handler: any LogHandler, _ threshold: LogThreshold) {
        self.handler = handler
        self.threshold = threshold
    }

    /// A level set on a logger is that logger's own.
    var logLevel: Logger.Level {
        get { threshold.level }
        set { threshold = LogThreshold(newValue) }
    }

    var metadata: Logger.Metadata {
        get { handler.metadata }
        set { handler.metadata = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { handler[metadataKey: key] }
        set { handler[metadataKey: key] = newValue }
    }

    func log(event: LogEvent) { handler.log(event: event) }
}
