import SessionCleanup
package import Time

extension ServiceState {
    /// Why the service is not ready, a sentence for each cause. It is ready when every enabled job has succeeded within
    /// its budget, here or in another process, or is not yet due. Ages are measured by the monotonic clock.
    package func obstacles(at now: TwoClocks) -> [String] {
        (isStopping ? ["the service is stopping"] : []) + jobs.compactMap { $0.obstacle(at: now) }
    }

    /// Why the scheduler does not do its work although its loop turns; `nil` if it does. When a fire time comes, the
    /// next one is armed at once, so an armed one that has passed means a dead timer.
    package func fault(at now: TwoClocks) -> String? {
        for job in jobs {
            if let stuck = job.stuckAttempt(at: now) { return stuck }
            if !isStopping, let fireTime = job.nextFireTime, now.wall - fireTime > Self.lateness {
                return "the scheduled time \(fireTime) of \(job.job.name) has passed and no run began"
            }
        }
        return nil
    }

    /// More than a machine under load delays a fire time or an attempt's end.
    fileprivate static let lateness = Duration.seconds(60)
}

extension JobState {
    /// A job's state in a word.
    package enum Condition: String, Sendable {
        case disabled
        /// It has not succeeded yet, and need not have.
        case waiting
        case running
        case healthy
        /// Its last attempt failed, and its budget is not used up.
        case failing
        /// It makes the service not ready.
        case overdue
    }

    package func condition(at now: TwoClocks) -> Condition {
        if !job.isEnabled { return .disabled }
        if obstacle(at: now) != nil { return .overdue }
        if failing != nil { return .failing }
        if underWay != nil { return .running }
        return lastSuccess == nil ? .waiting : .healthy
    }

    /// Why the job makes the service not ready; `nil` where it does not.
    package func obstacle(at now: TwoClocks) -> String? {
        guard job.isEnabled else { return nil }
        if let stuck = stuckAttempt(at: now) { return stuck }
        let why = failing.map { ": \($0.failure)".followed(byHintOf: $0.failure) }
        if let lastSuccess {
            let age = now.elapsed - lastSuccess.elapsed
            guard age > allowance else { return nil }
            return "\(job.name) has not succeeded for \(age.inWords); the limit is \(allowance.inWords)\(why ?? "")"
        }
        guard let dueSince else { return nil }
        if let why { return "\(job.name) has not succeeded yet\(why)" }
        if wasAnswered { return "\(job.name) has not succeeded yet, neither here nor in another process" }
        guard now.elapsed - dueSince > job.deadline else { return nil }
        return "\(job.name) has not succeeded yet: its first run is past its deadline of \(job.deadline.inWords)"
    }

    /// A message that an attempt is more than a minute past its deadline; `nil` if none is.
    fileprivate func stuckAttempt(at now: TwoClocks) -> String? {
        guard let underWay, retryAt == nil else { return nil }
        let excess = now.elapsed - underWay.attemptStartedAt - underWay.deadline
        guard excess > ServiceState.lateness else { return nil }
        return "an attempt of \(job.name) is \(excess.inWords) past its deadline of \(underWay.deadline.inWords)"
    }
}

extension String {
    /// Returns the text followed by the failure's hint, with a full stop between unless the text ends with punctuation.
    func followed(byHintOf failure: RunFailure) -> String {
        guard let hint = failure.hint else { return self }
        return "\(self)\(last.map { "?.!".contains($0) } ?? true ? "" : ".") \(hint)"
    }
}
