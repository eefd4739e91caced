import Glibc
import Time

/// One message to the service manager: sd_notify(3).
package struct Notification: Sendable {
    /// The fields of a state: a merged message has only the later message's, if that has any.
    private static let states = ["READY", "RELOADING", "MONOTONIC_USEC", "STOPPING"]
    /// The order of a message's lines.
    private static let names = states + ["STATUS", "WATCHDOG", "EXTEND_TIMEOUT_USEC", "ERRNO"]

    private let values: [String: String]

    /// The service serves, with the configuration in force: at start and after a reload.
    package static let ready = Notification(values: ["READY": "1"])

    /// The watchdog's ping.
    package static let alive = Notification(values: ["WATCHDOG": "1"])

    /// The configuration is being read again, from now on.
    package static var reloading: Notification {
        var time = timespec()
        // The clock that the manager compares it with: sd_notify(3).
        clock_gettime(CLOCK_MONOTONIC, &time)
        let microseconds = time.tv_sec * 1_000_000 + time.tv_nsec / 1000
        return Notification(values: ["RELOADING": "1", "MONOTONIC_USEC": "\(microseconds)"])
    }

    /// - Parameter limit: the time from now that stopping may still take.
    package static func stopping(within limit: Duration) -> Notification {
        Notification(values: ["STOPPING": "1", "EXTEND_TIMEOUT_USEC": "\(Int64(limit / .microseconds(1)))"])
    }

    /// - Parameters:
    ///   - line: for people. Line breaks become spaces; text beyond 1,000 characters is cut.
    ///   - failure: the `errno` that the service fails with.
    package static func status(_ line: String, failure: Int32? = nil) -> Notification {
        let text = String(line.prefix(1000).map { $0.isNewline ? " " : $0 }).visible
        var values = ["STATUS": text]
        values["ERRNO"] = failure.map { "\($0)" }
        return Notification(values: values)
    }

    /// True if it tells the manager that the service is ready.
    var isReady: Bool { values["READY"] != nil }

    /// This message with the later one's values added to its own or in their place.
    package func merged(with later: Notification) -> Notification {
        let isState = Self.states.contains { later.values[$0] != nil }
        let kept = values.filter { !isState || !Self.states.contains($0.key) }
        return Notification(values: kept.merging(later.values) { $1 })
    }

    /// The assignments that sd_notify(3) takes, one a line.
    package var message: String {
        Self.names.compactMap { name in values[name].map { "\(name)=\($0)" } }.joined(separator: "\n")
    }
}
