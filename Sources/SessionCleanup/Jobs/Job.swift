package import CleanupSchedule
package import Time

/// A named cleanup: when it runs, what it removes and how long a run of it may take.
package struct Job: Hashable, Sendable {
    /// As in logs, metrics and history.
    package let name: String
    /// For `--job` only; `nil` for a job that has none.
    package let shortName: String?
    package var isEnabled = true
    package var schedule: Schedule
    /// Where the schedule's times are local; `nil` is UTC.
    package var timeZone: NamedTimeZone?
    package var catchUp = CatchUp.once
    /// How long a run may take, from before its connection is opened if it is not open.
    package var deadline: Duration
    /// The number of deleted rows at which a run ends as `capped`; `nil` for no limit.
    package var maxRows: Int?
    /// When more than this share of the table is due, from 0 to 1, a run deletes nothing and fails; `nil` is no such guard.
    package var maxFraction: Double?
    /// The longest time for which a run that finds nothing lets fire times pass until something will be due; `nil` for none.
    package var maxStaleness: Duration?
    /// The table, where it is one of the operator's own; `nil` is the sessions' table.
    package var table: TableName?
    /// For the shape `active` of the sessions table, or for another table.
    package var rule: Rule
    /// What differs for the shape `status`.
    var statusCandidates: String?

    /// Abandoned sign-ins: sessions that never became active and have expired.
    package static let transientSessions = Job(
        name: "mcp-cleanup-transient-sessions", shortName: "transient", schedule: .builtIn("*/5 * * * *"),
        deadline: .seconds(4 * 60), rule: Rule(candidates: "active IS NOT TRUE", column: "expires_at"),
        statusCandidates: "expires_at IS NOT NULL AND status <> 'active'")

    /// Active sessions that nothing has touched for `after`.
    package static func dormantSessions(after: Duration = .seconds(30 * 86_400)) -> Job {
        Job(
            name: "mcp-cleanup-dormant-sessions", shortName: "dormant", schedule: .builtIn("0 0 * * *"),
            deadline: .seconds(3600), rule: Rule(candidates: "active = true", column: "updated_at", after: after),
            statusCandidates: "status = 'active'")
    }

    /// A job that a file names, before the rest of what the file says of it: removes nothing, as yet.
    package static func own(named name: String) -> Job {
        Job(
            name: name, shortName: nil, schedule: .builtIn("@daily"), deadline: .seconds(4 * 60), table: .sessions,
            rule: Rule(valid { try RowCondition(parsing: "$1 IS NULL") }))
    }

    /// - Parameter generation: `nil` for a table that does not hold sessions.
    package func rule(for generation: SchemaGeneration?) -> Rule {
        var rule = rule
        if generation == .status, let statusCandidates { rule.candidates = statusCandidates }
        return rule
    }

    /// How old a success may become before the job counts as overdue: until the second fire time after it, but no less
    /// than two intervals or the time for which fire times may pass; and then its run has its deadline.
    package func budget(after success: UTCInstant) -> Duration {
        guard let interval = schedule.interval(at: success, in: timeZone?.rules),
            let next = schedule.next(after: success, in: timeZone?.rules)
        else { return deadline }
        return max(next - success + interval, interval * 2, maxStaleness ?? .zero) + deadline
    }

    /// The same where fire times may have changed since: by the new ones a success is expected from the change on.
    package func budget(after success: UTCInstant, changedAt: UTCInstant?) -> Duration {
        let start = max(success, changedAt ?? success)
        return start - success + budget(after: start)
    }

    package func isNamed(_ text: String) -> Bool { text == name || text == shortName }
}

/// What becomes of fire times that passed while the process was down or asleep, or that the clock jumped over.
package enum CatchUp: String, Hashable, Sendable, CaseIterable {
    /// One run, for the latest of them.
    case once
    /// None.
    case skip
}

/// Why there is a run.
package enum RunOrigin: String, Hashable, Sendable, CaseIterable {
    case schedule
    case catchUp = "catch-up"
    case once
}

/// A time zone as it was asked for, with the rules that the system had for it.
package struct NamedTimeZone: Hashable, Sendable {
    package let name: String
    package let rules: TimeZoneRules

    package init(name: String, rules: TimeZoneRules) { (self.name, self.rules) = (name, rules) }
}

extension Schedule {
    fileprivate static func builtIn(_ expression: String) -> Schedule { valid { try Schedule(expression) } }
}

/// Returns a value that the program has as a text, and that is right.
private func valid<Value>(_ read: () throws -> Value) -> Value {
    do {
        return try read()
    } catch {
        preconditionFailure("\(error)")
    }
}

/// The limits of a run, the same for every job.
package struct RunLimits: Hashable, Sendable {
    /// How far the database's clock may be ahead of the host's.
    package var maxClockSkew = Duration.seconds(5 * 60)
    /// How long one transaction should hold its locks.
    package var batchTarget = Duration.milliseconds(50)
    /// The longest time a batch may wait for one lock.
    package var lockTimeout = Duration.milliseconds(100)
    /// Rows that one transaction deletes at most.
    package var batchRows = 10_000
    /// How long to rest after each batch.
    package var batchPause = Duration.zero
    /// Addresses that one search returns at most, unless a single page has more: about 1 MB of answer.
    var searchRows = 50_000

    package static let standard = RunLimits()
}
