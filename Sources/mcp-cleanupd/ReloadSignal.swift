import Dispatch
import Glibc

/// SIGHUP for a service: the configuration is read again, and put into force if it is right.
///
/// Works on a queue of its own, since reading a file may block: neither fire times nor the end of the process wait for it.
/// Signals that come while it reads are answered by one more reading.
final class ReloadSignal: Sendable {
    private let source: any DispatchSourceSignal & Sendable

    /// - Parameter reload: called on the queue, one call at a time.
    init(_ reload: @escaping @Sendable () -> Void) {
        let queue = DispatchQueue(label: "mcp-cleanupd.reload")
        // Not SIG_IGN: Dispatch puts its own handler in the default action's place.
        source = DispatchSource.makeSignalSource(signal: SIGHUP, queue: queue) as! DispatchSource
        source.setEventHandler(handler: reload)
        source.activate()
    }

    func cancel() { source.cancel() }
}
