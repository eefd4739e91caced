import Synchronization
package import Systemd

/// Tells the service manager when the service is ready, its status, that it is alive and that it stops.
package final class Supervision: Sendable {
    private let notifier: ServiceNotifier
    private let shutdownTimeout: Duration
    /// The status line that was sent last.
    private let sent = Mutex("")

    package init(notifier: ServiceNotifier, shutdownTimeout: Duration) {
        self.notifier = notifier
        self.shutdownTimeout = shutdownTimeout
    }

    /// Sends what follows from the event, with the state after it; the status line only where it has changed. Does not block.
    package func record(_ event: ServiceEvent, _ state: ServiceState) {
        // They come often, from the runs' own tasks, and never change the line.
        if case .batchEnded = event { return }
        let line = state.statusLine
        let status = sent.withLock { sent in
            defer { sent = line }
            return line == sent ? nil : line
        }
        switch event {
        case .started, .reloaded, .reloadFailed: notifier.send(Notification(state: .ready, status: status))
        case .reloading: notifier.send(Notification(state: .reloading, status: status))
        case .stopping:
            // A last batch may take as long as the timeout; one second more is for the end of the process.
            let timeout = shutdownTimeout + .seconds(1)
            notifier.send(Notification(state: .stopping, status: status, extendedTimeout: timeout))
        case .foundWell: notifier.send(Notification(isAlive: true))
        default: if let status { notifier.send(Notification(status: status)) }
        }
    }
}
