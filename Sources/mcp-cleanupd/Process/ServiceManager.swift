import CleanupDaemon
import Glibc
import Logging
import Settings
import Systemd

/// What the service's surroundings ask of it: whom to tell how it is, and how often. Where nobody asks, nothing is done.
struct ServiceManager: Sendable {
    /// `nil` when nobody asks to be told.
    let supervision: Supervision?
    /// Half of the watchdog's time, as sd_watchdog_enabled(3) recommends; `nil` when nobody watches.
    let pingInterval: Duration?
    private let notifier: ServiceNotifier?

    /// Reads what the environment asks, and warns of what makes no sense in it.
    init(_ setup: CommandSetup) {
        let logger = setup.logger
        do {
            notifier = try ServiceNotifier.find(environment: setup.environment) { logger.warning("\($0)") }
        } catch {
            logger.error("\(error)")
            notifier = nil
        }
        let shutdownTimeout = setup.configuration.shutdownTimeout
        supervision = notifier.map { Supervision(notifier: $0, shutdownTimeout: shutdownTimeout) }
        do {
            let interval = try WatchdogSetting.interval(environment: setup.environment, processID: getpid())
            // A ping that nobody hears would wake the process for nothing.
            pingInterval = notifier == nil ? nil : interval.map { $0 / 2 }
        } catch {
            logger.error("\(error)")
            pingInterval = nil
        }
    }

    /// Before the process ends: lets what was told last be sent.
    func flush() { notifier?.flush() }

    /// The service ends for this cause, or does not begin.
    static func hears(of failure: CommandFailure) {
        do {
            let environment = CommandSetup.processEnvironment()
            guard let notifier = try ServiceNotifier.find(environment: environment, onFailure: { _ in }) else { return }
            let code = failure.code == .configuration ? EINVAL : EIO
            notifier.send(Notification(status: "failed: \(failure.message)", failure: code))
            notifier.flush()
        } catch {
            // The failure itself is reported; that nobody could be told is the lesser trouble.
        }
    }
}
