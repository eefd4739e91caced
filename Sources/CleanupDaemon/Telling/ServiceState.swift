package import SessionCleanup
package import Time

/// The facts known about the service: the one value that health checks, gauges, the page, `/status.json` and the status
/// line are made from. Events change it; nothing in it asks the database.
package struct ServiceState: Sendable {
    package private(set) var jobs: [JobState]
    package let startedAt: UTCInstant
    package let version: String
    /// The name of the host that the service runs on.
    package let host: String
    /// Host and database that the connection URL named when it was last read, such as `db.example.org/app`.
    package private(set) var database: String?
    /// False until the schedule is armed.
    private(set) var isArmed = false
    package private(set) var isStopping = false
    /// When the configuration in force was read.
    package private(set) var configuredAt: UTCInstant
    /// When the last reload failed, and why, with the place in the file and never a secret; `nil` unless it failed.
    package private(set) var failedReload: (at: UTCInstant, why: String)?
    /// The lead of the database's clock over the host's, as the last run saw it; `nil` until a run has read it.
    package private(set) var clockSkew: Duration?

    package init(jobs: [Job], version: String, host: String, startedAt: TwoClocks) {
        self.jobs = jobs.map { JobState(job: $0, at: startedAt) }
        self.version = version
        self.host = host
        (self.startedAt, configuredAt) = (startedAt.wall, startedAt.wall)
    }

    package mutating func record(_ event: ServiceEvent, at now: TwoClocks) {
        switch event {
        case .started(let armed):
            isArmed = true
            configure(armed, at: now)
        case .reloaded(let armed, _): configure(armed, at: now)
        case .reloadFailed(let why): failedReload = (now.wall, why)
        case .databaseNamed(let name): database = name
        case .runConcluded(let report): clockSkew = report.clockSkew ?? clockSkew
        case .stopping: isStopping = true
        default: break
        }
        for index in jobs.indices { jobs[index].record(event, serviceStartedAt: startedAt, at: now) }
    }

    private mutating func configure(_ armed: ServiceEvent.ArmedJobs, at now: TwoClocks) {
        failedReload = nil
        configuredAt = now.wall
        jobs = armed.map { job, fireTime in
            var state = jobs.first { $0.job.name == job.name } ?? JobState(job: job, at: now, isNew: true)
            state.take(job, at: now)
            state.arm(fireTime, at: now)
            return state
        }
    }

    /// Rows deleted in the last 24 hours, to a quarter of an hour.
    package func rowsDeletedInLastDay(at now: TwoClocks) -> Int { jobs.reduce(0) { $0 + $1.deletions.total(at: now) } }

    /// True if `rowsDeletedInLastDay` counts the rows of all processes: the history of each enabled job was read.
    package var countsAllProcesses: Bool {
        let enabled = jobs.filter(\.job.isEnabled)
        return !enabled.isEmpty && enabled.allSatisfy(\.deletions.areOfAllProcesses)
    }

    /// The run of any job that ended last.
    package var lastRun: JobState.FinishedRun? {
        jobs.compactMap(\.lastRun).max { $0.report.finishedAt < $1.report.finishedAt }
    }
}
