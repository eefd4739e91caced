import CleanupSchedule
package import SessionCleanup
package import Time
import TimerWheel

/// Attempts: when they begin, what follows their end, and how long a retry waits.
extension Scheduler {
    /// An attempt has ended.
    package mutating func attemptEnded(_ attempt: Attempt, _ report: RunReport, now: TwoClocks) -> [Action] {
        guard case .running(let run, let successor) = states[attempt.job].phase, run.attempt == attempt else {
            preconditionFailure("an attempt ended that was not under way: \(attempt)")
        }
        watchdog?.attemptEnded(job: attempt.job)
        if let earlier = report.earlierRuns { tell(.earlierRunsKnown(job: report.job, earlier)) }
        if let due = report.restsUntil { rest(attempt, until: due, now: now) }
        states[attempt.job].phase = .idle
        let outcome = AttemptOutcome(report)
        let report = run.report.map(report.following) ?? report
        switch outcome {
        case .ended: tell(.runConcluded(report))
        case .failed, .skipped:
            tell(.runConcluded(report))
            if let successor, !isStopping, states[attempt.job].job.isEnabled {
                begin([Run(attempt: successor)], at: now)
            }
        case .mayRetry:
            // After the first attempt's wait where the next one is another run's first.
            let delay = successor == nil ? run.retryDelay : nominalDelay(after: 1)
            wait(delay: joined(delay, after: successor == nil ? attempt.number : 1, now), run, successor, report, now)
        case .heldElsewhere(let lease):
            // A little later than the lease's end, and processes that wait for it not all at the same instant.
            let delay = max(lease, .zero) + .milliseconds(Int64.random(in: 100...1000, using: &generator))
            wait(delay: delay, run, successor, report, now)
        }
        if outcome == .ended, case .blocked(let attempt) = lookBack { repeatLookBack(after: attempt) }
        return takeActions()
    }

    mutating func begin(_ runs: [Run], at now: TwoClocks) {
        guard !runs.isEmpty else { return }
        let runs = runs.sorted { order(of: $0.attempt.job) < order(of: $1.attempt.job) }
        watchdog?.attemptsBegan(
            runs.map { ($0.attempt.job, states[$0.attempt.job].job.deadline) }, at: now.elapsed)
        var assignments: [Assignment] = []
        for var run in runs {
            let attempt = run.attempt
            run.retryDelay = nominalDelay(after: attempt.number)
            states[attempt.job].phase = .running(run, successor: nil)
            let retry = RunRequest.Retry(delay: run.retryDelay, before: endOfInterval(of: attempt))
            let isLast = attempt.number >= RetryPolicy.maximumAttempts
            let request = RunRequest(
                scheduledAt: attempt.scheduledAt, origin: attempt.origin,
                previousTokens: run.report?.claimTokens ?? [],
                rowsDeletedBefore: run.report.map { $0.runID == nil ? $0.progress.rowsDeleted : 0 } ?? 0,
                retry: isLast ? nil : retry)
            assignments.append(Assignment(attempt: attempt, job: states[attempt.job].job, request: request))
        }
        actions.append(.start(assignments))
    }

    /// Lets the run wait for its next attempt, or for the successor's first, inside the interval only: once the next
    /// fire time has come, its own run is the better retry.
    private mutating func wait(
        delay: Duration, _ run: Run, _ successor: Attempt?, _ report: RunReport, _ now: TwoClocks
    ) {
        let job = run.attempt.job
        let following =
            successor.map { Run(attempt: $0) } ?? Run(attempt: run.attempt.next, report: report)
        guard !isStopping, following.attempt.number <= RetryPolicy.maximumAttempts,
            now.wall + delay < endOfInterval(of: following.attempt)
        else { return tell(.runConcluded(report)) }
        states[job].phase = .waiting(following, addWait(.job(job), until: now.elapsed + delay))
        if successor != nil {
            tell(.runConcluded(report))
        } else if report.failure == nil {
            tell(.runHeldElsewhere(report, lookAgainAfter: delay))
        } else {
            tell(.attemptFailed(report, retryAfter: delay))
        }
    }

    /// Returns the end of the time for a run's attempts: the next fire time, answered or not. A disabled job has none.
    func endOfInterval(of attempt: Attempt) -> UTCInstant {
        let job = states[attempt.job].job
        guard let next = nextFireTime(of: attempt.job) else { return attempt.scheduledAt }
        return min(next, job.schedule.next(after: attempt.scheduledAt, in: job.timeZone?.rules) ?? next)
    }

    mutating func nominalDelay(after attempt: Int) -> Duration {
        RetryPolicy.delay(after: attempt, using: &generator)
    }

    /// Returns the wait of another job that ends at about the time that is allowed after the attempt, since one
    /// connection serves both; else the delay. Not of one that ends much sooner: a job that has waited long would be
    /// repeated as often as one whose first attempt failed.
    func joined(_ delay: Duration, after attempt: Int, _ now: TwoClocks) -> Duration {
        let range = RetryPolicy.delays(after: attempt)
        for state in states {
            guard case .waiting(_, let timer) = state.phase, let end = waits.deadline(of: timer) else { continue }
            let wait = .microseconds(Int64(clamping: end)) - now.elapsed
            if wait >= range.lowerBound / 2, wait <= range.upperBound { return wait }
        }
        return delay
    }

    /// Takes a run's next attempt from it. A run that had no attempt yet has nothing to conclude.
    mutating func endWait(of job: Int) {
        guard case .waiting(let run, let timer) = states[job].phase else { return }
        _ = waits.cancel(timer)
        states[job].phase = .idle
        if let report = run.report { tell(.runConcluded(report)) }
    }
}
