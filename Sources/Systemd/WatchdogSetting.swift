/// How often the service manager wants to hear that the service does its work: sd_watchdog_enabled(3).
package enum WatchdogSetting {
    /// Below it, hearing from the service would be most of what the service does.
    private static let shortest: UInt64 = 100_000
    /// A year: a unit that says more means something else.
    private static let longest: UInt64 = 365 * 86_400 * 1_000_000

    /// The time after which a silent service is ended; a ping is due at half of it.
    ///
    /// - Parameters:
    ///   - environment: the process's variables; an empty one counts as unset.
    ///   - processID: of this process; `WATCHDOG_PID` may name another one.
    /// - Returns: `nil` where nobody watches this process.
    /// - Throws: `WatchdogRefused` for a value that makes no sense: nothing is sent then.
    package static func interval(
        environment: [String: String], processID: Int32
    ) throws(WatchdogRefused) -> Duration? {
        guard let text = environment["WATCHDOG_USEC"], !text.isEmpty else { return nil }
        if let watched = environment["WATCHDOG_PID"], !watched.isEmpty {
            guard let watchedID = Int32(watched), watchedID > 0 else {
                throw WatchdogRefused(variable: "WATCHDOG_PID", value: watched, expected: "a process's number")
            }
            guard watchedID == processID else { return nil }
        }
        guard let microseconds = UInt64(text), (shortest...longest).contains(microseconds) else {
            throw WatchdogRefused(
                variable: "WATCHDOG_USEC", value: text, expected: "microseconds, from 0.1 s to a year")
        }
        return .microseconds(Int64(microseconds))
    }
}

/// A watchdog that asks for something that makes no sense.
package struct WatchdogRefused: Error, Hashable, Sendable, CustomStringConvertible {
    package let variable: String
    package let value: String
    package let expected: String

    package var description: String {
        "No watchdog: \(variable) is “\(value)”; expected \(expected). If the unit has WatchdogSec=, the service manager "
            + "will end this service for its silence; correct or remove it there."
    }
}
