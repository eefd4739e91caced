import Foundation
import Glibc
import TestServers
import Testing

@Suite struct ServiceTests {
    private static let due = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        SELECT gen_random_uuid()::text, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 20);
        """

    @Test func removesWhatIsDueAtEachFireTimeAndEndsCleanly() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due)
        let daemon = try RunningDaemon(url: database.url)
        try await daemon.wait("the first removal") { try await database.count() == 0 }
        try await database.run(Self.due)
        try await daemon.wait("the second removal") { try await database.count() == 0 }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        let fireTimes = try daemon.runs.compactMap { $0["fire_time"] }
        #expect(Set(fireTimes).count == fireTimes.count)
        // Counts are JSON numbers.
        let log = try daemon.log
        #expect(log.contains(/"rows_deleted":20,/) && !log.contains(/"rows_[a-z]+":"/), "\(log)")
    }

    @Test func startsOneRunForEachFireTimeOfBothJobsAndOneConnectionForBoth() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("1 seconds", "2 seconds"),
            environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)", "MCP_CLEANUP_HISTORY_MODE": "off"])
        try await daemon.wait("twelve runs", limit: .seconds(60)) { try daemon.runs.count >= 12 }
        let metrics = try await LoopbackHTTP.get("/metrics", port: port).body
        let connections = metrics.firstMatch(of: /mcp_cleanup_connect_duration_seconds_count ([0-9]+)/)
        // The run of the last connection may not be concluded yet.
        #expect(try Int(connections?.1 ?? "") ?? .max <= Set(daemon.runs.map { $0["fire_time"] }).count + 1)
        daemon.signal(SIGINT)
        #expect(try await daemon.exitStatus() == 0)
        let runs = try daemon.runs.map { "\($0["job"] ?? "") \($0["fire_time"] ?? "")" }
        #expect(Set(runs).count == runs.count)
        // The signal may have come in the middle of a run.
        #expect(try daemon.runs.dropLast(2).allSatisfy { $0["outcome"] == "succeeded" })
    }

    @Test func holdsNoConnectionBetweenRuns() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(url: database.url, schedules: ("2 seconds", "0 0 1 1 *"))
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        try await daemon.wait("no connection") {
            try await database.server.value(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp-cleanupd' AND datname = '\(database.name)'",
                in: "postgres") == "0"
        }
    }

    @Test func endsARunThatIsUnderWayWhenAskedToStop() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due + Self.slowDeletion)
        let daemon = try RunningDaemon(url: database.url)
        try await daemon.wait("a batch under way") { try await Self.isDeleting(in: database) }
        let asked = ContinuousClock.now
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        #expect(asked.duration(to: .now) < .seconds(10))
        #expect(try await database.count() == 20)
        #expect(try await !Self.isDeleting(in: database))
        #expect(try daemon.runs.last?["outcome"] == "canceled")
    }

    @Test func endsAtOnceAtASecondSignal() async throws {
        // A frozen backend keeps the run from ending for two seconds after the first signal, which a loaded machine may not
        // leave to the test; then the daemon ends with 0.
        for _ in 0..<10 {
            let database = try await SessionsDatabase(on: .packaged())
            try await database.run(Self.due + Self.slowDeletion)
            let daemon = try RunningDaemon(url: database.url)
            try await daemon.wait("a batch under way") { try await Self.isDeleting(in: database) }
            let backend = try #require(Int32(try await Self.deletingBackend(in: database)))
            kill(backend, SIGSTOP)
            defer { kill(backend, SIGCONT) }
            let signaled = ContinuousClock.now
            daemon.signal(SIGTERM)
            try await daemon.wait("the first signal") { try daemon.log.contains("Stopping.") }
            daemon.signal(SIGTERM)
            guard signaled.duration(to: .now) < .milliseconds(1500) else { continue }
            #expect(try await daemon.exitStatus() == 128 + SIGTERM)
            return
        }
        Issue.record("no second signal was sent within 1.5 s after the first")
    }

    @Test(.enabled(if: geteuid() == 0, "needs root for a process namespace"))
    func stopsAsTheFirstProcessOfAContainer() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(
            url: database.url, wrapper: ["/usr/bin/unshare", "--pid", "--fork", "--kill-child"])
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        // unshare passes no signal on, so the daemon itself, process 1 of the namespace, is signaled.
        let children = try String(
            contentsOfFile: "/proc/\(daemon.processIdentifier)/task/\(daemon.processIdentifier)/children",
            encoding: .utf8)
        let inside = try #require(children.split(separator: " ").first.flatMap { Int32($0) })
        kill(inside, SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    // MARK: No state of the database ends it

    @Test func livesOnWithoutATableAndCleansOnceThereIsOne() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let daemon = try RunningDaemon(url: database.url)
        try await daemon.wait("a failed run") {
            try daemon.runs.contains { $0["message"]?.contains("does not exist") ?? false }
        }
        try await database.run(SessionsDatabase.migration("20260513010000_install_mcp_sessions") + Self.due)
        try await daemon.wait("a removal") { try await database.count() == 0 }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    @Test func livesOnWhenARightIsRevokedAndCleansWhenItIsBack() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        try await database.run("REVOKE DELETE ON mcp_sessions FROM \(role); \(Self.due)")
        let daemon = try RunningDaemon(url: database.server.url(database.name, user: role))
        try await daemon.wait("a failed run") {
            try daemon.runs.contains { $0["hint"]?.contains("GRANT DELETE") ?? false }
        }
        #expect(try daemon.runs.allSatisfy { $0["attempts"] == "1" }, "a missing privilege does not pass by itself")
        try await database.run("GRANT DELETE ON mcp_sessions TO \(role)")
        try await daemon.wait("a removal") { try await database.count() == 0 }
    }

    @Test func waitsForADatabaseThatIsNotThereYetAndOutlivesItsRestart() async throws {
        let shared = try await PostgresServer.packaged()
        let port = try Loopback.freePort()
        let directory = try TemporaryDirectory.make(ownedByServerUser: true)
        let daemon = try RunningDaemon(
            url: "postgresql://postgres@/postgres?host=\(directory)&port=\(port)", schedules: ("4 seconds", "0 0 1 1 *")
        )
        try await daemon.wait("a first attempt") { try daemon.log.contains("retrying in") }
        #expect(daemon.isRunning)
        let server = try await PostgresServer(
            binaries: shared.binaries, address: (directory, port))
        try await server.query(SessionsDatabase.migration("20260513010000_install_mcp_sessions") + Self.due)
        try await daemon.wait("a removal") {
            try await server.value("SELECT count(*) FROM mcp_sessions", in: "postgres") == "0"
        }
        try await daemon.wait("its end") { try daemon.runs.last?["outcome"] == "succeeded" }
    }

    @Test(.slow) func livesOnThroughAFailoverToAServerThatIsReadOnlyAtFirst() async throws {
        let binaries = try await PostgresServer.packaged().binaries
        let primary = try await PostgresServer(binaries: binaries, settings: ["wal_level = replica"])
        try await primary.query(SessionsDatabase.migration("20260513010000_install_mcp_sessions"))
        let standby = try await PostgresServer(standbyOf: primary)
        let hosts = "host=\(primary.directory),\(standby.directory)&port=\(primary.port),\(standby.port)"
        let daemon = try RunningDaemon(
            url: "postgresql://postgres@/postgres?\(hosts)", schedules: ("3 seconds", "0 0 1 1 *"))
        try await daemon.wait("a run") { try daemon.runs.contains { $0["outcome"] == "succeeded" } }
        try await primary.query(Self.due)
        try await daemon.wait("a removal") {
            try await primary.value("SELECT count(*) FROM mcp_sessions", in: "postgres") == "0"
        }
        primary.stop()
        try await daemon.wait("a failed attempt") { try daemon.log.contains("read-only standby") }
        try await standby.query("SELECT pg_promote()")
        try await standby.query(Self.due)
        try await daemon.wait("a removal") {
            try await standby.value("SELECT count(*) FROM mcp_sessions", in: "postgres") == "0"
        }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    @Test(.slow) func repeatsARunWhoseConnectionWasLostInTheMiddle() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due + Self.slowDeletion)
        let daemon = try RunningDaemon(url: database.url, schedules: ("30 seconds", "0 0 1 1 *"))
        try await daemon.wait("a batch under way", limit: .seconds(45)) { try await Self.isDeleting(in: database) }
        let backend = try await Self.deletingBackend(in: database)
        try await database.run("DROP TRIGGER slow ON mcp_sessions", whileTerminating: backend)
        try await daemon.wait("a removal") { try await database.count() == 0 }
        try await daemon.wait("the run's end") { try !daemon.runs.isEmpty }
        let run = try #require(try daemon.runs.first)
        #expect(run["outcome"] == "succeeded")
        #expect(Int(run["attempts"] ?? "") ?? 0 > 1)
        #expect(run["rows_deleted"] == "20")
    }

    // MARK: Runs of an earlier process

    /// A database whose history has one run, of years ago: 1 January was missed. Its due rows cannot be deleted yet.
    private static func databaseOfAMissedFireTime() async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            \(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"));
            \(due)
            CREATE FUNCTION full_disk() RETURNS TRIGGER AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END' LANGUAGE plpgsql;
            CREATE TRIGGER full_disk BEFORE DELETE ON mcp_sessions FOR EACH STATEMENT EXECUTE FUNCTION full_disk();
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
            VALUES ('mcp-cleanup-transient-sessions', now() - interval '3 years', 'schedule', 'x', 1, 'succeeded', now(), now(), now())
            """)
        return database
    }

    private static func latestRun(in database: SessionsDatabase) async throws -> String {
        try await database.value(
            """
            SELECT concat_ws(' ', origin, status, attempts, next_attempt_at IS NOT NULL) FROM mcp_cleanup.runs
             WHERE job = 'mcp-cleanup-transient-sessions' ORDER BY scheduled_at DESC LIMIT 1
            """) ?? ""
    }

    @Test func aRestartBetweenTwoAttemptsResumesTheRun() async throws {
        let database = try await Self.databaseOfAMissedFireTime()
        let first = try RunningDaemon(url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"))
        try await first.wait("the wait for another attempt") {
            try first.log.contains("retrying in") && first.log.contains("missed")
        }
        first.signal(SIGTERM)
        #expect(try await first.exitStatus() == 0)
        let waiting = try await Self.latestRun(in: database)
        let log = try first.log
        #expect(waiting.wholeMatch(of: /catch-up failed [0-9]+ t/) != nil, "\(waiting): \(log)")
        try await database.run("DROP TRIGGER full_disk ON mcp_sessions")
        let second = try RunningDaemon(url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"))
        try await second.wait("the removal") { try await database.count() == 0 }
        try await second.wait("the run's end") { try await Self.latestRun(in: database).contains("succeeded") }
        #expect(try await database.value("SELECT count(*) FROM mcp_cleanup.runs WHERE origin = 'catch-up'") == "1")
        second.signal(SIGTERM)
        #expect(try await second.exitStatus() == 0)
    }

    @Test func countsFireTimesThatComeWhileARunIsUnderWay() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due + Self.slowDeletion)
        let daemon = try RunningDaemon(url: database.url)
        try await daemon.wait("a coalesced fire time") {
            try daemon.log.contains("the run before has not ended at the scheduled time")
        }
        let running = try await database.server.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp-cleanupd' AND datname = '\(database.name)'",
            in: "postgres")
        #expect(running == "1")
    }

    // MARK: Deletions that take their time

    /// A trigger makes each row take a second, in a sleep by which `deletingBackend` finds the backend.
    private static let slowDeletion = """
        CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(1); RETURN OLD; END' LANGUAGE plpgsql;
        CREATE TRIGGER slow BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION linger();
        """

    private static func isDeleting(in database: SessionsDatabase) async throws -> Bool {
        try await !deletingBackend(in: database).isEmpty
    }

    private static func deletingBackend(in database: SessionsDatabase) async throws -> String {
        try await database.value(
            """
            SELECT coalesce(max(pid)::text, '') FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'PgSleep' AND query LIKE '%DELETE FROM%'
            """) ?? ""
    }
}

extension SessionsDatabase {
    /// Ends a backend and, before its client reconnects, runs statements that its locks would have blocked.
    fileprivate func run(_ sql: String, whileTerminating backend: String) async throws {
        try await run("SELECT pg_terminate_backend(\(backend)); BEGIN; \(sql); COMMIT")
    }
}
