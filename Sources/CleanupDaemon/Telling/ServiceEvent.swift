package import SessionCleanup
package import Time

/// What happened in the service, for whoever reports it: its log, its metrics, its supervisor.
///
/// Facts, in the order in which they happened, told by the service's own loop except where a case says otherwise. Whoever
/// hears them must not block. Jobs are told by their full names.
package enum ServiceEvent: Sendable {
    /// The schedule is armed: fire times are answered from now on.
    case started([(job: Job, nextFireTime: UTCInstant?)])
    /// The configuration is being read again.
    case reloading
    /// A new configuration is in force; the keys whose change waits for a restart are named.
    case reloaded([(job: Job, nextFireTime: UTCInstant?)], waitingForRestart: [String])
    /// The configuration is not as it has to be; the old one stays in force. In words, without a secret.
    case reloadFailed(String)
    /// Somebody set the wall clock, or the machine slept; this is what it says now.
    case clockWasSet(to: UTCInstant)
    /// `nil`: the job is disabled.
    case fireTimeArmed(job: String, UTCInstant?)
    /// An attempt at the run for a fire time begins: its connection is open, or about to be opened.
    case attemptStarted(job: String, scheduledAt: UTCInstant, origin: RunOrigin, number: Int)
    /// A connection was opened, for a run or to read the history. Told from the task that opened it.
    case connected(after: Duration)
    /// A connection could not be opened. Told from the task that tried.
    case connectFailed(RunFailure)
    /// A batch was committed, or all of its rows were held. Told from the run's own task.
    case batchEnded(job: String, after: Duration, rowsDeleted: Int)
    /// The attempt failed for a cause that may pass; another one follows.
    case attemptFailed(RunReport, retryAfter: Duration)
    /// Another process is at a run of the job: there is none here, until a look after so long finds that one gone.
    case runHeldElsewhere(RunReport, lookAgainAfter: Duration)
    /// No attempt of this run follows.
    case runConcluded(RunReport)
    /// The history could not be read after the start, so that missed fire times are not known yet. It is read again; told
    /// the first time only.
    case lookBackFailed(RunFailure)
    /// The history was read, and has these runs of the job, of every process.
    case earlierRunsKnown(job: String, EarlierRuns)
    /// A fire time came while its job was running here: it gets a run only if the attempt under way fails.
    case fireTimeCoalesced(job: String, UTCInstant)
    /// So many fire times passed while nobody could answer them.
    case fireTimesMissed(job: String, Int)
    /// A run found nothing, and nothing will be due before the instant: so many fire times will pass, and the database
    /// may sleep.
    case fireTimesPassedOver(job: String, Int, until: UTCInstant)
    /// Half of the watchdog's time has passed, the wheel turns, and no run is past its deadline.
    case foundWell
    /// No run starts from now on; those under way are being canceled.
    case stopping

    /// What came of connecting.
    package static func connection(_ result: Result<Duration, RunFailure>) -> ServiceEvent {
        switch result {
        case .success(let duration): .connected(after: duration)
        case .failure(let failure): .connectFailed(failure)
        }
    }
}
