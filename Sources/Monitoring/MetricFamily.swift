/// The families of metrics, in the order of the text; each is written as its HELP line: its name, a blank and what it is.
///
/// Names and labels are a promise to dashboards. Label values come from closed sets: jobs, outcomes, causes. A job's label
/// is `job_name`, since `job` is Prometheus' own.
enum MetricFamily: String, CaseIterable, Sendable {
    case runs = "mcp_cleanup_runs_total Runs that ended, by outcome."
    case rowsDeleted = "mcp_cleanup_rows_deleted_total Rows deleted in committed batches."
    case rowsSkipped =
        "mcp_cleanup_rows_skipped_total Due rows that a run left because another transaction had locked them."
    case rowsRefused =
        "mcp_cleanup_rows_refused_total Due rows that the database would not delete: a foreign key, or a trigger that raises or vetoes."
    case batches = "mcp_cleanup_batches_total Batches committed."
    case runDuration =
        "mcp_cleanup_run_duration_seconds Duration of a run's last attempt, without earlier ones and the waits between them."
    case batchDuration =
        "mcp_cleanup_batch_duration_seconds Duration of a batch, which is the longest time it may have held locks."
    case startDelay =
        "mcp_cleanup_start_delay_seconds Delay from a scheduled time to the start of its run; catch-up runs are not counted."
    case connectDuration =
        "mcp_cleanup_connect_duration_seconds Duration of connecting to the database, from resolving its name to the end of TLS and login."
    case connectFailures = "mcp_cleanup_connect_failures_total Connections that could not be opened, by cause."
    case runInProgress =
        "mcp_cleanup_run_in_progress 1 while a run of the job is under way in this process, waits between attempts included."
    case coalescedFires =
        "mcp_cleanup_coalesced_fires_total Scheduled times that came while their job was running and got no run."
    case missedFires = "mcp_cleanup_missed_fires_total Scheduled times that passed while no process could run them."
    case passedOverFires =
        "mcp_cleanup_passed_over_fires_total Scheduled times without a run, because nothing would be due (max-staleness)."
    case lastRun =
        "mcp_cleanup_last_run_timestamp_seconds When the job's last run ended, in any process that shares the history; 0 if not known."
    case lastSuccess =
        "mcp_cleanup_last_success_timestamp_seconds When the job last succeeded, in any process that shares the history; 0 if not known."
    case nextFire = "mcp_cleanup_next_fire_timestamp_seconds The job's next scheduled time; 0 while it is disabled."
    case interval =
        "mcp_cleanup_interval_seconds The longest time between the scheduled times around now; 0 while the job is disabled."
    case deadline = "mcp_cleanup_deadline_seconds The longest time that an attempt of the job may take."
    case successBudget =
        "mcp_cleanup_success_budget_seconds The age of the last success at which the job is overdue; 0 while it is disabled."
    case oldestOverdue =
        "mcp_cleanup_oldest_overdue_seconds How long the oldest due session had been due when the last run looked; 0 for your own jobs."
    case clockSkew =
        "mcp_cleanup_database_clock_skew_seconds How far the database's clock is ahead of the host's, as the last run saw it."
    case reloadSuccessful =
        "mcp_cleanup_config_last_reload_successful 1 if the last reload of the configuration succeeded, else 0."
    case lastReload =
        "mcp_cleanup_config_last_reload_success_timestamp_seconds When the configuration in force was read."
    case notifyFailures = "mcp_cleanup_notify_failures_total Heartbeats that could not be delivered."
    case buildInfo = "mcp_cleanup_build_info Constant 1, with the version."
    case processStart = "process_start_time_seconds When the process began."
    case processMemory = "process_resident_memory_bytes Resident memory of the process, shared pages included."
    case processFiles = "process_open_fds Open file descriptors of the process."
    case processCPU = "process_cpu_seconds_total Processor time of the process, in user and system mode."

    var name: String { String(rawValue.prefix { $0 != " " }) }

    /// The names of counters, and no others, end with `_total`.
    var kind: String { !bounds.isEmpty ? "histogram" : name.hasSuffix("_total") ? "counter" : "gauge" }

    /// True for a gauge of when something happened last: of two processes' values the later one is right.
    var isLastTime: Bool { self == .lastRun || self == .lastSuccess || self == .lastReload }

    /// The upper bounds of a histogram's buckets, in seconds; one more bucket has none. Empty for a counter and a gauge.
    var bounds: [Double] {
        switch self {
        // The buckets reach from a run that finds nothing to the longest deadline of a built-in job.
        case .runDuration: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600]
        // From one row of a small table to a batch that a trigger or the disk delays, with the limit of 50 ms in between.
        case .batchDuration: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
        case .startDelay: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60]
        // From a socket file to a serverless database that has to wake.
        case .connectDuration: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30]
        default: []
        }
    }
}
