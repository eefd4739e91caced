import Dispatch
import Glibc
import Logging
import Postgres

/// SIGTERM and SIGINT for a service: the first asks for an orderly end, which has a limit; the second ends the process
/// at once, since who asks twice does not want to wait. What was under way is rolled back by the server then.
///
/// Works on a queue of its own, so that neither a blocked log nor anything else can keep the process from ending. The
/// service group's own handling ignores second signals, and misses one that comes before it runs.
final class StopSignals: @unchecked Sendable {
    // Sendable: the count is touched on the queue only; the sources are set up once.
    private var count = 0
    private var sources: [any DispatchSourceSignal] = []
    private let queue = DispatchQueue(label: "mcp-cleanupd.signals")

    /// - Parameters:
    ///   - timeout: how long after the first signal the process ends in any case, with exit code 0.
    ///   - stop: called at the first signal; must not block.
    init(timeout: Duration, logger: Logger, stop: @escaping @Sendable () -> Void) {
        for number in [SIGTERM, SIGINT] {
            // Not SIG_IGN, as elsewhere: Dispatch puts its own handler in the default action's place, and until it has, a
            // signal that is ignored would be lost.
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { [weak self, unowned source = source as! DispatchSource] in
                guard let self else { return }
                count += Int((source as any DispatchSourceSignal).data)
                if count > 1 { _exit(128 + number) }
                stop()
                queue.asyncAfter(deadline: .now() + .milliseconds(Int(timeout / .milliseconds(1)))) {
                    Self.giveUp(timeout, logger)
                }
            }
            source.activate()
            sources.append(source)
        }
    }

    func cancel() { for source in sources { source.cancel() } }

    /// A run that is canceled ends within seconds, whatever the server does. Should one not, a supervisor waits for us.
    private static func giveUp(_ timeout: Duration, _ logger: Logger) {
        // On another queue: the log may be what blocks.
        DispatchQueue(label: "mcp-cleanupd.last-words").async {
            logger.critical(
                "Something did not end within \(timeout.inSeconds) of the request to stop; ending without it.")
            _exit(0)
        }
        usleep(100_000)
        _exit(0)
    }
}
