/// The watchdog that the service manager has set for this process.
package enum WatchdogSetting {
    /// In microseconds, from 0.1 s to a year: with less, the service would do little but send pings.
    private static let sensible: ClosedRange<UInt64> = 100_000...365 * 86_400 * 1_000_000

    /// Returns the time after which a silent service is ended, if a watchdog is set for this process.
    package static func interval(environment: [String: String]) throws(WatchdogRefused) -> Duration? {
        guard let text = environment["WATCHDOG_USEC"], !text.isEmpty else { return nil }
        let refusal = WatchdogRefused(value: text, processID: environment["WATCHDOG_PID"])
        let microseconds: UInt64?
        do {
            microseconds = try SystemdLibrary.watchdogMicroseconds()
        } catch .failed {
            throw refusal
        } catch {
            // The library is missing or too old, which the service warns of once: `SystemdLibrary.shortcoming`.
            return nil
        }
        if let microseconds, !sensible.contains(microseconds) { throw refusal }
        return microseconds.map { .microseconds(Int64($0)) }
    }
}

/// A watchdog whose variables make no sense.
package struct WatchdogRefused: Error, Hashable, Sendable, CustomStringConvertible {
    let value: String
    let processID: String?

    package var description: String {
        "No watchdog: WATCHDOG_USEC is “\(value)”\(processID.map { " and WATCHDOG_PID “\($0)”" } ?? ""); expected "
            + "microseconds, from 0.1 s to a year, and a process ID. If the unit has WatchdogSec=, the service manager "
            + "will end this service because it sends no pings; correct WatchdogSec= or remove it."
    }
}
