import Foundation
import Glibc
import TestServers
import Testing

/// A daemon with HTTP on, and a client without any rights.
struct ServedDaemon {
    let daemon: RunningDaemon
    let port: Int

    init(
        url: String, schedules: (transient: String, dormant: String) = ("1 seconds", "0 0 1 1 *"),
        environment: [String: String] = [:], arguments: [String] = []
    ) throws {
        port = try Loopback.freePort()
        daemon = try RunningDaemon(
            url: url, schedules: schedules,
            environment: environment.merging(["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"]) { $1 },
            arguments: arguments)
    }

    func get(_ path: String, headers: String = "") async throws -> HTTPAnswer {
        try await LoopbackHTTP.get(path, port: port, headers: headers)
    }

    func waitForAnswer() async throws {
        try await daemon.wait("an answer") { (try? await get("/livez"))?.status == 200 }
    }

    /// Runs `mcp-cleanupd health` against it.
    func health(_ arguments: String...) async throws -> CommandResult {
        try await Command.run(
            Command.daemon, ["health"] + arguments, environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"])
    }
}

@Suite struct HTTPTests {
    @Test func answersItsPathsAndNothingElse() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let served = try ServedDaemon(url: database.url)
        try await served.waitForAnswer()
        try await served.daemon.wait("a run") { try !served.daemon.runs.isEmpty }
        #expect(try await served.get("/").head.contains("Content-Type: text/html; charset=utf-8"))
        #expect(try await served.get("/metrics").head.contains("Content-Type: text/plain; version=0.0.4"))
        let status = try await served.get("/status.json")
        #expect(status.head.contains("Content-Type: application/json") && status.body.hasPrefix("{\"version\":"))
        #expect(try await served.get("/readyz").body == "ready\n")
        #expect(try await served.get("/livez?verbose").body == "alive\n")
        for path in ["/nothing", "/metrics/", "//", "/../etc/passwd", "/%2e%2e/", "*"] {
            #expect(try await served.get(path).status == 404, "\(path)")
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
            let answer = try await LoopbackHTTP.send(
                "\(method) / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", port: served.port)
            #expect(answer.status == 405 || method == "BREW" && answer.status == 400, "\(method): \(answer)")
        }
        let head = try await LoopbackHTTP.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", port: served.port)
        #expect(head.status == 200 && head.body.isEmpty && head.head.contains("Content-Length: "))
        for path in ["/", "/status.json", "/metrics", "/livez", "/nothing"] {
            let answer = try await served.get(path)
            for field in [
                "Content-Security-Policy: default-src 'none'", "X-Content-Type-Options: nosniff",
                "Cache-Control: no-store", "Referrer-Policy: no-referrer",
            ] {
                #expect(answer.head.contains(field), "\(path): \(field)")
            }
        }
    }

    @Test func refusesAPageThatWasMadeToPointHere() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let served = try ServedDaemon(url: database.url)
        try await served.waitForAnswer()
        for (host, status) in [
            ("evil.example", 421), ("evil.example:\(served.port)", 421), ("localhost.evil.example", 421),
            ("localhost", 200), ("127.0.0.1:1", 200), ("[::1]:\(served.port)", 200), ("LOCALHOST", 200),
            ("localhost\r\nHost: evil.example", 400), ("evil.example\r\nHost: localhost", 400),
        ] {
            let answer = try await LoopbackHTTP.send(
                "GET /metrics HTTP/1.1\r\nHost: \(host)\r\n\r\n", port: served.port)
            #expect(answer.status == status, "\(host)")
        }
        let without = try await LoopbackHTTP.send("GET /metrics HTTP/1.1\r\nX: y\r\n\r\n", port: served.port)
        #expect(without.status == 400, "\(without)")
        // A health check of HTTP/1.0 need not have the header. If it has one, it counts.
        for (head, status) in [
            ("GET /livez HTTP/1.0", 200), ("GET /livez HTTP/1.0\r\nHost: localhost", 200),
            ("GET /livez HTTP/1.0\r\nHost: evil.example", 421),
            ("GET /livez HTTP/1.0\r\nHost: localhost\r\nHost: localhost", 400), ("GET /livez HTTP/1.1", 400),
        ] {
            let answer = try await LoopbackHTTP.send("\(head)\r\n\r\n", port: served.port)
            #expect(answer.status == status, "\(head): \(answer)")
        }
    }

    @Test(arguments: [("0.0.0.0", true), ("127.0.0.1", false)])
    func warnsThatEveryMachineMayReadThePage(host: String, warns: Bool) async throws {
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: "postgresql://nobody@127.0.0.1:1/nothing", schedules: ("0 0 1 1 *", "0 0 1 1 *"),
            environment: ["MCP_CLEANUP_HTTP_LISTEN": "\(host):\(port)"])
        try await daemon.wait("an answer") { (try? await LoopbackHTTP.get("/livez", port: port))?.status == 200 }
        #expect(try daemon.log.contains("open to every machine") == warns)
    }

    @Test func theHealthCommandTellsAliveReadyAndGone() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let served = try ServedDaemon(url: database.url)
        try await served.daemon.wait("a failed run") { try !served.daemon.runs.isEmpty }
        let alive = try await served.health()
        #expect(alive.status == 0 && alive.output == "alive\n", "\(alive)")
        let ready = try await served.health("--ready")
        #expect(ready.status == 75, "\(ready)")
        #expect(ready.error.contains("the table public.mcp_sessions does not exist"), "\(ready.error)")
        // A process stopped by SIGSTOP keeps its socket open, and answers nothing.
        served.daemon.signal(SIGSTOP)
        let silent = try await served.health()
        #expect(silent.status == 69 && silent.error.contains("does not answer"), "\(silent)")
        served.daemon.signal(SIGCONT)
        served.daemon.signal(SIGTERM)
        #expect(try await served.daemon.exitStatus() == 0)
        let gone = try await served.health()
        #expect(gone.status == 69 && gone.error.contains("refused") && gone.error.contains("http.listen"), "\(gone)")
    }

    /// A container's probes read the service's file: an error in it must not get the service killed.
    @Test func theHealthCommandAsksAlthoughTheFileWasSpoiled() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let port = try Loopback.freePort()
        let path = try TemporaryDirectory.make() + "/config.yaml"
        let listen = "http: { listen: 127.0.0.1:\(port) }\n"
        try listen.write(toFile: path, atomically: true, encoding: .utf8)
        let daemon = try RunningDaemon(
            url: database.url, environment: ["MCP_CLEANUP_HTTP_LISTEN": ""], arguments: ["--config", path])
        func health(_ environment: [String: String] = [:]) async throws -> CommandResult {
            try await Command.run(Command.daemon, ["health", "--config", path], environment: environment)
        }
        try await daemon.wait("an answer") { try await health().status == 0 }
        try (listen + "batch: { max-row: 5 }\nclaim: { lease: 1 }\n")
            .write(toFile: path, atomically: true, encoding: .utf8)
        let spoiled = try await health()
        #expect(spoiled.status == 0 && spoiled.output == "alive\n", "\(spoiled)")
        #expect(spoiled.error.contains("warning") && spoiled.error.contains("max-row"), "\(spoiled.error)")
        // This file, and a missing one, cannot be read: the address is the environment's, or the default.
        let address = ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"]
        try (listen + "\tno: yaml: at all").write(toFile: path, atomically: true, encoding: .utf8)
        #expect(try await health(address).status == 0)
        try FileManager.default.removeItem(atPath: path)
        #expect(try await health(address).status == 0)
        try "http: { listen: nowhere }".write(toFile: path, atomically: true, encoding: .utf8)
        let unknown = try await health()
        #expect(unknown.status == 78 && unknown.error.contains("http.listen"), "\(unknown)")
    }

    @Test func aSecondDaemonOnTheSameAddressEndsAndRunsNothing() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let served = try ServedDaemon(url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"))
        try await served.waitForAnswer()
        let second = try RunningDaemon(
            url: database.url, environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(served.port)"])
        #expect(try await second.exitStatus() == 75)
        let log = try second.log
        #expect(
            log.contains("127.0.0.1:\(served.port)") && log.contains("in use") && log.contains("http.listen"), "\(log)")
        #expect(!log.contains("next at"), "\(log)")
        #expect(try await served.get("/livez").status == 200)
    }

    @Test(arguments: [("192.0.2.1:9764", 75), ("localhost:80", 78), ("127.0.0.1", 78), ("127.0.0.1:0", 78), ("off", 0)])
    func anAddressThatCannotBeListenedOnNamesItsKey(address: String, status: Int32) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(url: database.url, environment: ["MCP_CLEANUP_HTTP_LISTEN": address])
        if status == 0 {
            try await daemon.wait("a run") { try !daemon.runs.isEmpty }
            daemon.signal(SIGTERM)
        }
        #expect(try await daemon.exitStatus() == status)
        let log = try daemon.log
        #expect(log.contains("http.listen") == (status != 0), "\(log)")
        // An address that is not this machine's may become so later, and no run has begun until then.
        if status == 75 { #expect(log.contains("Cannot assign requested address") && !log.contains("next at")) }
    }

    @Test func servesOnIPv6() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let port = try Loopback.freePort()
        let environment = ["MCP_CLEANUP_HTTP_LISTEN": "[::1]:\(port)"]
        let daemon = try RunningDaemon(url: database.url, environment: environment)
        try await daemon.wait("an answer") {
            try await Command.run(Command.daemon, ["health"], environment: environment).status == 0
        }
        #expect(daemon.isRunning)
    }

    // MARK: Readiness against real situations

    @Test func isNotReadyWithoutAPrivilegeNorWhereRowSecurityFilters() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole(grants: ["SELECT"])
        let served = try ServedDaemon(url: database.server.url(database.name, user: role))
        try await served.waitForAnswer()
        try await served.daemon.wait("a failed run") { try await served.get("/readyz").status == 503 }
        #expect(try await served.get("/readyz").body.contains("GRANT UPDATE, DELETE"))
        try await database.run(
            "GRANT UPDATE, DELETE ON mcp_sessions TO \(role); ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY")
        try await served.daemon.wait("a run that would be filtered") {
            try await served.get("/readyz").body.contains("row security")
        }
        #expect(try await served.get("/").body.contains("CREATE POLICY"))
        #expect(try await served.get("/livez").status == 200)
        try await database.run("CREATE POLICY all_of_it ON mcp_sessions FOR ALL TO \(role) USING (true)")
        try await served.daemon.wait("readiness") { try await served.get("/readyz").status == 200 }
    }

    @Test func tellsNoSecretWhateverFails() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        for url in [
            "postgresql://me:correct-horse-battery@127.0.0.1:1/d",
            database.server.secureURL(database.name, user: "unknown", password: "correct-horse-battery"),
        ] {
            let served = try ServedDaemon(url: url, environment: ["SSL_CERT_FILE": database.server.authority])
            try await served.waitForAnswer()
            try await served.daemon.wait("a failure") {
                try await served.get("/readyz").status == 503
            }
            for path in ["/", "/status.json", "/readyz", "/metrics"] {
                #expect(try await !served.get(path).body.contains("correct-horse"), "\(path)")
            }
        }
    }

    @Test func saysReadyAfterALookBackThatFoundNothingMissed() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"))
        // A first process answers fire times; a second one finds out that nothing was missed, and runs nothing.
        let first = try ServedDaemon(url: database.url)
        try await first.daemon.wait("a run") { try !first.daemon.runs.isEmpty }
        first.daemon.signal(SIGTERM)
        #expect(try await first.daemon.exitStatus() == 0)
        #expect(try await database.daemon(["--once"]).status == 0)
        let second = try ServedDaemon(url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"))
        try await second.waitForAnswer()
        let success = /last_success_timestamp_seconds\{job_name="mcp-cleanup-transient-sessions"\} [1-9]/
        try await second.daemon.wait("the last success of the history") {
            try await second.get("/metrics").body.contains(success)
        }
        let metrics = try await second.get("/metrics").body
        #expect(
            metrics.contains(#"mcp_cleanup_run_in_progress{job_name="mcp-cleanup-transient-sessions"} 0"#), "\(metrics)"
        )
        #expect(try await second.get("/readyz").status == 200)
    }
}
