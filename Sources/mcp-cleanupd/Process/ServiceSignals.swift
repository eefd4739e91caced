import Dispatch
import Glibc
import Logging
import Postgres
import Synchronization
import Time

/// What signals mean to a service. SIGTERM and SIGINT: the first asks for an orderly end, which has a limit; the second ends
/// the process at once, since who asks twice does not want to wait. What was under way is rolled back by the server then.
/// SIGHUP: the configuration is read again.
///
/// Neither a blocked log nor anything else can keep the process from ending. The service group's own handling ignores
/// second signals, and misses one that comes before it runs.
final class ServiceSignals: Sendable {
    private let count = Atomic(0)

    /// - Parameters:
    ///   - timeout: how long after the first signal the process ends in any case, with exit code 0.
    ///   - stop: called at the first signal; must not block.
    ///   - reload: called at each SIGHUP, one call at a time, on a queue of its own: reading a file may block.
    init(
        timeout: Duration, logger: Logger, stop: @escaping @Sendable () -> Void, reload: @escaping @Sendable () -> Void
    ) {
        let queue = DispatchQueue(label: "mcp-cleanupd.reload")
        Signals.handle { [self] number in
            guard number != SIGHUP else { return queue.async(execute: reload) }
            if count.add(1, ordering: .relaxed).newValue > 1 { _exit(128 + number) }
            stop()
            _ = Deadlines.shared.add(at: .now + timeout) { Self.giveUp(timeout, logger) }
        }
    }

    /// A canceled run ends within seconds, also if the server does not answer. If one does not, the supervisor is not kept
    /// waiting.
    private static func giveUp(_ timeout: Duration, _ logger: Logger) {
        let said = DispatchSemaphore(value: 0)
        // On another queue: the log may be what blocks.
        DispatchQueue(label: "mcp-cleanupd.last-words").async {
            logger.critical(
                "Something did not end within \(timeout.secondsText) of the request to stop; ending without it.")
            said.signal()
        }
        // As long as a log that works takes on a busy machine, and no burden on top of the timeout.
        _ = said.wait(timeout: .now() + .milliseconds(100))
        _exit(0)
    }
}
