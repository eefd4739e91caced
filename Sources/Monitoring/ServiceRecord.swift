package import CleanupDaemon
import SessionCleanup
import Synchronization
package import Time

/// Hears what happens in the service, and keeps what others are told about it: the state, and the metrics.
package final class ServiceRecord: Sendable {
    private struct Kept {
        var state: ServiceState
        var metrics: RunMetrics
    }

    private let kept: Mutex<Kept>
    private let started = ContinuousClock.now
    private let wallClock: @Sendable () -> UTCInstant

    /// - Parameter wallClock: the host's.
    package init(
        state: (Scheduler.Now) -> ServiceState, metrics: RunMetrics, wallClock: @escaping @Sendable () -> UTCInstant
    ) {
        self.wallClock = wallClock
        let now = Scheduler.Now(wall: wallClock(), elapsed: .zero)
        kept = Mutex(Kept(state: state(now), metrics: metrics))
    }

    /// Both clocks, as the state knows them.
    package var now: Scheduler.Now { Scheduler.Now(wall: wallClock(), elapsed: started.duration(to: .now)) }

    package var state: ServiceState { kept.withLock(\.state) }

    /// A heartbeat could not be delivered. From any thread.
    package func recordNotifyFailure() { kept.withLock { $0.metrics.recordNotifyFailure() } }

    /// From any thread; takes microseconds.
    package func hear(_ event: ServiceEvent) {
        let now = now
        kept.withLock { kept in
            kept.state.hear(event, at: now)
            kept.metrics.record(event, at: now.wall)
        }
    }
}
