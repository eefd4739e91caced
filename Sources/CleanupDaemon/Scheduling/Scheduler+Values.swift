package import SessionCleanup
package import Time

extension Scheduler {
    /// As `Monitoring` still names it.
    package typealias Now = TwoClocks

    /// One attempt at the run for a fire time.
    package struct Attempt: Hashable, Sendable {
        /// The job's index: see `Scheduler.job(_:)`.
        package let job: Int
        package let scheduledAt: UTCInstant
        package let origin: RunOrigin
        /// Counts from 1.
        package let number: Int

        /// The attempt that follows this one in the same run.
        var next: Attempt { Attempt(job: job, scheduledAt: scheduledAt, origin: origin, number: number + 1) }
    }

    /// An attempt to make, with the settings that are in force.
    package struct Assignment: Sendable {
        package let attempt: Attempt
        package let job: Job
        package let request: RunRequest
    }

    package enum Action: Sendable {
        /// Make these attempts, one after the other, over one connection, and report each end as `attemptEnded`.
        case start([Assignment])
        /// Read the history of these jobs, and report it as `historyRead` or `historyReadFailed`.
        case readHistory(of: [Job])
        /// Report the event.
        case tell(ServiceEvent)
        /// Cancel the attempts under way; each still reports its end.
        case cancelAttempts
    }
}

/// The meaning of a report for the attempts to come.
enum AttemptOutcome: Hashable, Sendable {
    /// The run is at its end: it did its work.
    case ended
    /// The run is at its end: it failed for a cause that does not pass by itself, or was canceled.
    case failed
    /// There was no run here, and there is none to come.
    case skipped
    /// It failed for a transient cause.
    case mayRetry
    /// Another process holds a run of the job, and is to be looked at again after this time.
    case heldElsewhere(lookAgainAfter: Duration)

    init(_ report: RunReport) {
        switch report.skip {
        case .held(_, let wait): self = .heldElsewhere(lookAgainAfter: wait)
        case .answered: self = .skipped
        case nil: self = report.failure.map { $0.mayPass ? .mayRetry : .failed } ?? .ended
        }
    }
}
