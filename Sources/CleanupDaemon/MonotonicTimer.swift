import Dispatch

/// Wakes after a time that no setting of a clock changes.
final class MonotonicTimer: Sendable {
    private let source: any DispatchSourceTimer & Sendable

    /// - Parameter onTime: called on a queue of the timer's own; must not block.
    init(onTime: @escaping @Sendable () -> Void) {
        let queue = DispatchQueue(label: "mcp-cleanupd.monotonic")
        source = DispatchSource.makeTimerSource(queue: queue) as! DispatchSource
        source.setEventHandler(handler: onTime)
        source.schedule(deadline: .distantFuture)
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// Sets how long from now to wake, or never.
    func arm(after wait: Duration?) {
        guard let wait else { return source.schedule(deadline: .distantFuture) }
        let (seconds, attoseconds) = max(wait, .zero).components
        // Rounded up: never early. A wait of more than 292 years is none.
        let nanoseconds = min(seconds, 9_000_000_000) * 1_000_000_000 + (attoseconds + 999_999_999) / 1_000_000_000
        source.schedule(deadline: .now() + .nanoseconds(Int(nanoseconds)))
    }
}
