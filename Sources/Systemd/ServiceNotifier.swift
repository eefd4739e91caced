import Dispatch
import Synchronization

/// Sends the service's notifications to the service manager, in order, on a queue of its own: sd_notify(3) blocks while
/// the manager's queue is full. Notifications that cannot be sent yet are merged into one.
package final class ServiceNotifier: Sendable {
    /// The longest that the manager may take to confirm that it has processed `READY=1`. Nothing depends on it.
    private static let readyTimeout = Duration.seconds(1)

    private let queue = DispatchQueue(label: "mcp-cleanupd.notifications")
    private let unsent = Mutex(Unsent())
    private let deliver: @Sendable (String) throws(SystemdError) -> Void
    private let confirm: @Sendable (Duration) throws(SystemdError) -> Void
    private let onFailure: @Sendable (SystemdError) -> Void

    private struct Unsent {
        var notification: Notification?
        var isSending = false
        var hasFailed = false
    }

    /// - Parameters:
    ///   - deliver: sends assignments; may block.
    ///   - confirm: waits until the manager has processed what was sent, for as long as the duration.
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
        let mustStart = unsent.withLock { unsent in
            unsent.notification = unsent.notification?.merged(with: notification) ?? notification
            defer { unsent.isSending = true }
            return !unsent.isSending
        }
        if mustStart { queue.async { self.sendAll() } }
    }

    /// Waits until the manager has processed everything that was sent, at most for the limit: it cannot attribute a
    /// notification to a unit once the sender's process is gone.
    package func flush(limit: Duration = .milliseconds(500)) {
        let isDone = DispatchSemaphore(value: 0)
        queue.async {
            // A manager that does not confirm in time costs a status text, and must not keep the process.
            try? self.confirm(limit)
            isDone.signal()
        }
        // After the limit the process ends although the manager does not read.
        _ = isDone.wait(timeout: .now() + .milliseconds(Int(limit / .milliseconds(1))))
    }

    private func sendAll() {
        // Ends when nothing is left; each round sends what came during the one before.
        while let notification = next() {
            var failure: SystemdError?
            do {
                try deliver(notification.message)
                // Until the manager has processed READY=1; if it does not confirm in time, nothing here changes.
                if notification.state == .ready { try? confirm(Self.readyTimeout) }
            } catch {
                failure = error
            }
            let hadFailed = unsent.withLock { unsent in
                defer { unsent.hasFailed = failure != nil }
                return unsent.hasFailed
            }
            if let failure, !hadFailed { onFailure(failure) }
        }
    }

    private func next() -> Notification? {
        unsent.withLock { unsent in
            defer { unsent.notification = nil }
            unsent.isSending = unsent.notification != nil
            return unsent.notification
        }
    }
}
