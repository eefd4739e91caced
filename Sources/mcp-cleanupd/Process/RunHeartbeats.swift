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
    private let logger: Logger
    private let onFailure: @Sendable () -> Void

    /// `nil` where no URL is configured.
    ///
    /// - Parameters:
    ///   - environment: for `SSL_CERT_FILE`, which takes the place of the system's authorities.
    ///   - limit: for a call.
    ///   - onFailure: called for each heartbeat that could not be delivered; from any thread.
    init?(
        _ configuration: Configuration, environment: [String: String], limit: Duration = Heartbeats.defaultLimit,
        logger: Logger, onFailure: @escaping @Sendable () -> Void
    ) {
        success = configuration.successHeartbeat
        failure = configuration.failureHeartbeat
        if success == nil, failure == nil { return nil }
        self.logger = logger
        self.onFailure = onFailure
        // As for the database's certificate.
        let authorities = (environment["SSL_CERT_FILE"] ?? "").isEmpty ? TransportSecurity.systemBundles : []
        heartbeats = Heartbeats(limit: limit, authorities: authorities) { url, failure in
            onFailure()
            logger.warning("The heartbeat to \(url) failed: \(failure)")
        }
    }

    /// Returns at once; from any thread.
    func hear(_ event: ServiceEvent) {
        if case .runConcluded(let report) = event { hear(report) }
    }

    /// Waits for the calls under way, as long as `limit` at most, and says where that was too short.
    func finish(within limit: Duration) async {
        guard await !heartbeats.finish(within: limit), !Task.isCancelled else { return }
        onFailure()
        logger.warning("A heartbeat did not end in \(limit.secondsText), and is left behind.")
    }

    /// Returns at once; from any thread.
    func hear(_ report: RunReport) {
        switch report.outcome {
        case .succeeded, .capped: if let success { heartbeats.send(to: success) }
        case .failed, .timedOut, .abandoned: if let failure { heartbeats.send(to: failure) }
        // Nothing is known of the job then.
        case .canceled, .skipped: break
        }
    }
}
