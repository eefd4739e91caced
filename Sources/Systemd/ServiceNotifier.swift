import Dispatch
import Synchronization

/// Sends the service's notifications to the service manager, in order, on a queue of its own.
///
/// sd_notify(3) blocks while the manager's queue is full, so no caller calls it: `send` returns at once. Notifications that
/// cannot be sent yet are merged into one, in which newer values replace older ones. A manager that does not read costs one
/// waiting thread.
package final class ServiceNotifier: Sendable {
    /// How long the manager may take to confirm that it has processed `READY=1`. Nothing depends on the confirmation; a
    /// manager that is busy for longer gets later notifications merged.
    private static let readyTimeout = Duration.seconds(1)

    private let queue = DispatchQueue(label: "mcp-cleanupd.notifications")
    private let unsent = Mutex(Unsent())
    private let deliver: @Sendable (String) throws(SystemdError) -> Void
    private let confirm: @Sendable (Duration) throws(SystemdError) -> Void
    private let onFailure: @Sendable (SystemdError) -> Void

    private struct Unsent {
        var notification = Notification()
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

    /// Sends the notification now, or later as part of a newer one. Does not block. From any thread.
    package func send(_ notification: Notification) {
        let mustStart = unsent.withLock { unsent in
            unsent.notification.merge(notification)
            defer { unsent.isSending = true }
            return !unsent.isSending
        }
        if mustStart { queue.async { self.sendAll() } }
    }

    /// Waits until the manager has processed everything that was sent, at most for the limit. For the end of the process: a
    /// manager attributes a notification to a unit by the sender's process, and cannot once the process is gone.
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
            do {
                try deliver(notification.message)
                unsent.withLock { $0.hasFailed = false }
            } catch {
                let isNews = unsent.withLock { unsent in
                    defer { unsent.hasFailed = true }
                    return !unsent.hasFailed
                }
                if isNews { onFailure(error) }
                continue
            }
            // Until the manager has processed READY=1; if it does not confirm in time, nothing here changes.
            if notification.state == .ready { try? confirm(Self.readyTimeout) }
        }
    }

    private func next() -> Notification? {
        unsent.withLock { unsent in
            guard !unsent.notification.isEmpty else {
                unsent.isSending = false
                return nil
            }
            defer { unsent.notification = Notification() }
            return unsent.notification
        }
    }
}
