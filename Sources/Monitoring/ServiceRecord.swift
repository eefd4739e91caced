package import CleanupDaemon
package import SessionCleanup
import Synchronization
package import Time

/// Keeps what is known of the service, from its events: the state, and the counts. From any thread.
package final class ServiceRecord: Sendable {
    private let kept: Mutex<(state: ServiceState, counts: RunCounts)>
    private let started = ContinuousClock.now
    private let wallClock: @Sendable () -> UTCInstant

    /// - Parameter jobs: those whose series exist from the start.
    package init(
        jobs: [Job], version: String, host: String = HostName.current,
        wallClock: @escaping @Sendable () -> UTCInstant = { .now }
    ) {
        self.wallClock = wallClock
        let now = TwoClocks(wall: wallClock(), elapsed: .zero)
        let state = ServiceState(jobs: jobs, version: version, host: host, startedAt: now)
        kept = Mutex((state, RunCounts(jobs: jobs)))
    }

    /// Both clocks, as the state knows them.
    var now: TwoClocks { TwoClocks(wall: wallClock(), elapsed: started.duration(to: .now)) }

    package var state: ServiceState { kept.withLock(\.state) }

    /// - Parameter process: `nil` leaves out the families about the process.
    package func metrics(process: ProcessFigures?) -> MetricsSnapshot {
        let (now, kept) = (now, kept.withLock(\.self))
        return MetricsSnapshot(kept.state, kept.counts, at: now, process: process)
    }

    package func recordNotifyFailure() { kept.withLock { $0.counts.count(.notifyFailures, 1) } }

    package func record(_ event: ServiceEvent) {
        let now = now
        kept.withLock { kept in
            kept.state.record(event, at: now)
            kept.counts.record(event, at: now.wall)
        }
    }
}
