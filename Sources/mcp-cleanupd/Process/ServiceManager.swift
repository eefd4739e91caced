import CleanupDaemon
import Glibc
import Logging
import Settings
import Synchronization
import Systemd
import Time

/// The service's connection to systemd: notifications, the watchdog, the passed socket. Does nothing where systemd has not
/// started the process.
final class ServiceManager: Sendable {
    /// Half of the watchdog's time, as sd_watchdog_enabled(3) recommends; `nil` if no watchdog is set.
    let pingInterval: Duration?
    /// `nil` if the manager wants no notifications.
    private let notifier: ServiceNotifier?
    private let shutdownTimeout: Duration
    /// The status line that was sent last.
    private let sentStatus = Mutex("")

    /// Reads the requests in the environment, and warns of those that are invalid or that libsystemd cannot meet.
    init(_ setup: CommandSetup) {
        let logger = setup.logger
        // A service manager that sets these variables asks for something that needs libsystemd.
        let requests = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"].filter {
            !(setup.environment[$0] ?? "").isEmpty
        }
        if !requests.isEmpty, let shortcoming = SystemdLibrary.shortcoming {
            logger.warning(
                "The service manager asks for more than this service can do (\(requests.joined(separator: ", "))): \(shortcoming).",
                metadata: ["hint": "Install the package libsystemd0, or run the service with Type=exec."])
        }
        notifier = Self.notifier(setup.environment, logger)
        shutdownTimeout = setup.configuration.shutdownTimeout
        do {
            let interval = try SystemdLibrary.watchdogInterval(environment: setup.environment)
            // A ping without a receiver would wake the process for nothing.
            pingInterval = notifier == nil ? nil : interval.map { $0 / 2 }
        } catch {
            logger.error("\(error.message)")
            pingInterval = nil
        }
    }

    /// Sends the event's notification, and the status line of the state after it if that has changed. Does not block.
    func record(_ event: ServiceEvent, _ state: ServiceState) {
        // Batches come often, from the runs' own tasks, and never change the line.
        if case .batchEnded = event { return }
        guard let notifier else { return }
        let line = state.statusLine
        let isChanged = sentStatus.withLock { sent in
            defer { sent = line }
            return sent != line
        }
        var notification: Notification? =
            switch event {
            case .started, .reloaded, .reloadFailed: .ready
            case .reloading: .reloading
            // A last batch may take as long as the timeout; one second more is for the end of the process.
            case .stopping: .stopping(within: shutdownTimeout + .seconds(1))
            case .foundWell: .alive
            default: nil
            }
        if isChanged { notification = notification?.merged(with: .status(line)) ?? .status(line) }
        if let notification { notifier.send(notification) }
    }

    /// Waits until the manager has processed the last notification.
    func flush() { notifier?.flush() }

    /// Tells the manager why the service ends, or does not start.
    static func report(_ failure: CommandFailure) {
        guard let notifier = notifier(CommandSetup.processEnvironment(), nil) else { return }
        let code = failure.code == .configuration ? EINVAL : EIO
        notifier.send(.status("failed: \(failure.message)", failure: code))
        notifier.flush()
    }

    private static func notifier(_ environment: [String: String], _ logger: Logger?) -> ServiceNotifier? {
        guard let address = environment["NOTIFY_SOCKET"], !address.isEmpty else { return nil }
        return ServiceNotifier { error in
            // A library that is missing or too old was reported at the start.
            guard case .failed = error else { return }
            logger?.warning(
                "Cannot send to the service manager (NOTIFY_SOCKET is \(address.shown): \(error)).",
                metadata: ["hint": "A unit with Type=notify or WatchdogSec= ends the service if this lasts."])
        }
    }

    /// Returns where to serve HTTP: on the socket that systemd passed, else at `http.listen`; `nil` if that is off.
    ///
    /// - Throws: `CommandFailure` with exit code 78 if systemd passed something that cannot be listened on.
    static func httpAddress(
        _ setup: CommandSetup
    ) throws(CommandFailure) -> (address: ListenAddress, passed: Int32?)? {
        let passed: PassedSocket?
        do {
            passed = try PassedSocket.find(environment: setup.environment)
        } catch {
            throw CommandFailure(.configuration, error.message, hint: error.hint)
        }
        let configured = setup.configuration.httpListen
        guard let passed else { return configured.map { ($0, nil) } }
        guard let configured else {
            setup.logger.warning(
                "http.listen is off: nothing is served on the socket that systemd passed (\(passed.address)).",
                metadata: ["hint": "Disable the socket unit, or remove http.listen from the configuration."])
            return nil
        }
        if !passed.address.isReached(at: configured) {
            setup.logger.warning(
                "http.listen is \(configured), and systemd passed \(passed.address), which is served.",
                metadata: ["hint": "Set http.listen to \(passed.address), so that mcp-cleanupd health asks there."])
        }
        return (passed.address, passed.descriptor)
    }
}
