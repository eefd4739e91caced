import SessionCleanup

/// A key of the configuration: where its value is kept, and how it is written. The list of settings is the one place that
/// knows the keys; tests hold the sample file and the table in docs/configuration.md to it.
struct Setting: Sendable {
    /// The key as in the configuration file, with dots between the levels.
    let key: String
    /// Checks a text and sets the value.
    let apply: @Sendable (String, inout Configuration) throws(Expectation) -> Void
    /// The value, as a text that `apply` takes.
    let text: @Sendable (Configuration) -> String
    /// True if a change waits for the next start of the process.
    var isFixed = false
    /// True if the value may contain a secret.
    var isSecret = false

    /// `MCP_CLEANUP_` and the key in capitals, with underscores for dots and dashes.
    var variable: String { Self.variablePrefix + String(key.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 }) }

    /// All variables with this prefix are the configuration's.
    static let variablePrefix = "MCP_CLEANUP_"
}

extension Setting {
    private init<Value>(
        _ key: String, _ path: any WritableKeyPath<Configuration, Value> & Sendable, _ grammar: ValueGrammar<Value>,
        isFixed: Bool = false, isSecret: Bool = false
    ) {
        self.init(
            key: key, apply: { text, subject throws(Expectation) in subject[keyPath: path] = try grammar.read(text) },
            text: { grammar.write($0[keyPath: path]) }, isFixed: isFixed, isSecret: isSecret)
    }

    /// Every key of a configuration, those of its jobs included.
    static func all(of configuration: Configuration) -> [Setting] {
        general + configuration.jobs.indices.flatMap { all(ofJobAt: $0, in: configuration) }
    }

    /// The keys that are not a job's.
    static let general = [
        Setting("database.table", \.table, .table),
        Setting("database.session-schema", \.sessionSchema, .word),
        // Below 100 ms no TLS handshake across a network ends; above 10 minutes a run's deadline is the limit.
        Setting("database.connect-timeout", \.connectTimeout, .duration.within(.milliseconds(100)...(.seconds(600)))),
        Setting("database.max-clock-skew", \.limits.maxClockSkew, .duration.within(.seconds(1)...(.days(1)))),
        // Below 1 ms a transaction's fixed cost prevails; above 10 s the application notices its locks.
        Setting("batch.target-duration", \.limits.batchTarget, .duration.within(.milliseconds(1)...(.seconds(10)))),
        // Above 10 s it is no limit: a batch should be over by then.
        Setting("batch.lock-timeout", \.limits.lockTimeout, .duration.within(.milliseconds(1)...(.seconds(10)))),
        Setting("batch.max-rows", \.limits.batchRows, .number.within(1...100_000)),
        Setting("batch.pause", \.limits.batchPause, .duration.within(.zero...(.seconds(60)))),
        // Below 3 s a slow round trip looks like a dead owner; above an hour a dead owner's run waits too long.
        Setting("claim.lease", \.history.lease, .duration.within(.seconds(3)...(.seconds(3600)))),
        Setting("history.mode", \.history.mode, .word, isFixed: true),
        Setting("history.retention", \.history.retention, .duration.within(.days(1)...(.days(3650)))),
        Setting("history.removed", \.history.removed, .optional(.duration.within(.days(1)...(.days(3650))))),
        Setting("http.listen", \.httpListen, .optional(.address), isFixed: true),
        Setting("log.level", \.logLevel, .word),
        Setting("log.format", \.logFormat, .word, isFixed: true),
        Setting("notify.success-url", \.successHeartbeat, .optional(.heartbeat), isFixed: true, isSecret: true),
        Setting("notify.failure-url", \.failureHeartbeat, .optional(.heartbeat), isFixed: true, isSecret: true),
        // The default (20 s) is longer than any batch, and shorter than systemd's default limit of 90 s.
        Setting("shutdown.timeout", \.shutdownTimeout, .duration.within(.seconds(1)...(.seconds(600))), isFixed: true),
    ]

    /// The keys that one of the configuration's jobs has.
    static func all(ofJobAt index: Int, in configuration: Configuration) -> [Setting] {
        let job = configuration.jobs[index]
        func setting<Value>(
            _ key: String, _ path: any WritableKeyPath<Job, Value> & Sendable, _ grammar: ValueGrammar<Value>
        ) -> Setting {
            Setting(
                key: "jobs.\(job.name).\(key)",
                apply: { text, subject throws(Expectation) in
                    subject.jobs[index][keyPath: path] = try grammar.read(text)
                }, text: { grammar.write($0.jobs[index][keyPath: path]) })
        }
        let every = [
            setting("enabled", \.isEnabled, .truth),
            setting("schedule", \.schedule, .schedule),
            setting("time-zone", \.timeZone, .optional(.zone, none: "UTC")),
            setting("catch-up", \.catchUp, .word),
            setting("deadline", \.deadline, .duration.within(.seconds(1)...(.days(1)))),
            setting("max-rows", \.maxRows, .optional(.number.within(1...1_000_000_000))),
            // Below one in ten thousand a single row of a small table would be too many.
            setting("max-fraction", \.maxFraction, .optional(.share.within(0.0001...1))),
        ]
        guard job.table == nil else {
            // These keys of an own job have no default, nor has `schedule`. `Job.own` sets a table, so it is not `nil`.
            return [setting("table", \.table!, .table), setting("where", \.condition, .condition)] + every
        }
        // An own job has no `max-staleness`: the time at which its rows will be due is not known.
        let maxStaleness = setting(
            "max-staleness", \.maxStaleness, .optional(.duration.within(.seconds(1)...(.days(7)))))
        // A limit of less than an hour would remove sessions that are in use.
        let after = setting("after", \.after, .duration.within(.seconds(3600)...(.days(3650))))
        return every + [maxStaleness] + (job.name == Job.dormantSessions().name ? [after] : [])
    }
}

extension Job {
    /// The keys that make a job the operator's own.
    static let ownKeys = ["table", "where"]

    fileprivate var condition: RowCondition {
        get {
            // A job of the operator's own has a condition from the start: `Job.own`.
            guard let condition = rule.condition else { preconditionFailure("\(name) has no condition") }
            return condition
        }
        set { rule = Rule(newValue) }
    }

    fileprivate var after: Duration {
        get { rule.after }
        set { rule.after = newValue }
    }
}

extension Duration {
    fileprivate static func days(_ days: Int) -> Duration { .seconds(days * 86_400) }
}
