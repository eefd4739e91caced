import SessionCleanup
import Time
import TimerWheel

/// Attempts: when they begin, what follows their end, and how long a retry waits.
extension Scheduler {
    mutating func attemptEnded(_ attempt: Attempt, _ report: RunReport, now: TwoClocks) -> [Action] {
        guard case .running(let run, let successor) = states[attempt.job].phase, run.attempt == attempt else {
            preconditionFailure("an attempt ended that was not under way: \(attempt)")
        }
        if let earlier = report.earlierRuns { tell(.earlierRunsKnown(job: report.job, earlier)) }
        if let due = report.restsUntil { rest(attempt, until: due, now: now) }
        states[attempt.job].phase = .idle
        giveBack(run.limit - now.elapsed, after: run)
        let total = run.report.map(report.following) ?? report
        var wait: Duration?
        if case .held(_, let lease) = report.skip {
            // A random time after the lease's end, so that waiting processes do not all claim at the same instant.
            wait = max(lease, .zero) + .milliseconds(Int64.random(in: 100...1000, using: &generator))
        } else if report.failure?.mayPass ?? false, report.skip == nil {
            // A successor's first attempt waits like a run's second one.
            let number = successor == nil ? run.tries : 1
            let nominal = successor == nil ? run.retryDelay : RetryPolicy.delay(after: 1, using: &generator)
            wait = joined(nominal, after: number, now)
        }
        let looks = run.looks + (report.skip == nil ? 0 : 1)
        let following = successor.map { Run(attempt: $0) } ?? Run(attempt: attempt.next, looks: looks, report: total)
        // Inside the interval only: once the next fire time has come, its own run is the better retry.
        if let wait, !isStopping, now.wall + wait < endOfInterval(of: following.attempt) {
            states[attempt.job].phase = .waiting(following, addWait(UInt64(attempt.job), until: now.elapsed + wait))
            tell(successor == nil ? .attemptEnded(total, nextAfter: wait) : .runConcluded(total))
            return takeActions()
        }
        tell(.runConcluded(total))
        if report.failure == nil, report.skip == nil {
            if case .failed(let reads, nil) = lookBack { readHistory(attempt: reads + 1) }
        } else if wait == nil, let successor, !isStopping, states[attempt.job].job.isEnabled {
            begin([Run(attempt: successor)], at: now)
        }
        return takeActions()
    }

    mutating func begin(_ runs: [Run], at now: TwoClocks) {
        guard !runs.isEmpty else { return }
        var assignments: [Assignment] = []
        var limit = now.elapsed
        lastSeries += 1
        for var run in runs.sorted(by: { order(of: $0.attempt.job) < order(of: $1.attempt.job) }) {
            let (attempt, job) = (run.attempt, states[run.attempt.job].job)
            // Attempts run one after the other, so each may take its own deadline and all those before it. A deadline
            // covers canceling and closing; half a minute is more than a slow machine needs on top.
            limit += job.deadline + .seconds(30)
            (run.limit, run.series) = (limit, lastSeries)
            run.retryDelay = RetryPolicy.delay(after: run.tries, using: &generator)
            states[attempt.job].phase = .running(run, successor: nil)
            let request = RunRequest(
                scheduledAt: attempt.scheduledAt, origin: attempt.origin,
                previousTokens: run.report?.claimTokens ?? [],
                rowsDeletedBefore: run.report.map { $0.runID == nil ? $0.progress.rowsDeleted : 0 } ?? 0,
                retry: (run.retryDelay, endOfInterval(of: attempt)))
            assignments.append((attempt, job, request))
        }
        actions.append(.start(assignments))
    }

    /// The time that an attempt left unused is not for the attempts that follow in its series.
    private mutating func giveBack(_ time: Duration, after ended: Run) {
        for job in states.indices {
            guard case .running(var run, let successor) = states[job].phase, run.series == ended.series,
                run.limit > ended.limit, time > .zero
            else { continue }
            run.limit -= time
            states[job].phase = .running(run, successor: successor)
        }
    }

    private func order(of job: Int) -> Int { jobs.firstIndex(of: job) ?? jobs.endIndex }

    /// Returns when a run's attempts must have begun: the next fire time, answered or not. A disabled job has none.
    func endOfInterval(of attempt: Attempt) -> UTCInstant {
        guard let next = nextFireTime(of: attempt.job) else { return attempt.scheduledAt }
        return min(next, states[attempt.job].job.fireTime(after: attempt.scheduledAt) ?? next)
    }

    /// Returns the rest of another job's wait if it is about as long as the waits allowed after the attempt, since one
    /// connection then serves both; otherwise the delay. A much shorter one would retry a long-failing job too often.
    func joined(_ delay: Duration, after attempt: Int, _ now: TwoClocks) -> Duration {
        let range = RetryPolicy.delays(after: attempt)
        for job in jobs {
            guard let timer = states[job].retryTimer, let end = waits.deadline(of: timer) else { continue }
            let wait = Self.elapsed(end) - now.elapsed
            if wait >= range.lowerBound / 2, wait <= range.upperBound { return wait }
        }
        return delay
    }
}

/// The waits between attempts that fail for a transient cause: exponential, with jitter, so that two processes that
/// failed together do not retry together.
enum RetryPolicy {
    /// The wait after the first attempt: a server that restarts is back after a few of these.
    static let shortest = Duration.seconds(1)
    /// The longest wait: the end of an hour's outage is noticed within this.
    private static let longest = Duration.seconds(300)

    /// Returns the range of waits after an attempt, which counts from 1: from half of the nominal wait to all of it.
    static func delays(after attempt: Int) -> ClosedRange<Duration> {
        // 2^9 seconds are above the longest wait already.
        let nominal = min(shortest * (1 << min(attempt - 1, 9)), longest)
        return nominal / 2...nominal
    }

    /// Returns a random wait from `delays(after:)`, in steps of a thousandth of that range.
    static func delay(after attempt: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        let range = delays(after: attempt)
        let width = range.upperBound - range.lowerBound
        return range.lowerBound + width * Int.random(in: 0...1000, using: &generator) / 1000
    }
}
