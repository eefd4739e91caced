import CleanupSchedule
import SessionCleanup

/// A key of the configuration: how a text becomes its value.
struct Setting: Sendable {
    /// As in the configuration file, dots between the levels.
    let key: String
    /// Checks a text and sets the value.
    let apply: @Sendable (String, inout Configuration) throws(Expectation) -> Void

    static let prefix = "MCP_CLEANUP_"

    /// `MCP_CLEANUP_` and the key in capitals, with underscores for dots and dashes.
    var variable: String {
        Self.prefix + String(key.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 })
    }

    static let all: [Setting] =
        [
            Setting(key: "database.table") { text, configuration throws(Expectation) in
                do {
                    configuration.table = try TableName(parsing: text)
                } catch {
                    throw Expectation(String("\(error)".trimmingPrefix("expected ")))
                }
            },
            Setting(key: "database.session-schema") { text, configuration throws(Expectation) in
                configuration.sessionSchema = try Self.choice(text)
            },
            // Below 100 ms no TLS handshake across a network ends; above 10 minutes a run's deadline is the limit.
            Setting(key: "database.connect-timeout") { text, configuration throws(Expectation) in
                configuration.connectTimeout = try Self.duration(text, in: .milliseconds(100)...(.seconds(600)))
            },
            Setting(key: "database.max-clock-skew") { text, configuration throws(Expectation) in
                configuration.maxClockSkew = try Self.duration(text, in: .seconds(1)...(.seconds(86_400)))
            },
            // Below a millisecond a transaction's own cost is all there is; above 10 s the application feels it.
            Setting(key: "batch.target-duration") { text, configuration throws(Expectation) in
                configuration.batchTargetDuration = try Self.duration(text, in: .milliseconds(1)...(.seconds(10)))
            },
            Setting(key: "batch.pause") { text, configuration throws(Expectation) in
                configuration.batchPause = try Self.duration(text, in: .zero...(.seconds(60)))
            },
            // Shorter, and a slow round trip looks like a death; longer, and a dead owner's run waits for an hour.
            Setting(key: "claim.lease") { text, configuration throws(Expectation) in
                configuration.claimLease = try Self.duration(text, in: .seconds(3)...(.seconds(3600)))
            },
            Setting(key: "history.mode") { text, configuration throws(Expectation) in
                configuration.historyMode = try Self.choice(text)
            },
            Setting(key: "history.retention") { text, configuration throws(Expectation) in
                configuration.historyRetention = try Self.duration(
                    text, in: .seconds(86_400)...(.seconds(3650 * 86_400)))
            },
            Setting(key: "batch.max-rows") { text, configuration throws(Expectation) in
                configuration.batchMaxRows = try Self.integer(text, in: 1...100_000)
            },
            Setting(key: "http.listen") { text, configuration throws(Expectation) in
                guard text != "off" else { return configuration.httpListen = nil }
                guard let address = ListenAddress(parsing: text) else {
                    throw Expectation("an IP address and a port, such as 127.0.0.1:9764 or [::1]:9764, or off")
                }
                configuration.httpListen = address
            },
            // Longer than any batch; systemd's own patience ends at 90 s.
            Setting(key: "shutdown.timeout") { text, configuration throws(Expectation) in
                configuration.shutdownTimeout = try Self.duration(text, in: .seconds(1)...(.seconds(600)))
            },
            // A limit of less than an hour would remove sessions that are in use.
            Setting(key: "jobs.\(Job.dormantSessions().name).after") { text, configuration throws(Expectation) in
                let after = try Self.duration(text, in: .seconds(3600)...(.seconds(3650 * 86_400)))
                configuration.dormant.rules.active = configuration.dormant.rules.active.aged(after)
                configuration.dormant.rules.status = configuration.dormant.rules.status.aged(after)
            },
        ] + ofJob(Job.transientSessions.name, at: \.transient) + ofJob(Job.dormantSessions().name, at: \.dormant)

    /// The keys that every job has.
    private static func ofJob(_ name: String, at job: any WritableKeyPath<Configuration, Job> & Sendable) -> [Setting] {
        [
            Setting(key: "jobs.\(name).enabled") { text, configuration throws(Expectation) in
                configuration[keyPath: job].isEnabled = try Self.boolean(text)
            },
            Setting(key: "jobs.\(name).deadline") { text, configuration throws(Expectation) in
                configuration[keyPath: job].deadline = try Self.duration(text, in: .seconds(1)...(.seconds(86_400)))
            },
            Setting(key: "jobs.\(name).max-rows") { text, configuration throws(Expectation) in
                configuration[keyPath: job].maxRows = try Self.integer(text, in: 1...1_000_000_000)
            },
            Setting(key: "jobs.\(name).max-fraction") { text, configuration throws(Expectation) in
                guard let share = Double(text), share > 0, share <= 1 else {
                    throw Expectation("a share above 0 and up to 1, such as 0.5")
                }
                configuration[keyPath: job].maxFraction = share
            },
            Setting(key: "jobs.\(name).schedule") { text, configuration throws(Expectation) in
                do {
                    configuration[keyPath: job].schedule = try Schedule(text)
                } catch {
                    throw Expectation("a schedule such as */5 * * * *: \(error)")
                }
            },
            Setting(key: "jobs.\(name).time-zone") { text, configuration throws(Expectation) in
                do {
                    configuration[keyPath: job].timeZone = try NamedTimeZone(systemName: text)
                } catch {
                    throw Expectation("the name of a time zone, such as Europe/Berlin: \(error)")
                }
            },
            Setting(key: "jobs.\(name).catch-up") { text, configuration throws(Expectation) in
                configuration[keyPath: job].catchUp = try Self.choice(text)
            },
        ]
    }

    /// What a text was expected to be, in words that follow "expected".
    struct Expectation: Error {
        let expected: String
        init(_ expected: String) { self.expected = expected }
    }

    private static func boolean(_ text: String) throws(Expectation) -> Bool {
        switch text {
        case "true": return true
        case "false": return false
        default: throw Expectation("true or false")
        }
    }

    private static func integer(_ text: String, in range: ClosedRange<Int>) throws(Expectation) -> Int {
        guard text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(text), range.contains(value) else {
            throw Expectation("a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private static func duration(_ text: String, in range: ClosedRange<Duration>) throws(Expectation) -> Duration {
        guard let value = Duration(configured: text), range.contains(value) else {
            throw Expectation(
                "a number and a unit (ms, s, m, h, d), such as 15s, from \(range.lowerBound.configured) to "
                    + range.upperBound.configured)
        }
        return value
    }

    private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ text: String
    ) throws(Expectation) -> Choice {
        guard let choice = Choice(rawValue: text) else {
            throw Expectation("one of " + Choice.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return choice
    }
}

extension Rule {
    fileprivate func aged(_ after: Duration) -> Rule { Rule(candidates: candidates, column: column, after: after) }
}

extension Duration {
    private static let units: [(name: String, milliseconds: Int64)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// Reads a whole number and a unit: `50ms`, `15s`, `4m`, `1h`, `30d`.
    package init?(configured text: String) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits),
            let unit = Self.units.first(where: { $0.name == text.dropFirst(digits.count) })
        else { return nil }
        let (milliseconds, overflows) = number.multipliedReportingOverflow(by: unit.milliseconds)
        // 10,000 years: everything that is computed with it stays exact.
        guard !overflows, milliseconds <= 10_000 * 366 * 86_400_000 else { return nil }
        self = .milliseconds(milliseconds)
    }

    /// The shortest text that reads as this duration, which is whole milliseconds.
    package var configured: String {
        let milliseconds = components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
        // Every number of milliseconds is a multiple of the last unit.
        let unit = Self.units.first { milliseconds != 0 && milliseconds.isMultiple(of: $0.milliseconds) } ?? ("s", 1000)
        return "\(milliseconds / unit.milliseconds)\(unit.name)"
    }
}
