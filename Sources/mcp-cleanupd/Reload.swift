import Dispatch
import Settings
import Synchronization

/// Reads the configuration again when it is asked to.
///
/// Works on a queue of its own, since reading a file may block: neither signals nor fire times wait for it. Requests that
/// come before it has begun to answer one are one.
final class Reload: Sendable {
    typealias Outcome = Result<(setup: CommandSetup, waitingForRestart: [String]), ConfigurationFaults>

    private let queue = DispatchQueue(label: "mcp-cleanupd.reload")
    private let isRequested = Atomic(false)
    private let inForce: Mutex<CommandSetup>
    private let tell: @Sendable (Outcome?) -> Void

    /// - Parameter tell: called on the queue, with `nil` when it begins to read and then with what has come of it.
    init(_ setup: CommandSetup, tell: @escaping @Sendable (Outcome?) -> Void) {
        inForce = Mutex(setup)
        self.tell = tell
    }

    /// Asks for one more reading. Does not block.
    func request() {
        guard !isRequested.exchange(true, ordering: .relaxed) else { return }
        queue.async { [self] in
            isRequested.store(false, ordering: .relaxed)
            tell(nil)
            do throws(ConfigurationFaults) {
                let (setup, waiting) = try inForce.withLock(\.self).reloaded()
                inForce.withLock { $0 = setup }
                tell(.success((setup, waiting)))
            } catch {
                tell(.failure(error))
            }
        }
    }
}
