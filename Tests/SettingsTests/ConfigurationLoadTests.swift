@testable import SessionCleanup
import Testing
import Time

@testable import Settings

@Suite struct ConfigurationLoadTests {
    private static let prefix = "MCP_CLEANUP_"
    private static let transient = "JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS"
    private static let dormant = "JOBS_MCP_CLEANUP_DORMANT_SESSIONS"

    private func load(_ variable: String, _ value: String) throws -> Configuration {
        try EffectiveConfiguration(environment: [Self.prefix + variable: value]).configuration
    }

    @Test func hasTheDefaultsOfTheContract() throws {
        let effective = try EffectiveConfiguration(environment: ["PATH": "/bin", "MCP_TS_STORAGE_TYPE": "neon"])
        let configuration = effective.configuration
        #expect(configuration == Configuration())
        #expect(effective.unknownVariables == [])
        #expect(configuration.table == .sessions && configuration.sessionSchema == .auto)
        #expect(configuration.connectTimeout == .seconds(15) && configuration.limits.maxClockSkew == .seconds(300))
        #expect(configuration.jobs.map(\.name) == ["mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions"])
        #expect(configuration.jobs.map(\.deadline) == [.seconds(240), .seconds(3600)])
        #expect(configuration.jobs.map(\.isEnabled) == [true, true])
    }

    @Test func setsEachKey() throws {
        #expect(
            try load("DATABASE_TABLE", "app.\"My Sessions\"").table == TableName(schema: "app", table: "My Sessions"))
        #expect(try load("DATABASE_SESSION_SCHEMA", "status").sessionSchema == .status)
        #expect(try load("DATABASE_CONNECT_TIMEOUT", "100ms").connectTimeout == .milliseconds(100))
        #expect(try load("DATABASE_CONNECT_TIMEOUT", "10m").connectTimeout == .seconds(600))
        #expect(try load("DATABASE_MAX_CLOCK_SKEW", "1d").limits.maxClockSkew == .seconds(86_400))
        #expect(try load("BATCH_MAX_ROWS", "100000").limits.batchRows == 100_000)
        #expect(try load("BATCH_LOCK_TIMEOUT", "1ms").limits.lockTimeout == .milliseconds(1))
        #expect(try load("BATCH_LOCK_TIMEOUT", "10s").limits.lockTimeout == .seconds(10))
        #expect(try load("HISTORY_REMOVED", "off").history.removed == nil)
        #expect(try load("HISTORY_REMOVED", "1d").history.removed == .seconds(86_400))
        #expect(try load("HTTP_LISTEN", "unix:/run/a b:c/x.sock").httpListen == .unix(path: "/run/a b:c/x.sock"))
        #expect(try load("\(Self.transient)_ENABLED", "false").transient.isEnabled == false)
        #expect(try load("\(Self.transient)_DEADLINE", "1s").transient.deadline == .seconds(1))
        #expect(try load("\(Self.dormant)_ENABLED", "false").dormant.isEnabled == false)
        #expect(try load("\(Self.dormant)_DEADLINE", "2h").dormant.deadline == .seconds(7200))
        let aged = try load("\(Self.dormant)_AFTER", "60d")
        #expect(
            aged.dormant.rule.after == .seconds(60 * 86_400)
                && aged.dormant.rule(for: .status).after == .seconds(60 * 86_400))
        #expect(aged.transient == Configuration().transient)
    }

    @Test(arguments: [
        ("DATABASE_TABLE", "mcp_sessions"), ("DATABASE_TABLE", "a.b.c"), ("DATABASE_TABLE", "public.x;drop"),
        ("DATABASE_SESSION_SCHEMA", "Active"), ("DATABASE_SESSION_SCHEMA", "both"),
        ("DATABASE_CONNECT_TIMEOUT", "15"), ("DATABASE_CONNECT_TIMEOUT", "99ms"), ("DATABASE_CONNECT_TIMEOUT", "601s"),
        ("DATABASE_CONNECT_TIMEOUT", "1.5s"), ("DATABASE_CONNECT_TIMEOUT", " 15s"),
        ("DATABASE_CONNECT_TIMEOUT", "-15s"),
        ("DATABASE_CONNECT_TIMEOUT", "15 s"), ("DATABASE_CONNECT_TIMEOUT", "15S"), ("DATABASE_CONNECT_TIMEOUT", "s"),
        ("DATABASE_CONNECT_TIMEOUT", "1m30s"), ("DATABASE_CONNECT_TIMEOUT", "99999999999999999999s"),
        ("DATABASE_CONNECT_TIMEOUT", "9223372036854775807d"), ("DATABASE_CONNECT_TIMEOUT", "١٥s"),
        ("DATABASE_MAX_CLOCK_SKEW", "0s"), ("DATABASE_MAX_CLOCK_SKEW", "999ms"), ("DATABASE_MAX_CLOCK_SKEW", "25h"),
        ("BATCH_MAX_ROWS", "0"), ("BATCH_MAX_ROWS", "100001"), ("BATCH_MAX_ROWS", "+5"), ("BATCH_MAX_ROWS", "1e3"),
        ("BATCH_MAX_ROWS", "0x10"), ("BATCH_MAX_ROWS", "99999999999999999999"), ("BATCH_MAX_ROWS", "10 "),
        ("\(transient)_ENABLED", "yes"), ("\(transient)_ENABLED", "TRUE"), ("\(transient)_DEADLINE", "0s"),
        ("\(dormant)_ENABLED", "1"), ("\(dormant)_DEADLINE", "25h"), ("\(dormant)_AFTER", "59m"),
        ("\(dormant)_AFTER", "3651d"), ("\(dormant)_MAX_FRACTION", "0"), ("\(dormant)_MAX_FRACTION", "1.1"),
        ("\(dormant)_MAX_FRACTION", "nan"), ("\(dormant)_MAX_FRACTION", "0x1p-1"), ("\(dormant)_MAX_ROWS", "none"),
        ("HTTP_LISTEN", "9764"), ("HTTP_LISTEN", "localhost:9764"), ("HTTP_LISTEN", "127.0.0.1:0"),
        ("HTTP_LISTEN", "127.0.0.1:65536"), ("HTTP_LISTEN", "::1:9764"), ("HTTP_LISTEN", "[127.0.0.1]:9764"),
        ("HTTP_LISTEN", "127.1:9764"), ("HTTP_LISTEN", "unix:"), ("HTTP_LISTEN", "unix:run/x.sock"),
        ("HTTP_LISTEN", "unix:/" + String(repeating: "x", count: 107)), ("HTTP_LISTEN", "/run/x.sock"),
        ("BATCH_LOCK_TIMEOUT", "0ms"), ("BATCH_LOCK_TIMEOUT", "10001ms"), ("HISTORY_REMOVED", "on"),
        ("HISTORY_REMOVED", "23h"), ("HISTORY_REMOVED", "3651d"), ("LOG_LEVEL", "warn"),
        ("LOG_FORMAT", "xml"),
    ])
    func refusesMalformedValuesAndValuesOutOfRange(variable: String, value: String) throws {
        let faults = try #require(throws: ConfigurationFaults.self) { try load(variable, value) }
        let fault = try #require(faults.faults.first)
        let key = try #require(Setting.all(of: Configuration()).first { $0.variable == Self.prefix + variable }).key
        let start = "\(Self.prefix + variable) (the key \(key)) is “\(value)”; expected "
        #expect(faults.faults.count == 1 && fault.subject == key)
        #expect(fault.description.hasPrefix(start) && fault.description != start)
    }

    /// sockaddr_un of unix(7) has 108 bytes, the last of them zero.
    @Test func takesTheLongestPathThatASocketCanHave() throws {
        let path = "/" + String(repeating: "x", count: 106)
        #expect(try load("HTTP_LISTEN", "unix:" + path).httpListen == .unix(path: path))
    }

    @Test(arguments: [
        ("0.0.0.0:9764", true), ("[::]:9764", true), ("[0:0:0:0:0:0:0:0]:9764", true), ("127.0.0.1:9764", false),
        ("[::1]:9764", false), ("10.0.0.0:9764", false), ("[::ffff]:9764", false), ("unix:/x", false),
    ])
    func knowsWhatIsOpenToEveryMachine(text: String, isOpen: Bool) throws {
        #expect(try load("HTTP_LISTEN", text).httpListen?.isOnAllAddresses == isOpen)
    }

    @Test func reportsAllFaultsTogether() {
        let error = #expect(throws: ConfigurationFaults.self) {
            try EffectiveConfiguration(environment: [
                Self.prefix + "BATCH_MAX_ROWS": "many", Self.prefix + "DATABASE_TABLE": "x",
                Self.prefix + "NONSENSE": "x",
                Self.prefix + "DATABASE_CONNECT_TIMEOUT": "soon", Self.prefix + "DATABASE_MAX_CLOCK_SKEW": "1m",
            ])
        }
        let keys = error?.faults.map(\.subject)
        #expect(keys == ["batch.max-rows", "database.connect-timeout", "database.table"])
        #expect(error?.description.split(separator: "\n").count == 3)
    }

    /// Platforms inject variables of their own, such as a service's address under its name.
    @Test func onlyReportsVariablesThatNameNoKey() throws {
        let effective = try EffectiveConfiguration(environment: [
            Self.prefix + "SERVICE_HOST": "10.0.0.1", Self.prefix + "BATCH_MAX_ROW": "5", "MCP_CLEANUP": "x",
            Self.prefix: "x",
        ])
        #expect(effective.configuration == Configuration())
        #expect(
            effective.unknownVariables == [Self.prefix, Self.prefix + "BATCH_MAX_ROW", Self.prefix + "SERVICE_HOST"])
    }

    @Test func treatsAnEmptyVariableAsUnset() throws {
        let effective = try EffectiveConfiguration(environment: [
            Self.prefix + "BATCH_MAX_ROWS": "", Self.prefix + "NONSENSE": "",
        ])
        #expect(effective.configuration == Configuration() && effective.unknownVariables == [])
    }

    @Test(
        arguments: [
            ("50ms", .milliseconds(50)), ("15s", .seconds(15)), ("4m", .seconds(240)), ("1h", .seconds(3600)),
            ("30d", .seconds(2_592_000)), ("0s", .zero),
        ] as [(String, Duration)])
    func readsAndWritesDurations(text: String, duration: Duration) throws {
        #expect(try ValueGrammar<Duration>.duration.read(text) == duration)
        #expect(ValueGrammar<Duration>.duration.write(duration) == text)
    }
}
