import SessionCleanup
import Time
import TimerWheel

/// The look-back: after the start, the history tells which fire times were missed while no process ran, and which runs
/// of an earlier process are to be resumed.
extension Scheduler {
    /// - Parameter histories: by job name; a job without an entry has no history, and has missed nothing.
    mutating func historyRead(_ histories: [String: JobHistory], now: TwoClocks) -> [Action] {
        guard !isStopping else { return [] }
        guard case .reading = lookBack else { preconditionFailure("the history was read twice") }
        lookBack = .done
        var runs: [Run] = []
        for job in jobs where states[job].job.isEnabled {
            let name = states[job].job.name
            guard let history = histories[name] else { continue }
            tell(.earlierRunsKnown(job: name, history.earlierRuns))
            // Not if a run has begun since the start: its rows might count twice. Recent runs are read after it.
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

    /// The history could not be read after the start: reported once. Fire times are answered meanwhile.
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

    /// Returns the attempt that a job needs because of its history, and the wait before it; nil if it needs none. It
    /// needs none after a fire time that has come since the start: that one's run answers the earlier ones.
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
        // A run for an earlier fire time counts only if its row has no end: its owner has died, or still holds it.
        guard latest.scheduledAt <= start, !isMissed || latest.isRunning, let wait = latest.wait else { return nil }
        return (Attempt(job: index, scheduledAt: latest.scheduledAt, origin: .catchUp), wait)
    }

    /// Asks for the history if an enabled job has answered no fire time since the start: only then may one be missed.
    mutating func readHistory(attempt: Int) {
        let enabled = jobs.map { states[$0] }.filter(\.job.isEnabled)
        let isOpen = enabled.contains(where: \.answered.isEmpty)
        lookBack = isOpen ? .reading(attempt: attempt) : .done
        if isOpen { actions.append(.readHistory(of: enabled.map(\.job))) }
    }
}
