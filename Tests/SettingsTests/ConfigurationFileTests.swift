import Heartbeats
@testable import SessionCleanup
import Testing
import Time

@testable import Settings

@Suite struct ConfigurationFileTests {
    private func load(
        _ text: String, environment: [String: String] = [:],
        options: [(option: String, key: String, value: String)] = []
    ) throws(ConfigurationFaults) -> EffectiveConfiguration {
        try EffectiveConfiguration(
            file: (path: "c.yaml", bytes: Array(text.utf8)), environment: environment,
            options: options)
    }

    private func faults(_ text: String) -> [String] {
        do throws(ConfigurationFaults) {
            _ = try load(text)
            return []
        } catch {
            return error.faults.map(\.description)
        }
    }

    @Test func readsEachLevelInBothStylesOfYAML() throws {
        let configuration = try load(
            """
            # a comment
            database: { table: "app.\\"My Sessions\\"", connect-timeout: 30s }
            batch:
              max-rows: 010
            jobs:
              mcp-cleanup-transient-sessions: { schedule: "@hourly", max-rows: 5, max-fraction: 0.5 }
              mcp-cleanup-dormant-sessions:
                enabled: false
                schedule: >-
                  0 3
                  * * *
            http: { listen: "[::1]:9764" }
            notify: { success-url: https://hc-ping.com/abc }
            log: {level: debug}
            """
        ).configuration
        #expect(configuration.table == TableName(schema: "app", table: "My Sessions"))
        #expect(configuration.connectTimeout == .seconds(30) && configuration.limits.batchRows == 10)
        #expect("\(configuration.transient.schedule)" == "@hourly" && configuration.transient.maxRows == 5)
        #expect(configuration.transient.maxFraction == 0.5 && !configuration.dormant.isEnabled)
        #expect("\(configuration.dormant.schedule)" == "0 3 * * *")
        #expect(configuration.httpListen == ListenAddress.tcp(host: "::1", port: 9764))
        #expect(configuration.successHeartbeat?.target == "/abc" && configuration.logLevel == .debug)
    }

    @Test(arguments: ["", "# nothing\n", "---\n", "batch:\n", "jobs: {}\n", "\u{FEFF}batch:\n  pause: 0ms\n"])
    func hasTheDefaultsWhereNothingIsSet(text: String) throws {
        #expect(try load(text).configuration == Configuration())
    }

    @Test func saysWhereEachValueComesFromTheNearestFirst() throws {
        let effective = try load(
            "batch:\n  max-rows: 5\n  pause: 1s\nlog: { level: error }\n",
            environment: ["MCP_CLEANUP_BATCH_PAUSE": "2s", "MCP_CLEANUP_LOG_LEVEL": "info"],
            options: [("--log-level", "log.level", "trace")])
        let entries = Dictionary(uniqueKeysWithValues: effective.entries.map { ($0.key, $0) })
        #expect(entries["batch.max-rows"]?.value == "5")
        #expect(entries["batch.max-rows"]?.source == "c.yaml:2")
        #expect(entries["batch.pause"]?.value == "2s")
        #expect(entries["batch.pause"]?.source == "MCP_CLEANUP_BATCH_PAUSE")
        #expect(entries["log.level"]?.value == "trace" && entries["log.level"]?.source == "--log-level")
        #expect(entries["claim.lease"]?.value == "60s" || entries["claim.lease"]?.value == "1m")
        #expect(entries["claim.lease"]?.source == "default")
    }

    @Test func reportsAllFaultsOfAllSourcesTogether() {
        let error = #expect(throws: ConfigurationFaults.self) {
            try load(
                """
                batch: { max-row: 5, max-rows: many, pause: 1s, pause: 2s }
                jobs: { mcp-cleanup-transient-session: { enabled: true } }
                shutdown: 5s
                database: { table: [a, b] }
                """, environment: ["MCP_CLEANUP_BATCH_MAX_ROWS": "7", "MCP_CLEANUP_CLAIM_LEASE": "1"])
        }
        #expect(
            error?.description == """
                c.yaml:1:49: the key “pause” appears again; it is in line 1 already
                c.yaml:1:10: there is no key “batch.max-row”; did you mean max-rows?
                c.yaml:1:32: the key batch.max-rows is “many”; expected a whole number from 1 to 100000
                c.yaml:2:9: there is no key “jobs.mcp-cleanup-transient-session”; did you mean mcp-cleanup-transient-sessions?
                c.yaml:3:11: “shutdown” has a value; expected keys below it, such as shutdown: { … }
                c.yaml:4:20: the key database.table has no single value; expected a value such as public.mcp_sessions
                MCP_CLEANUP_CLAIM_LEASE (the key claim.lease) is “1”; expected a whole number and a unit (ms, s, m, h, d), \
                such as 15s, from 3s to 1h
                """)
    }

    /// YAML would read most of these as a number, a time, a Boolean or null.
    @Test(arguments: [
        "batch: { pause: 1:30 }", "batch: { max-rows: 0x10 }", "batch: { max-rows: 1_000 }", "batch: { pause: 15 }",
        "jobs: { mcp-cleanup-transient-sessions: { enabled: yes } }", "database: { table: ~ }",
        "jobs: { mcp-cleanup-transient-sessions: { enabled: \"\" } }", "batch: { pause: }", "batch: { pause: null }",
        "jobs: { mcp-cleanup-transient-sessions: { schedule: \"*/5 * * * *\\0\" } }",
        "database: { table: \"a.b\\x07\" }",
    ])
    func neverInterpretsAScalar(text: String) {
        #expect(faults(text).count == 1)
    }

    @Test(arguments: [
        ("batch: &a { pause: 1s }", "c.yaml:1:8: anchors"), ("batch: *a", "c.yaml:1:8: anchors"),
        ("batch: { pause: !!str 1s }", "c.yaml:1:17: tags"), ("batch: !x {}", "c.yaml:1:8: tags"),
        ("a: b\n---\nc: d", "c.yaml:2:1: a second document"), ("? [a]\n: b", "c.yaml:1:3: expected a key"),
        ("jobs: { a: { <<: { b: c } } }", "there is no key “jobs.a”"),
        ("batch: { <<: { pause: 1s } }", "merge keys are not supported"),
        ("jobs: { mcp-cleanup-transient-sessions: { schedule: */5 * * * * } }", "has to stand in quotes"),
        ("jobs: { mcp-cleanup-transient-sessions: { schedule: @hourly } }", "has to stand in quotes"),
        ("a: {{{{{{{{{{{{{{{{{{{{", "c.yaml:1:"), ("a: [[[[[[[[[[[[[[[[[[[[[", "c.yaml:1:11: deeper"),
        ("- a", "“the file” has a value"),
        ("batch:\n\tpause: 1s", "c.yaml:2:1: no YAML: a tab cannot indent a line; use spaces"),
        ("a: \u{1}", "c.yaml:1:4: no YAML"),
        ("batch: {", "no YAML"), ("batch.max-rows: 5", "there is no key “batch.max-rows”"),
        ("max-rows: 5", "did you mean batch.max-rows?"),
        ("jobs: { transient: {} }", "mean mcp-cleanup-transient-sessions?"),
        ("database: { url: x }", "the database URL never comes from this file"),
    ])
    func refusesWhatAConfigurationHasNoUseFor(text: String, words: String) {
        let faults = faults(text)
        #expect(faults.count == 1 && faults[0].contains(words), "\(faults)")
    }

    @Test func readsNoBytesThatAreNotText() {
        let file = (path: "c.yaml", bytes: Array("batch:\n  pause: ä".utf8) + [0xFF, 0xFE])
        let error = #expect(throws: ConfigurationFaults.self) { try EffectiveConfiguration(file: file) }
        #expect(error?.description.hasPrefix("c.yaml:2:11: no YAML") ?? false, "\(error?.description ?? "")")
    }

    @Test func showsNoSecretInAFaultNorInWhatIsInForce() throws {
        let secrets = ["hunter2", "t0ken"]
        let texts = [
            "database: { table: \"postgresql://me:hunter2@host/db\" }", "notify: { success-url: \"ftp://h/t0ken\" }",
            "notify: { failure-url: t0ken }", "notify: { success-url: \"https://me:hunter2@host/\" }",
            "database: { url: \"postgresql://me:hunter2@host/db\" }",
            "\"postgresql://me:hunter2@host/db\": x", "notify: { success-url: [t0ken] }",
        ]
        for text in texts {
            let faults = faults(text)
            #expect(faults.count == 1)
            for secret in secrets { #expect(!faults[0].contains(secret), "\(faults)") }
        }
        let effective = try load("notify: { success-url: \"https://hc-ping.com:8443/t0ken?t0ken\" }")
        var dumped = ""
        dump(effective, to: &dumped)
        dumped += effective.yaml + "\(effective) \(effective.entries)" + String(reflecting: effective.configuration)
        #expect(!dumped.contains("t0ken"))
        #expect(effective.yaml.contains("https://hc-ping.com:8443/"))
        // The shown URL, without its path, is refused: a copy of this text cannot call it by mistake.
        #expect(throws: ConfigurationFaults.self) { try load(effective.yaml) }
    }

    @Test func makesJobsOfTheOperatorsOwn() throws {
        let effective = try load(
            """
            jobs:
              codes: { table: public.codes, where: expires_at < $1, schedule: "@hourly", max-rows: 5 }
              other_codes:
                table: public.codes
                where: |
                  used
                  AND "at" < $1 - interval '1 hour'
                schedule: 30 seconds
                enabled: false
            """, environment: ["MCP_CLEANUP_JOBS_OTHER_CODES_ENABLED": "true"])
        let jobs = effective.configuration.jobs.dropFirst(2)
        #expect(jobs.map(\.name) == ["codes", "other_codes"] && jobs.map(\.isEnabled) == [true, true])
        #expect(
            jobs.map(\.table) == [
                TableName(schema: "public", table: "codes"), TableName(schema: "public", table: "codes"),
            ])
        #expect(jobs.first?.rule.predicate == "expires_at < $1" && jobs.first?.maxRows == 5)
        #expect(try load(effective.yaml).configuration == effective.configuration)
    }

    @Test(arguments: [
        ("jobs: { codes: { table: public.codes, where: a < $1 } }", "jobs.codes.schedule is missing"),
        ("jobs: { codes: { where: a < $1, schedule: \"@daily\" } }", "jobs.codes.table is missing"),
        ("jobs: { codes: { table: public.codes, schedule: \"@daily\" } }", "jobs.codes.where is missing"),
        ("jobs: { codes: { schedule: \"@daily\" } }", "a job of your own has table, where and schedule"),
        ("jobs: { a.b: { table: a.b, where: a < $1, schedule: \"@daily\" } }", "“a.b” is no name for a job"),
        (
            "jobs: { transient: { table: a.b, where: a < $1, schedule: \"@daily\" } }",
            "did you mean mcp-cleanup-transient"
        ),
        ("jobs: { codes: { table: a.b, where: a < now(), schedule: \"@daily\" } }", "does not use $1"),
        ("jobs: { codes: { table: a.b, where: a < $1) OR (true, schedule: \"@daily\" } }", "has no counterpart"),
        (
            "jobs: { codes: { table: a.b, where: a < $1, schedule: \"@daily\", after: 3d } }",
            "no key “jobs.codes.after”"
        ),
        (
            "jobs: { codes: { table: a.b, where: a < $1, schedule: \"@daily\", max-staleness: 3d } }",
            "no key “jobs.codes.max-s"
        ),
        ("jobs: { mcp-cleanup-dormant-sessions: { table: a.b } }", "no key “jobs.mcp-cleanup-dormant-sessions.table”"),
    ])
    func refusesAJobThatIsNotWhole(text: String, words: String) {
        let faults = faults(text)
        #expect(faults.count == 1 && faults[0].contains(words), "\(faults)")
    }

    @Test func refusesNamesThatWouldBeOneVariable() {
        let job = "{ table: a.b, where: a < $1, schedule: \"@daily\" }"
        let faults = faults("jobs:\n  a-b: \(job)\n  A_b: \(job)\n")
        #expect(faults.count == 9)
        #expect(faults[0].hasPrefix("the keys jobs.a-b.") && faults[0].contains("rename a job"), "\(faults)")
        #expect(
            self.faults("jobs:\n  a: \(job)\n  a: \(job)\n") == [
                "c.yaml:3:3: the key “a” appears again; it is in line 2 already"
            ])
    }

    @Test func keepsWhatWaitsForARestart() throws {
        let earlier = try load("shutdown: { timeout: 5s }")
        var later = try load("shutdown: { timeout: 6s }\nlog: { level: debug }\nhttp: { listen: off }")
        #expect(later.keepFixedKeys(of: earlier) == ["http.listen", "shutdown.timeout"])
        #expect(later.configuration.shutdownTimeout == .seconds(5) && later.configuration.logLevel == .debug)
        #expect(later.configuration.httpListen == Configuration().httpListen)
        #expect(later.entries.contains { $0.key == "shutdown.timeout" && $0.value == "5s" })
    }

    @Test func readsNoFileThatIsNoFile() throws {
        let nowhere = "/nonexistent/config.yaml"
        #expect(try EffectiveConfiguration.file(option: nil, standardPath: nowhere) == nil)
        let gone = #expect(throws: ConfigurationFaults.self) {
            try EffectiveConfiguration.file(option: nil, standardPath: nowhere, wasThere: true)
        }
        #expect(gone?.description.contains("\(nowhere) cannot be read: No such file") ?? false)
        let missing = #expect(throws: ConfigurationFaults.self) {
            try EffectiveConfiguration.file(option: "/nonexistent")
        }
        #expect(missing?.description.contains("/nonexistent cannot be read: No such file") ?? false)
        #expect(throws: ConfigurationFaults.self) { try EffectiveConfiguration.file(option: "/") }
        let endless = #expect(throws: ConfigurationFaults.self) { try EffectiveConfiguration.file(option: "/dev/zero") }
        #expect(endless?.description.contains("larger than") ?? false)
    }
}
