import SessionCleanup

/// A key of the configuration: where its value is kept, and how it is written.
///
/// The list of settings is the one place that knows the keys: what is read from the file and the environment and what
/// `config` shows come from it, and tests hold the sample file and the table in docs/configuration.md to it.
struct Setting<Subject>: Sendable {
    /// As in the configuration file, dots between the levels.
    let key: String
    /// Checks a text and sets the value.
    let apply: @Sendable (String, inout Subject) throws(Expectation) -> Void
    /// The value, as a text that `apply` takes.
    let text: @Sendable (Subject) -> String
    /// Whether a change waits for the next start of the process.
    let isFixed: Bool
    /// True if the value may contain a secret.
    let isSecret: Bool

    init<Value>(
        _ key: String, _ path: any WritableKeyPath<Subject, Value> & Sendable, _ grammar: ValueGrammar<Value>,
        isFixed: Bool = false, isSecret: Bool = false
    ) {
        self.init(
            key: key,
            apply: { text, subject throws(Expectation) in subject[keyPath: path] = try grammar.read(text) },
            text: { grammar.write($0[keyPath: path]) }, isFixed: isFixed, isSecret: isSecret)
    }

    private init(
        key: String, apply: @escaping @Sendable (String, inout Subject) throws(Expectation) -> Void,
        text: @escaping @Sendable (Subject) -> String, isFixed: Bool, isSecret: Bool
    ) {
        self.key = key
        self.apply = apply
        self.text = text
        self.isFixed = isFixed
        self.isSecret = isSecret
    }

    /// `MCP_CLEANUP_` and the key in capitals, with underscores for dots and dashes.
    var variable: String {
        SettingNames.prefix + String(key.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 })
    }
}

enum SettingNames {
    static let prefix = "MCP_CLEANUP_"
}

extension Setting<Configuration> {
    /// Every key of a configuration, those of its jobs included.
    static func all(of configuration: Configuration) -> [Setting] {
        general + configuration.jobs.flatMap { job in Setting<Job>.all(of: job).map { $0.lifted(to: job.name) } }
    }

    /// The keys that are not a job's.
    static let general = [
        Setting("database.table", \.table, .plain),
        Setting("database.session-schema", \.sessionSchema, .plain),
        // Below 100 ms no TLS handshake across a network ends; above 10 minutes a run's deadline is the limit.
        Setting("database.connect-timeout", \.connectTimeout, .within(.milliseconds(100)...(.seconds(600)))),
        Setting("database.max-clock-skew", \.maxClockSkew, .within(.seconds(1)...(.days(1)))),
        // Below a millisecond a transaction's own cost is all there is; above 10 s the application feels it.
        Setting("batch.target-duration", \.batchTargetDuration, .within(.milliseconds(1)...(.seconds(10)))),
        // Above 10 s it is no limit: a batch should be over by then.
        Setting("batch.lock-timeout", \.batchLockTimeout, .within(.milliseconds(1)...(.seconds(10)))),
        Setting("batch.max-rows", \.batchMaxRows, .within(1...100_000)),
        Setting("batch.pause", \.batchPause, .within(.zero...(.seconds(60)))),
        // Shorter, and a slow round trip looks like a death; longer, and a dead owner's run waits for an hour.
        Setting("claim.lease", \.claimLease, .within(.seconds(3)...(.seconds(3600)))),
        Setting("history.mode", \.historyMode, .plain, isFixed: true),
        Setting("history.retention", \.historyRetention, .within(.days(1)...(.days(3650)))),
        Setting("history.removed", \.historyRemoved, .optional(.within(.days(1)...(.days(3650))))),
        Setting("http.listen", \.httpListen, .optional(.plain), isFixed: true),
        Setting("log.level", \.logLevel, .plain),
        Setting("log.format", \.logFormat, .plain, isFixed: true),
        Setting("notify.success-url", \.successHeartbeat, .optional(.plain), isFixed: true, isSecret: true),
        Setting("notify.failure-url", \.failureHeartbeat, .optional(.plain), isFixed: true, isSecret: true),
        // Longer than any batch, and shorter than systemd's own limit of 90 s by default.
        Setting("shutdown.timeout", \.shutdownTimeout, .within(.seconds(1)...(.seconds(600))), isFixed: true),
    ]
}

extension Setting<Job> {
    /// The keys that a job has.
    static func all(of job: Job) -> [Setting] {
        if job.table != nil { return own + every }
        return every + [maxStaleness] + (job.name == Job.dormantSessions().name ? [after] : [])
    }

    /// The keys of a job of the operator's own that have no default; `schedule` is the third.
    private static let own = [
        Setting("table", \.table, .required(.plain)), Setting("where", \.condition, .required(.plain)),
    ]

    private static let every = [
        Setting("enabled", \.isEnabled, .plain),
        Setting("schedule", \.schedule, .plain),
        Setting("time-zone", \.timeZone, .optional(.plain, none: "UTC")),
        Setting("catch-up", \.catchUp, .plain),
        Setting("deadline", \.deadline, .within(.seconds(1)...(.days(1)))),
        Setting("max-rows", \.maxRows, .optional(.within(1...1_000_000_000))),
        // Below one in ten thousand a single row of a small table would be too many.
        Setting("max-fraction", \.maxFraction, .optional(.within(0.0001...1))),
    ]

    // When the rows of an own job will be due is not known.
    private static let maxStaleness = Setting(
        "max-staleness", \.maxStaleness, .optional(.within(.seconds(1)...(.days(7)))))

    // A limit of less than an hour would remove sessions that are in use.
    private static let after = Setting("after", \.after, .within(.seconds(3600)...(.days(3650))))

    /// The same key, as the configuration's own.
    func lifted(to job: String) -> Setting<Configuration> {
        Setting<Configuration>(
            key: "jobs.\(job).\(key)",
            apply: { text, configuration throws(Expectation) in try apply(text, &configuration[job: job]) },
            text: { text($0[job: job]) }, isFixed: isFixed, isSecret: isSecret)
    }
}

extension Job {
    fileprivate var condition: RowCondition? {
        get { rules.active.condition }
        set { if let newValue { rules = SessionRules(newValue) } }
    }

    fileprivate var after: Duration {
        get { rules.active.after }
        set {
            rules.active.after = newValue
            rules.status.after = newValue
        }
    }
}

extension Duration {
    fileprivate static func days(_ days: Int) -> Duration { .seconds(days * 86_400) }
}
