package import CleanupSchedule
package import Time

/// A named cleanup: when it runs, what it removes and how long a run of it may take.
package struct Job: Hashable, Sendable {
    /// The name in logs, metrics and history.
    package let name: String
    /// A shorter name for command lines, the page and the job's index; `nil` for an operator's own job.
    package let shortName: String?
    package var isEnabled = true
    package var schedule: Schedule
    /// The time zone of the schedule's times; `nil` is UTC.
    package var timeZone: NamedTimeZone?
    package var catchUp = CatchUp.once
    /// The time limit of an attempt of a run; it includes opening the connection, if none is open yet.
    package var deadline: Duration
    /// The number of deleted rows at which a run ends as `capped`; `nil` for no limit.
    package var maxRows: Int?
    /// When more than this share of the table is due, from 0 to 1, a run deletes nothing and fails; `nil` is no such guard.
    package var maxFraction: Double?
    /// After a run that finds nothing, fire times are skipped until a row will be due, at most this long; `nil` skips
    /// none.
    package var maxStaleness: Duration?
    /// The table of an operator's own job; `nil` is the sessions table.
    package var table: TableName?
    /// The rule for the shape `active` of the sessions table, or for the table of an operator's own job.
    package var rule: Rule
    /// The rule's `candidates` for the shape `status`; `nil` for an operator's own job.
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

    /// An operator's own job, before its keys in the configuration file are read: its rule matches no row yet.
    package static func own(named name: String) -> Job {
        Job(
            name: name, shortName: nil, schedule: .builtIn("@daily"), deadline: .seconds(4 * 60), table: .sessions,
            rule: Rule(valid { try RowCondition(parsing: "$1 IS NULL") }))
    }

    /// - Parameter generation: `nil` for a table that does not hold sessions.
    package func rule(for generation: SchemaGeneration?) -> Rule {
        switch generation {
        case nil, .active: return rule
        case .status:
            var rule = rule
            rule.candidates = statusCandidates ?? rule.candidates
            return rule
        }
    }

    /// The age of a success from which the job counts as overdue: the time until the second fire time after it, but at
    /// least two intervals and at least `maxStaleness`; plus the deadline of that fire time's run.
    package func budget(after success: UTCInstant) -> Duration {
        guard let interval = schedule.interval(at: success, in: timeZone?.rules),
            let next = schedule.next(after: success, in: timeZone?.rules)
        else { return deadline }
        return max(next - success + interval, interval * 2, maxStaleness ?? .zero) + deadline
    }

    /// The same if the job's fire times may have changed since: the new ones count from the change on.
    package func budget(after success: UTCInstant, changedAt: UTCInstant?) -> Duration {
        let start = max(success, changedAt ?? success)
        return start - success + budget(after: start)
    }

    package func isNamed(_ text: String) -> Bool { text == name || text == shortName }
}

/// The treatment of fire times that passed while the process was down or asleep, or that the clock jumped over.
package enum CatchUp: String, Hashable, Sendable, CaseIterable {
    /// One run, for the latest of them.
    case once
    /// None.
    case skip
}

/// The cause of a run.
package enum RunOrigin: String, Hashable, Sendable, CaseIterable {
    case schedule
    case catchUp = "catch-up"
    case once
}

/// A time zone by its name in the configuration, with the rules that the system had for it.
package struct NamedTimeZone: Hashable, Sendable {
    package let name: String
    package let rules: TimeZoneRules

    package init(name: String, rules: TimeZoneRules) { (self.name, self.rules) = (name, rules) }
}

extension Schedule {
    fileprivate static func builtIn(_ expression: String) -> Schedule { valid { try Schedule(expression) } }
}

/// Returns the value of a text that is part of the program; one that cannot be read is a bug, and stops the process.
private func valid<Value>(_ read: () throws -> Value) -> Value {
    do {
        return try read()
    } catch {
        preconditionFailure("\(error)")
    }
}

/// The limits of a run, the same for every job.
package struct RunLimits: Hashable, Sendable {
    /// The most that the database's clock may be ahead of the host's.
    package var maxClockSkew = Duration.seconds(5 * 60)
    /// The time for which one transaction should hold its locks.
    package var batchTarget = Duration.milliseconds(50)
    /// The longest time a batch may wait for one lock.
    package var lockTimeout = Duration.milliseconds(100)
    /// Rows that one transaction deletes at most.
    package var batchRows = 10_000
    /// The pause after each batch.
    package var batchPause = Duration.zero
    /// Addresses that one search returns at most, unless a single page has more: about 1 MB of answer.
    var searchRows = 50_000

    package static let standard = RunLimits()
}
