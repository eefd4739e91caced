package import SessionCleanup
package import Time

/// A fact about the service, for its listeners: the log, the state and its metrics, the service manager and the heartbeats.
///
/// Events come in the order in which they happened, from the service's own loop except where a case says otherwise. A listener
/// must not block. Jobs go by their full names.
package enum ServiceEvent: Sendable {
    package typealias ArmedJobs = [(job: Job, nextFireTime: UTCInstant?)]

    /// The schedule is armed: runs begin at their fire times from now on.
    case started(ArmedJobs)
    case reloading
    /// A new configuration is in force; the keys whose change waits for a restart are named.
    case reloaded(ArmedJobs, waitingForRestart: [String])
    /// The configuration that was read is invalid, and the previous one stays in force. Says why, without a secret.
    case reloadFailed(String)
    /// The wall clock was set, or the machine slept.
    case clockWasSet(to: UTCInstant)
    /// The job's next fire time; `nil` for a disabled job.
    case fireTimeArmed(job: String, UTCInstant?)
    /// An attempt at the run for a fire time begins: its connection is open, or about to be opened.
    case attemptStarted(job: String, scheduledAt: UTCInstant, origin: RunOrigin, number: Int)
    /// The host and database, such as `db.example.org/app`, of the URL read before a connection. From the task that connects.
    case databaseNamed(String)
    /// A connection for a run was opened in this time, or could not be opened. From the run's own task.
    case connectionTried(Result<Duration, RunFailure>)
    /// A batch was committed, or all of its rows were locked by others. From the run's own task.
    case batchEnded(job: String, after: Duration, rowsDeleted: Int)
    /// The attempt failed for a transient cause, or met another process that executes the run; the next attempt follows.
    case attemptEnded(RunReport, nextAfter: Duration)
    /// No attempt of this run follows.
    case runConcluded(RunReport)
    /// The history could not be read after the start. It is read again; only the first failure is reported.
    case lookBackFailed(RunFailure)
    /// The history was read: when a run of the job last ended, and last succeeded, in any process.
    case earlierRunsKnown(job: String, EarlierRuns)
    /// The history was read: the job's last runs, in all processes, as a list. From a run's own task, or from the loop.
    case recentRunsKnown(job: String, RecentRuns)
    /// A fire time came while its job was running here. It gets a run of its own only if the attempt under way fails.
    case fireTimeCoalesced(job: String, UTCInstant)
    /// The given number of fire times passed while no process was there to run them.
    case fireTimesMissed(job: String, Int)
    /// Nothing will be due before the instant: this number of fire times get no run, so that the database may sleep.
    case fireTimesPassedOver(job: String, Int, until: UTCInstant)
    /// Half of the watchdog's time has passed, the loop turns, and no attempt is past its deadline.
    case foundWell
    /// No run starts from now on, and those under way are being canceled.
    case stopping
}
