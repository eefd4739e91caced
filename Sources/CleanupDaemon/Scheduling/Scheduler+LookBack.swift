import SessionCleanup
import Time
import TimerWheel

/// The look-back: after the start, the history tells which fire times were missed while no process ran, and which runs
/// of an earlier process are to be resumed.
extension Scheduler {
    /// - Parameter histories: by the name of the job; jobs that are absent have none, and have missed nothing.
    mutating func historyRead(_ histories: [String: JobHistory], now: TwoClocks) -> [Action] {
        guard !isStopping else { return [] }
        guard case .reading = lookBack else { preconditionFailure("the history was read twice") }
        lookBack = .done
        var runs: [Run] = []
        for job in jobs where states[job].job.isEnabled {
            let name = states[job].job.name
            guard let history = histories[name] else { continue }
            tell(.earlierRunsKnown(job: name, history.earlierRuns))
            // Where a run has begun meanwhile, rows of it might count twice: the history is read after that run.
            if states[job].answered.isEmpty, let recent = history.recentRuns {
                tell(.recentRunsKnown(job: name, recent))
            }
            guard let (attempt, wait) = catchUp(with: history, of: job, now.wall) else { continue }
            markAnswered(attempt.scheduledAt, of: job)
            if wait <= .zero {
                runs.append(Run(attempt: attempt))
            } else if now.wall + wait < endOfInterval(of: attempt) {
                states[job].phase = .waiting(Run(attempt: attempt), addWait(UInt64(job), until: now.elapsed + wait))
            }
        }
        begin(runs, at: now)
        return takeActions()
    }

    /// The history could not be read after the start. Told once; fire times are answered meanwhile.
    mutating func historyReadFailed(_ failure: RunFailure, now: TwoClocks) -> [Action] {
        guard !isStopping else { return [] }
        guard case .reading(let attempt) = lookBack else { preconditionFailure("the history was not being read") }
        if attempt == 1 { tell(.lookBackFailed(failure)) }
        var timer: TimerWheel.Handle?
        if failure.mayPass {
            let delay = joined(RetryPolicy.delay(after: attempt, using: &generator), after: attempt, now)
            timer = addWait(Self.lookBackPayload, until: now.elapsed + delay)
        }
        lookBack = .failed(attempt: attempt, timer)
        return takeActions()
    }

    /// Returns the attempt, and the wait before it, that a job needs because of its history. None where a fire time has come
    /// since the start: its own run answers the earlier ones.
    private mutating func catchUp(with history: JobHistory, of index: Int, _ now: UTCInstant) -> (Attempt, Duration)? {
        let job = states[index].job
        guard let latest = history.latest, let last = job.fireTime(atOrBefore: min(start, now)) else { return nil }
        let isMissed = latest.scheduledAt < last
        if isMissed {
            let count = job.fireTimesMissed(since: latest.scheduledAt, through: last)
            if count > 0 { tell(.fireTimesMissed(job: job.name, count)) }
        }
        guard states[index].answered.isEmpty else { return nil }
        if isMissed, job.catchUp == .once { return (Attempt(job: index, scheduledAt: last, origin: .catchUp), .zero) }
        // Of fire times behind the last one only a run that has no end in its row yet: its owner has died, or holds it.
        guard latest.scheduledAt <= start, !isMissed || latest.isRunning, let wait = latest.wait else { return nil }
        return (Attempt(job: index, scheduledAt: latest.scheduledAt, origin: .catchUp), wait)
    }

    /// Asks for the history as long as it may name a missed fire time: an enabled job has answered none since the start.
    mutating func readHistory(attempt: Int) {
        let enabled = jobs.map { states[$0] }.filter(\.job.isEnabled)
        let isOpen = enabled.contains(where: \.answered.isEmpty)
        lookBack = isOpen ? .reading(attempt: attempt) : .done
        if isOpen { actions.append(.readHistory(of: enabled.map(\.job))) }
    }
}
