import Glibc
import Time

/// One message to the service manager: sd_notify(3).
package struct Notification: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        /// The service serves, with the configuration in force: at start and after a reload.
        case ready
        /// The configuration is being read again, since this reading of the monotonic clock.
        case reloading(sinceMonotonicMicroseconds: UInt64)
        case stopping

        package static var reloading: State {
            var time = timespec()
            // The clock that the manager compares it with: sd_notify(3). The call cannot fail for a clock that exists.
            clock_gettime(CLOCK_MONOTONIC, &time)
            return .reloading(sinceMonotonicMicroseconds: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1000)
        }
    }

    let state: State?
    private let status: String?
    private let isAlive: Bool
    private let extendedTimeout: Duration?
    private let failure: Int32?

    /// - Parameters:
    ///   - status: a line for people. Line breaks become spaces; text beyond 1,000 characters is cut.
    ///   - isAlive: true for the watchdog's ping.
    ///   - extendedTimeout: the time from now that starting, reloading or stopping may still take.
    ///   - failure: the `errno` that the service fails with.
    package init(
        state: State? = nil, status: String? = nil, isAlive: Bool = false, extendedTimeout: Duration? = nil,
        failure: Int32? = nil
    ) {
        self.state = state
        self.status = status
        self.isAlive = isAlive
        self.extendedTimeout = extendedTimeout
        self.failure = failure
    }

    /// This message with the values that the later one has.
    func merged(with later: Notification) -> Notification {
        Notification(
            state: later.state ?? state, status: later.status ?? status, isAlive: isAlive || later.isAlive,
            extendedTimeout: later.extendedTimeout ?? extendedTimeout, failure: later.failure ?? failure)
    }

    /// The assignments that sd_notify(3) takes, one a line.
    package var message: String {
        var lines: [String] = []
        switch state {
        case .ready: lines.append("READY=1")
        case .reloading(let since): lines += ["RELOADING=1", "MONOTONIC_USEC=\(since)"]
        case .stopping: lines.append("STOPPING=1")
        case nil: break
        }
        if let status {
            lines.append("STATUS=" + String(status.prefix(1000).map { $0.isNewline ? " " : $0 }).visible)
        }
        if isAlive { lines.append("WATCHDOG=1") }
        if let extendedTimeout { lines.append("EXTEND_TIMEOUT_USEC=\(Int64(extendedTimeout / .microseconds(1)))") }
        if let failure { lines.append("ERRNO=\(failure)") }
        return lines.joined(separator: "\n")
    }
}
