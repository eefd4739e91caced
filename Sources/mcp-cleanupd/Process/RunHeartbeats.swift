import CleanupDaemon
import Heartbeats
import Logging
import Postgres
import SessionCleanup
import Settings
import Time

/// Sends the heartbeat that follows each run.
struct RunHeartbeats: Sendable {
    private let success: HeartbeatURL?
    private let failure: HeartbeatURL?
    private let heartbeats: Heartbeats
    private let warn: @Sendable (String) -> Void

    /// `nil` where no URL is configured. `onFailure` is called for each heartbeat that could not be delivered, from any thread.
    init?(_ setup: CommandSetup, limit: Duration = Heartbeats.defaultLimit, onFailure: @escaping @Sendable () -> Void) {
        success = setup.configuration.successHeartbeat
        failure = setup.configuration.failureHeartbeat
        if success == nil, failure == nil { return nil }
        let warn: @Sendable (String) -> Void = { [logger = setup.logger] message in
            onFailure()
            logger.warning("\(message)")
        }
        self.warn = warn
        // SSL_CERT_FILE takes the place of the system's authorities, as for the database's certificate.
        let isReplaced = !(setup.environment["SSL_CERT_FILE"] ?? "").isEmpty
        heartbeats = Heartbeats(limit: limit, authorities: isReplaced ? [] : TransportSecurity.systemBundles) {
            warn("The heartbeat to \($0) failed: \($1)")
        }
    }

    /// Waits for the calls under way, at most for `limit`, and warns if some have not ended by then.
    func finish(within limit: Duration) async {
        guard await !heartbeats.finish(within: limit), !Task.isCancelled else { return }
        warn("A heartbeat did not end in \(limit.secondsText), and is left behind.")
    }

    /// Returns at once; from any thread.
    func record(_ event: ServiceEvent) {
        guard case .runConcluded(let report) = event else { return }
        let url: HeartbeatURL? =
            switch report.outcome {
            case .succeeded, .capped: success
            case .failed, .timedOut, .abandoned: failure
            // Such a run tells nothing about the job.
            case .canceled, .skipped: nil
            }
        if let url { heartbeats.send(to: url) }
    }
}
