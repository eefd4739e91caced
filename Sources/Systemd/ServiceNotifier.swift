import Dispatch
import Synchronization

/// Sends notifications to the service manager, in order, on a queue of its own: sd_notify(3) blocks while the manager's
/// queue is full. Those that cannot be sent yet are merged into one.
package final class ServiceNotifier: Sendable {
    /// The longest wait for the manager to confirm that it has processed `READY=1`. Nothing depends on the answer.
    private static let readyTimeout = Duration.seconds(1)

    private let queue = DispatchQueue(label: "mcp-cleanupd.notifications")
    private let unsent = Mutex<Notification?>(nil)
    private let hasFailed = Atomic(false)
    private let deliver: @Sendable (String) throws(SystemdError) -> Void
    private let confirm: @Sendable (Duration) throws(SystemdError) -> Void
    private let onFailure: @Sendable (SystemdError) -> Void

    /// - Parameters:
    ///   - deliver: sends assignments; may block.
    ///   - confirm: waits until the manager has processed what was sent, for the duration at most.
    ///   - onFailure: called on the notifier's queue when sending begins to fail: once until it succeeds again.
    package init(
        deliver: @escaping @Sendable (String) throws(SystemdError) -> Void = SystemdLibrary.notify,
        confirm: @escaping @Sendable (Duration) throws(SystemdError) -> Void = SystemdLibrary.notifyBarrier,
        onFailure: @escaping @Sendable (SystemdError) -> Void
    ) {
        self.deliver = deliver
        self.confirm = confirm
        self.onFailure = onFailure
    }

    /// Sends the notification now, or later as part of a newer one. Returns at once; from any thread.
    package func send(_ notification: Notification) {
        let isAlone = unsent.withLock { unsent in
            defer { unsent = unsent?.merged(with: notification) ?? notification }
            return unsent == nil
        }
        if isAlone { queue.async { self.sendUnsent() } }
    }

    /// Waits until the manager has processed everything that was sent, at most for the limit: it cannot attribute a
    /// notification to a unit once the sender's process is gone.
    package func flush(limit: Duration = .milliseconds(500)) {
        // If the manager does not confirm in time, a status text is lost; that must not keep the process from ending.
        let confirmation = DispatchWorkItem { try? self.confirm(limit) }
        queue.async(execute: confirmation)
        // After the limit the process ends although the manager does not read.
        _ = confirmation.wait(timeout: .now() + .milliseconds(Int(limit / .milliseconds(1))))
    }

    private func sendUnsent() {
        guard let notification = unsent.withLock({ $0.take() }) else { return }
        do {
            try deliver(notification.message)
            hasFailed.store(false, ordering: .relaxed)
            // If the manager does not confirm in time, nothing here changes.
            if notification.isReady { try? confirm(Self.readyTimeout) }
        } catch {
            if !hasFailed.exchange(true, ordering: .relaxed) { onFailure(error) }
        }
    }
}
