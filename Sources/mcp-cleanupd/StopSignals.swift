import Deadlines
import Dispatch
import Glibc
import Logging
import Postgres
import Synchronization

/// SIGTERM and SIGINT for a service: the first asks for an orderly end, which has a limit; the second ends the process
/// at once, since who asks twice does not want to wait. What was under way is rolled back by the server then.
///
/// Neither a blocked log nor anything else can keep the process from ending. The service group's own handling ignores
/// second signals, and misses one that comes before it runs.
final class StopSignals: Sendable {
    private let count = Atomic(0)

    /// - Parameters:
    ///   - timeout: how long after the first signal the process ends in any case, with exit code 0.
    ///   - stop: called at the first signal; must not block.
    init(timeout: Duration, logger: Logger, stop: @escaping @Sendable () -> Void) {
        Signals.handle { [self] number in
            // There is no file to read again, and a terminal that goes away is no reason to end.
            guard number != SIGHUP else { return }
            if count.add(1, ordering: .relaxed).newValue > 1 { _exit(128 + number) }
            stop()
            _ = Deadlines.shared.add(at: .now + timeout) { Self.giveUp(timeout, logger) }
        }
    }

    func cancel() { Signals.handle(nil) }

    /// A run that is canceled ends within seconds, whatever the server does. Should one not, a supervisor waits for us.
    private static func giveUp(_ timeout: Duration, _ logger: Logger) {
        let said = DispatchSemaphore(value: 0)
        // On another queue: the log may be what blocks.
        DispatchQueue(label: "mcp-cleanupd.last-words").async {
            logger.critical(
                "Something did not end within \(timeout.inSeconds) of the request to stop; ending without it.")
            said.signal()
        }
        // As long as a log that works takes on a busy machine, and no burden on top of the timeout.
        _ = said.wait(timeout: .now() + .milliseconds(100))
        _exit(0)
    }
}
