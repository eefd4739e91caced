import CleanupDaemon
import Glibc
import Logging
import Monitoring
import Settings
import Systemd

/// The service's connection to systemd: notifications, the watchdog, the passed socket. Does nothing where systemd has not
/// started the process.
struct ServiceManager: Sendable {
    /// `nil` if the manager wants no notifications.
    let supervision: Supervision?
    /// Half of the watchdog's time, as sd_watchdog_enabled(3) recommends; `nil` if no watchdog is set.
    let pingInterval: Duration?
    private let notifier: ServiceNotifier?

    /// Reads what the environment asks for, and warns of what makes no sense in it and of what libsystemd lacks.
    init(_ setup: CommandSetup) {
        let logger = setup.logger
        // By these a service manager asks for something that takes libsystemd.
        let requests = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"].filter {
            !(setup.environment[$0] ?? "").isEmpty
        }
        if !requests.isEmpty, let shortcoming = SystemdLibrary.shortcoming {
            logger.warning(
                "The service manager asks for more than this service can do (\(requests.joined(separator: ", "))): \(shortcoming).",
                metadata: ["hint": "Install the package libsystemd0, or run the service with Type=exec."])
        }
        notifier = Self.notifier(setup.environment, logger)
        supervision = notifier.map { Supervision(notifier: $0, shutdownTimeout: setup.configuration.shutdownTimeout) }
        do {
            let interval = try WatchdogSetting.interval(environment: setup.environment)
            // A ping without a receiver would wake the process for nothing.
            pingInterval = notifier == nil ? nil : interval.map { $0 / 2 }
        } catch {
            logger.error("\(error)")
            pingInterval = nil
        }
    }

    /// Waits until the manager has processed the last notification.
    func flush() { notifier?.flush() }

    /// Tells the manager why the service ends, or does not start.
    static func report(_ failure: CommandFailure) {
        guard let notifier = notifier(CommandSetup.processEnvironment(), nil) else { return }
        let code = failure.code == .configuration ? EINVAL : EIO
        notifier.send(Notification(status: "failed: \(failure.message)", failure: code))
        notifier.flush()
    }

    private static func notifier(_ environment: [String: String], _ logger: Logger?) -> ServiceNotifier? {
        guard let address = environment["NOTIFY_SOCKET"], !address.isEmpty else { return nil }
        return ServiceNotifier { error in
            // What the library lacks was said at the start.
            guard case .failed = error else { return }
            logger?.warning(
                "Cannot send to the service manager (NOTIFY_SOCKET is \(address.shown): \(error)).",
                metadata: ["hint": "A unit with Type=notify or WatchdogSec= ends the service if this lasts."])
        }
    }

    /// Returns where to serve HTTP: on the socket that systemd passed, otherwise at `http.listen`; `nil` if that is off.
    ///
    /// - Throws: `CommandFailure` with exit code 78 if systemd passed something that cannot be listened on.
    static func httpAddress(_ setup: CommandSetup) throws(CommandFailure) -> StatusServer.Address? {
        let passed: PassedSocket?
        do {
            passed = try PassedSocket.find(environment: setup.environment)
        } catch {
            throw CommandFailure(.configuration, "\(error)", hint: error.hint)
        }
        guard let (address, descriptor) = passed.map({ ($0.address, $0.descriptor) }) else {
            switch setup.configuration.httpListen {
            case .tcp(let host, let port): return .tcp(host: host, port: port)
            case .unix(let path): return .unix(path: path)
            case nil: return nil
            }
        }
        guard let configured = setup.configuration.httpListen else {
            setup.logger.warning(
                "http.listen is off: nothing is served on the socket that systemd passed (\(address)).",
                metadata: ["hint": "Disable the socket unit, or remove http.listen from the configuration."])
            return nil
        }
        var isReached = "\(address)" == "\(configured)"
        var isLoopback = false
        if case .tcp(let host, let port) = address {
            isLoopback = host.hasPrefix("127.") || host == "::1"
            // A socket on all addresses has that of `http.listen` too.
            if case .tcp(_, port) = configured, ["0.0.0.0", "::"].contains(host) { isReached = true }
        }
        if !isReached {
            setup.logger.warning(
                "http.listen is \(configured), and systemd passed \(address), which is served.",
                metadata: ["hint": "Set http.listen to \(address), so that mcp-cleanupd health asks there."])
        }
        return .passed(descriptor: descriptor, name: "\(address)", isLoopback: isLoopback)
    }
}
