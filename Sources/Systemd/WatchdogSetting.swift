/// The watchdog that the service manager has set for this process.
package enum WatchdogSetting {
    /// Microseconds; below it, the service would do little but send pings. A shorter time is taken for a mistake.
    private static let shortest: UInt64 = 100_000
    /// A year, in microseconds. A longer time is taken for a mistake.
    private static let longest: UInt64 = 365 * 86_400 * 1_000_000

    /// Returns the time after which a silent service is ended; a ping is due at half of it.
    ///
    /// - Parameter environment: the process's variables.
    /// - Returns: `nil` if no watchdog is set for this process.
    /// - Throws: `WatchdogRefused` for a value out of range; the service sends no pings then.
    package static func interval(environment: [String: String]) throws(WatchdogRefused) -> Duration? {
        guard let text = environment["WATCHDOG_USEC"], !text.isEmpty else { return nil }
        let refusal = WatchdogRefused(value: text, processID: environment["WATCHDOG_PID"])
        let microseconds: UInt64?
        do {
            microseconds = try SystemdLibrary.watchdogMicroseconds()
        } catch {
            if case .failed = error { throw refusal }
            // The library is missing or too old, which the service warns of once: `SystemdLibrary.shortcoming`.
            return nil
        }
        guard let microseconds else { return nil }
        guard (shortest...longest).contains(microseconds) else { throw refusal }
        return .microseconds(Int64(microseconds))
    }
}

/// A watchdog whose variables make no sense.
package struct WatchdogRefused: Error, Hashable, Sendable, CustomStringConvertible {
    package let value: String
    package let processID: String?

    package var description: String {
        "No watchdog: WATCHDOG_USEC is “\(value)”\(processID.map { " and WATCHDOG_PID “\($0)”" } ?? ""); expected "
            + "microseconds, from 0.1 s to a year, and a process ID. If the unit has WatchdogSec=, the service manager "
            + "will end this service because it sends no pings; correct WatchdogSec= or remove it."
    }
}
