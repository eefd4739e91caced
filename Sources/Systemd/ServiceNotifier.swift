import Dispatch
import Glibc
import Synchronization

/// Tells the service manager how the service is: sd_notify(3).
///
/// The protocol is spoken here, and not through libsystemd, whose `sd_notify` blocks while the manager does not read, and
/// whose libraries take a one-shot command a fifth of its start-up time to load. The manual page promises that the
/// protocol stays.
///
/// No call blocks. What could not be sent yet is kept as one notification, in which what is newer takes the place of what
/// is older, so that a manager that does not read costs a thread that waits and nothing else.
package final class ServiceNotifier: Sendable {
    private let socket: UnixSocket
    private let queue = DispatchQueue(label: "mcp-cleanupd.notifications")
    private let unsent = Mutex(Unsent())
    private let onFailure: @Sendable (String) -> Void

    private struct Unsent {
        var notification = Notification()
        var isSending = false
        var hasFailed = false
    }

    /// - Parameters:
    ///   - environment: the process's variables; nobody is told anything without `NOTIFY_SOCKET`.
    ///   - onFailure: called, on a queue of the notifier's own, with a sentence for the log: when the manager cannot be
    ///     told, once until it can be told again.
    /// - Returns: `nil` when nobody asks to be told.
    /// - Throws: `NotifySocketUnusable`.
    package static func find(
        environment: [String: String], onFailure: @escaping @Sendable (String) -> Void
    ) throws(NotifySocketUnusable) -> ServiceNotifier? {
        guard let address = environment["NOTIFY_SOCKET"], !address.isEmpty else { return nil }
        do {
            return ServiceNotifier(try UnixSocket(address), onFailure: onFailure)
        } catch {
            throw NotifySocketUnusable(address: address, reason: error)
        }
    }

    private init(_ socket: UnixSocket, onFailure: @escaping @Sendable (String) -> Void) {
        self.socket = socket
        self.onFailure = onFailure
    }

    /// Sends the notification, later if it has to be, or as a part of a newer one. From any thread.
    package func send(_ notification: Notification) {
        let mustStart = unsent.withLock { unsent in
            unsent.notification.merge(notification)
            defer { unsent.isSending = true }
            return !unsent.isSending
        }
        if mustStart { queue.async { self.sendAll() } }
    }

    /// Waits until everything was sent, for as long as the limit at most: before the process ends.
    package func flush(limit: Duration = .milliseconds(200)) {
        let isDone = DispatchSemaphore(value: 0)
        queue.async { isDone.signal() }
        // The limit has passed: the manager does not read, and the process ends all the same.
        _ = isDone.wait(timeout: .now() + .milliseconds(Int(limit / .milliseconds(1))))
    }

    private func sendAll() {
        // Ends when nothing is left, and each round sends what came during the one before it.
        while let notification = next() {
            do {
                try socket.send(Array(notification.message.utf8))
                unsent.withLock { $0.hasFailed = false }
            } catch {
                let isNews = unsent.withLock { unsent in
                    defer { unsent.hasFailed = true }
                    return !unsent.hasFailed
                }
                if isNews {
                    onFailure(
                        "The service manager cannot be told how the service is (NOTIFY_SOCKET: \(error)); it may end it."
                    )
                }
            }
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

/// `NOTIFY_SOCKET` names no socket that can be sent to.
package struct NotifySocketUnusable: Error, Hashable, Sendable, CustomStringConvertible {
    package let address: String
    package let reason: SystemError

    package var description: String {
        "The service manager cannot be told how the service is: NOTIFY_SOCKET is “\(address)”, which is neither an "
            + "absolute path nor @ and a name (\(reason)). A unit of Type=notify will not become active."
    }
}
