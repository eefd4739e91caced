package import CleanupDaemon
import SessionCleanup
import Time

extension ServiceState {
    /// Why the service is not ready, a sentence for each cause; none means that it is.
    ///
    /// Ready is when every enabled job has succeeded within its budget, here or elsewhere, or is not yet due. Ages are
    /// measured by a clock that nobody sets.
    package func obstacles(at now: Scheduler.Now) -> [String] {
        (isStopping ? ["the service is stopping"] : []) + jobs.compactMap { $0.obstacle(at: now) }
    }

    /// Why the scheduler does not do its work although its loop turns; `nil` if it does.
    ///
    /// A fire time is armed anew at the instant it comes. One that has passed by more than the limit was not answered: the
    /// timer is dead.
    package func deadTimer(at now: Scheduler.Now) -> String? {
        guard !isStopping else { return nil }
        for job in jobs {
            guard let fireTime = job.nextFireTime, now.wall - fireTime > Self.punctuality else { continue }
            return "the fire time \(fireTime) of \(job.job.name) has passed and nothing happened"
        }
        return nil
    }

    /// More than a machine under load is late.
    private static let punctuality = Duration.seconds(60)
}

extension JobState {
    /// A job's state in a word.
    package enum Condition: String, CaseIterable, Sendable {
        case disabled
        /// It has not run yet, and need not have.
        case waiting
        case running
        case healthy
        /// Its last attempt failed, and its budget is not used up.
        case failing
        /// Not ready.
        case overdue
    }

    package func condition(at now: Scheduler.Now) -> Condition {
        if !job.isEnabled { return .disabled }
        if obstacle(at: now) != nil { return .overdue }
        if failure != nil { return .failing }
        if underWay != nil { return .running }
        return lastSuccess == nil ? .waiting : .healthy
    }

    fileprivate func obstacle(at now: Scheduler.Now) -> String? {
        guard job.isEnabled else { return nil }
        let why = failure.map { failure in
            ": \(failure)" + (failure.hint.map { ". \($0)" } ?? "")
        }
        guard let lastSuccess else {
            guard let dueSince else { return nil }
            if let why { return "\(job.name) has not succeeded yet\(why)" }
            if wasAnswered { return "\(job.name) has not succeeded yet, neither here nor in another process" }
            guard now.elapsed - dueSince > job.deadline else { return nil }
            return "\(job.name) has not succeeded yet: its first run is past its deadline of \(job.deadline.inWords)"
        }
        let age = now.elapsed - lastSuccess.elapsed
        guard age > lastSuccess.budget else { return nil }
        return "\(job.name) has not succeeded for \(age.inWords), and may go without for \(lastSuccess.budget.inWords)"
            + (why ?? "")
    }
}

extension Duration {
    /// For people, to two units: `4 min 12 s`, `13 h 5 min`. Below a second: `12 ms`.
    package var inWords: String {
        guard self >= .zero else { return "0 s" }
        if self < .seconds(1) { return "\(components.attoseconds / 1_000_000_000_000_000) ms" }
        let seconds = Int(components.seconds)
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s"),
        ]
        let first = parts.firstIndex { $0.0 > 0 } ?? parts.count - 1
        return parts[first...].prefix(2).filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: " ")
    }
}
