package import CleanupDaemon
package import SessionCleanup
import Synchronization
import Time

/// Keeps the service's state and counts, which its events change. May be used from any thread.
package final class ServiceRecord: Sendable {
    private let kept: Mutex<(state: ServiceState, counts: Metrics, text: String?)>
    private let started = ContinuousClock.now

    /// - Parameter jobs: those whose series exist from the start.
    package init(jobs: [Job], version: String) {
        let now = TwoClocks(wall: .now, elapsed: .zero)
        let state = ServiceState(jobs: jobs, version: version, host: HostName.current, startedAt: now)
        kept = Mutex((state, Metrics(jobs: jobs), nil))
    }

    /// Both clocks, of which the monotonic one counts from this record's creation.
    var now: TwoClocks { TwoClocks(wall: .now, elapsed: started.duration(to: .now)) }

    package var state: ServiceState { kept.withLock(\.state) }

    package var metrics: Metrics { kept.withLock { $0.counts.with($0.state) } }

    /// The text of `/metrics`. All but the process's figures is cached until the next event: runs are minutes apart.
    func metricsText(_ process: ProcessFigures) -> String {
        let (text, startedAt) = kept.withLock { kept in
            let text = kept.text ?? kept.counts.with(kept.state).text
            kept.text = text
            return (text, kept.state.startedAt)
        }
        return text + Metrics(process, startedAt: startedAt).text
    }

    package func recordNotifyFailure() {
        kept.withLock { kept in
            kept.counts.count(.notifyFailures, 1)
            kept.text = nil
        }
    }

    package func record(_ event: ServiceEvent) {
        let now = now
        kept.withLock { kept in
            kept.state.record(event, at: now)
            kept.counts.record(event, at: now.wall)
            kept.text = nil
        }
    }
}
