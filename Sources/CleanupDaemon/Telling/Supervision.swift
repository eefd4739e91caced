import Synchronization
package import Systemd

/// Tells the service manager what happens in the service: when it is ready, how it is, that it lives, that it stops.
package final class Supervision: Sendable {
    private let notifier: ServiceNotifier
    private let shutdownTimeout: Duration
    private let told = Mutex((status: ServiceStatus(), text: ""))

    /// - Parameter shutdownTimeout: how long stopping may take.
    package init(notifier: ServiceNotifier, shutdownTimeout: Duration) {
        self.notifier = notifier
        self.shutdownTimeout = shutdownTimeout
    }

    /// Sends what follows from the event; a status only where its text has changed. Does not block. From any thread.
    package func hear(_ event: ServiceEvent) {
        let text = told.withLock { told -> String? in
            told.status.hear(event)
            let text = told.status.text
            guard text != told.text else { return nil }
            told.text = text
            return text
        }
        switch event {
        case .started, .reloaded, .reloadFailed: notifier.send(Notification(state: .ready, status: text))
        case .reloading: notifier.send(Notification(state: .reloading, status: text))
        case .stopping:
            // A last batch drains for so long at most; the second more is for the end of the process.
            notifier.send(
                Notification(state: .stopping, status: text, extendedTimeout: shutdownTimeout + .seconds(1)))
        case .foundWell: notifier.send(Notification(isAlive: true))
        default: if let text { notifier.send(Notification(status: text)) }
        }
    }
}
