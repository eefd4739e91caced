import Glibc
import HostileServer
import TestServers
import Testing

/// The program against servers that speak the protocol wrongly; `PostgresTests` tries all such servers on a connection.
@Suite(.serialized, .slow) struct HostileServerTests {
    /// `check` has a limit of its own; a run has its job's deadline, and its connection the configured time.
    @Test(arguments: [
        ("silence at once", ["--once", "--job", "transient"]), ("silence in place of an answer", ["check"]),
        (Scenario.endlessComputation, ["--once", "--job", "transient"]), (Scenario.endlessComputation, ["check"]),
        ("an error of 100 MB in place of an answer", ["--once", "--job", "transient"]),
        ("a flood of notifications in place of an answer", ["--once", "--job", "transient"]),
        ("answer: rows without an end", ["check"]),
        ("SCRAM: let in without the server's proof", ["--once", "--job", "transient"]),
    ])
    func endsByItsDeadlineWithBoundedMemory(scenario name: String, arguments: [String]) async throws {
        let scenario = try #require(Scenario.all.first { $0.description == name })
        let server = HostileServer(serve: scenario.serve)
        let started = ContinuousClock.now
        let daemon = try RunningDaemon(
            url: server.url,
            environment: [
                "MCP_CLEANUP_DATABASE_CONNECT_TIMEOUT": "2s",
                "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_DEADLINE": "4s",
            ], arguments: arguments)
        var most = 0
        try await daemon.wait("its end", limit: arguments == ["check"] ? .seconds(65) : .seconds(4 + 5 + 3)) {
            // `nil` after the daemon's end.
            most = max(most, RunningDaemon.privateMemory(of: daemon.processIdentifier) ?? 0)
            return !daemon.isRunning
        }
        print("\(name), \(arguments[0]): \(started.duration(to: .now)), \(most) KiB")
        #expect(most < 64 << 10, "\(most) KiB")
        let (status, log) = (try await daemon.exitStatus(), try daemon.log)
        #expect([69, 70, 75, 77].contains(status), "\(status): \(log)")
        #expect(!log.contains(HostileServer.password))
    }

    /// The command ends long before any deadline.
    @Test(arguments: [["--once"], ["check"], ["migrate"], ["history"]])
    func aCommandThatIsStuckInLibpqEndsAtTheFirstSignal(arguments: [String]) async throws {
        let scenario = try #require(Scenario.all.first { $0.description == Scenario.endlessComputation })
        let isReached = Locked(false)
        let server = HostileServer { visitor in
            isReached.withLock { $0 = true }
            scenario.serve(visitor)
        }
        let daemon = try RunningDaemon(
            url: server.url, environment: ["MCP_CLEANUP_DATABASE_CONNECT_TIMEOUT": "60s"], arguments: arguments)
        try await daemon.wait("a connection") { isReached.withLock(\.self) }
        // The server's request has come, and libpq computes: it uses the processor.
        try await Task.sleep(for: .milliseconds(500))
        let asked = ContinuousClock.now
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus(limit: .seconds(10)) == 128 + SIGTERM)
        #expect(asked.duration(to: .now) < .seconds(5 + 3))
    }

    /// libpq computes for half an hour. Only another process can connect meanwhile.
    @Test func theServiceIsNotAliveWhileNoConnectionCanBeMade() async throws {
        let scenario = try #require(Scenario.all.first { $0.description == Scenario.endlessComputation })
        let server = HostileServer(serve: scenario.serve)
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: server.url,
            environment: ["MCP_CLEANUP_DATABASE_CONNECT_TIMEOUT": "2s", "MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"])
        try await daemon.wait("the end of its liveness", limit: .seconds(30)) {
            let answer = try? await LoopbackHTTP.get("/livez", port: port)
            return answer?.status == 503 && answer?.body.contains("no other can begin") == true
        }
        daemon.signal(SIGTERM)
        try await daemon.wait("its end", limit: .seconds(10)) { !daemon.isRunning }
    }
}
