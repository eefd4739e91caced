/// The families of metrics that there are: what a name means, and how it is counted.
///
/// Names and labels are a promise to dashboards. Label values come from closed sets: jobs, outcomes, causes.
package enum MetricFamily: String, CaseIterable, Sendable {
    case runs = "mcp_cleanup_runs_total"
    case rowsDeleted = "mcp_cleanup_rows_deleted_total"
    case rowsSkipped = "mcp_cleanup_rows_skipped_total"
    case batches = "mcp_cleanup_batches_total"
    case runDuration = "mcp_cleanup_run_duration_seconds"
    case batchDuration = "mcp_cleanup_batch_duration_seconds"
    case startDelay = "mcp_cleanup_start_delay_seconds"
    case connectDuration = "mcp_cleanup_connect_duration_seconds"
    case connectFailures = "mcp_cleanup_connect_failures_total"
    case runInProgress = "mcp_cleanup_run_in_progress"
    case coalescedFires = "mcp_cleanup_coalesced_fires_total"
    case missedFires = "mcp_cleanup_missed_fires_total"
    case passedOverFires = "mcp_cleanup_passed_over_fires_total"
    case lastRun = "mcp_cleanup_last_run_timestamp_seconds"
    case lastSuccess = "mcp_cleanup_last_success_timestamp_seconds"
    case nextFire = "mcp_cleanup_next_fire_timestamp_seconds"
    case interval = "mcp_cleanup_interval_seconds"
    case deadline = "mcp_cleanup_deadline_seconds"
    case successBudget = "mcp_cleanup_success_budget_seconds"
    case oldestOverdue = "mcp_cleanup_oldest_overdue_seconds"
    case clockSkew = "mcp_cleanup_database_clock_skew_seconds"
    case reloadSuccessful = "mcp_cleanup_config_last_reload_successful"
    case notifyFailures = "mcp_cleanup_notify_failures_total"
    case buildInfo = "mcp_cleanup_build_info"

    package enum Kind: Hashable, Sendable {
        case counter
        case gauge
        /// With the upper bounds of its buckets, in seconds; one without a bound follows them.
        case histogram([Double])
    }

    /// Whether it is a gauge of when something happened last: of two processes that tell, the later time is right.
    var isLastTime: Bool { self == .lastRun || self == .lastSuccess }

    package var kind: Kind {
        switch self {
        case .runs, .rowsDeleted, .rowsSkipped, .batches, .connectFailures, .coalescedFires, .missedFires,
            .passedOverFires, .notifyFailures:
            .counter
        case .runInProgress, .lastRun, .lastSuccess, .nextFire, .interval, .deadline, .successBudget, .oldestOverdue,
            .clockSkew, .reloadSuccessful, .buildInfo:
            .gauge
        // From a run that finds nothing to the longest deadline of a built-in job.
        case .runDuration: .histogram([0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 240, 600, 1800, 3600])
        // Around the 50 ms that a batch aims at.
        case .batchDuration: .histogram([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 5])
        case .startDelay: .histogram([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60])
        // From a socket file to a serverless database that has to wake.
        case .connectDuration: .histogram([0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30])
        }
    }

    /// One line for whoever sees the name for the first time.
    package var help: String {
        switch self {
        case .runs: "Runs that ended, by outcome."
        case .rowsDeleted: "Sessions deleted in committed batches."
        case .rowsSkipped: "Due sessions that another transaction held at the end of a run."
        case .batches: "Batches committed."
        case .runDuration:
            "How long runs took, by their last attempt: earlier ones and the waits between are not in it."
        case .batchDuration: "How long batches took, that is, how long they may have held locks."
        case .startDelay: "From a fire time to the start of its run; catch-up runs are not counted."
        case .connectDuration: "How long connecting to the database took, from the name to the end of TLS."
        case .connectFailures: "Connections that did not come about, by cause."
        case .runInProgress: "1 while a run of the job is under way, waits between attempts included."
        case .coalescedFires: "Fire times that came while their job was running and got no run."
        case .passedOverFires: "Fire times without a run, since nothing would be due: max-staleness."
        case .missedFires: "Fire times that passed while nobody could answer them."
        case .lastRun: "When the job's last run ended, in any process that shares the history; 0 if not known."
        case .lastSuccess: "When the job last succeeded, in any process that shares the history; 0 if not known."
        case .nextFire: "The job's next fire time; 0 while it is disabled."
        case .interval: "The longest of the times between the fire times around now; 0 while the job is disabled."
        case .deadline: "How long an attempt at a run of the job may take."
        case .successBudget: "How old the job's last success may become; 0 while the job is disabled."
        case .oldestOverdue:
            "For how long the oldest due session had been due when the last run looked; 0 for jobs of one's own."
        case .clockSkew: "How far the database's clock is ahead of the host's, as the last run saw it."
        case .reloadSuccessful: "1 if the configuration in force is the one that was read last, else 0."
        case .notifyFailures: "Heartbeats that could not be delivered."
        case .buildInfo: "Constant 1, with the version."
        }
    }
}
