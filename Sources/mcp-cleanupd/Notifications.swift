import CleanupDaemon
import Heartbeats
import Logging
import Monitoring
import SessionCleanup
import Settings

/// Which heartbeat follows which run.
struct Notifications: Sendable {
    private let success: HeartbeatURL?
    private let failure: HeartbeatURL?
    private let heartbeats: Heartbeats

    /// `nil` where no URL is configured.
    init?(_ configuration: Configuration, record: ServiceRecord, logger: Logger) {
        success = configuration.notifySuccessURL.map(HeartbeatURL.init)
        failure = configuration.notifyFailureURL.map(HeartbeatURL.init)
        if success == nil, failure == nil { return nil }
        heartbeats = Heartbeats { url, failure in
            record.recordNotifyFailure()
            logger.warning("The heartbeat to \(url) failed: \(failure)")
        }
    }

    /// Returns at once; from any thread.
    func hear(_ event: ServiceEvent) {
        guard case .runConcluded(let report) = event else { return }
        switch report.outcome {
        case .succeeded, .capped: if let success { heartbeats.send(to: success) }
        case .failed, .timedOut, .abandoned: if let failure { heartbeats.send(to: failure) }
        // Nothing is known of the job then.
        case .canceled, .skipped: break
        }
    }
}

extension HeartbeatURL {
    fileprivate init(_ url: NotifyURL) {
        self.init(isTLS: url.isTLS, host: url.host, port: url.port, target: url.target)
    }
}
