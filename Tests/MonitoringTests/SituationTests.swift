import Foundation
import Glibc
import TestServers
import Testing

/// The state that a real service reports in real situations; `ReadinessTests` has the whole table, in simulated time.
@Suite struct SituationTests {
    private static let transient = "mcp-cleanup-transient-sessions"
    private static let dormant = "mcp-cleanup-dormant-sessions"

    private static func withHistory() async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"))
        return database
    }

    /// Rows of the history as another process would have left them, for each instant.
    private static func insertRuns(
        _ database: SessionsDatabase, of job: String = transient, _ status: String, at instants: String
    ) async throws {
        try await database.run(
            """
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at,
                finished_at, cutoff, rows_deleted, batches)
            SELECT '\(job)', t, 'schedule', 'another', 1, '\(status)', least(t, now()), least(t, now()), least(t, now()),
                least(t, now()), 0, 0 FROM \(instants) AS i (t)
            """)
    }

    private static func value(
        _ family: String, of job: String = transient, _ served: ServedDaemon
    ) async throws -> Double {
        let metrics = try await served.get("/metrics").body
        let start = #"\#(family){job_name="\#(job)"} "#
        let line = try #require(metrics.split(separator: "\n").first { $0.hasPrefix(start) }, "\(metrics)")
        return try #require(Double(line.dropFirst(start.count)))
    }

    @Test(.slow) func staysReadyWhileTheDatabaseIsAwayForAsLongAsTheBudgetLasts() async throws {
        let server = try await PostgresServer(binaries: PostgresServer.packaged().binaries)
        let database = try await SessionsDatabase(on: server)
        // Two intervals and the deadline are five seconds.
        let served = try ServedDaemon(
            url: database.url, environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_DEADLINE": "3s"])
        try await served.waitForAnswer()
        try await served.daemon.wait("a run") { try served.daemon.runs.contains { $0["outcome"] == "succeeded" } }
        let stopped = ContinuousClock.now
        server.stop()
        // The state "failing" is that of a job whose budget is not used up: the service is ready.
        try await served.daemon.wait("a failure") {
            try await served.get("/status.json").body.contains(#""state":"failing""#)
        }
        try await served.daemon.wait("the end of its budget") { try await served.get("/readyz").status == 503 }
        #expect(stopped.duration(to: .now) > .seconds(3), "a success of just before has five seconds")
        #expect(try await served.get("/readyz").body.contains("the limit is 5 s: "))
        #expect(try await served.get("/livez").status == 200)
    }

    @Test func aReplicaThatNeverWinsIsAsReadyAsTheOthersMakeIt() async throws {
        let database = try await Self.withHistory()
        // Every fire time has its answer before it comes: this process wins no claim.
        let coming = "generate_series(date_trunc('second', now()), now() + interval '55 s', '1 s')"
        try await Self.insertRuns(database, "failed", at: coming)
        let served = try ServedDaemon(url: database.url)
        try await served.waitForAnswer()
        try await served.daemon.wait("unreadiness") {
            try await served.get("/readyz").body.contains("neither here nor in another process")
        }
        #expect(try served.daemon.runs.isEmpty)
        #expect(try await Self.value("mcp_cleanup_last_run_timestamp_seconds", served) > 0)
        try await database.run("UPDATE mcp_cleanup.runs SET status = 'capped'")
        try await served.daemon.wait("readiness") { try await served.get("/readyz").status == 200 }
        #expect(try served.daemon.runs.isEmpty)
    }

    @Test func aRestartTakesOverWhatTheHistoryKnows() async throws {
        let database = try await Self.withHistory()
        func utc(_ unit: String) -> String { "date_trunc('\(unit)', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'" }
        // The transient job catches up; of the nightly one, with `catch-up: skip`, the history is only read.
        try await Self.insertRuns(database, "succeeded", at: "(SELECT \(utc("hour")) - interval '1 hour')")
        try await Self.insertRuns(
            database, of: Self.dormant, "capped", at: "(SELECT \(utc("day")) - interval '3 days')")
        try await Self.insertRuns(
            database, of: Self.dormant, "failed", at: "(SELECT \(utc("day")) - interval '2 days')")
        // By their heartbeats the runs are of the last day, regardless of when they were scheduled.
        try await database.run(
            "UPDATE mcp_cleanup.runs SET rows_deleted = 1234, heartbeat_at = now() - interval '2 hours'")
        let served = try ServedDaemon(
            url: database.url, schedules: ("0 * * * *", "0 0 * * *"),
            environment: ["MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_CATCH_UP": "skip"])
        try await served.waitForAnswer()
        try await served.daemon.wait("the catch-up run") { try !served.daemon.runs.isEmpty }
        try await served.daemon.wait("the look at the other job") {
            try await Self.value("mcp_cleanup_missed_fires_total", of: Self.dormant, served) == 2
        }
        #expect(try await Self.value("mcp_cleanup_missed_fires_total", served) == 1)
        let success = try await Self.value("mcp_cleanup_last_success_timestamp_seconds", of: Self.dormant, served)
        let end = try await Self.value("mcp_cleanup_last_run_timestamp_seconds", of: Self.dormant, served)
        #expect(success > 0 && end == success + 86_400)
        #expect(try await database.count("job = '\(Self.dormant)'", in: "mcp_cleanup.runs") == 2)
        let status = try await served.get("/status.json").body
        #expect(status.contains(#""rows_deleted_24h":3702,"counts_all_processes":true,"#), "\(status)")
        #expect(status.contains(#""outcome":"capped""#), "the runs of before the restart are shown: \(status)")
        // Three days are more than two nights and an hour.
        #expect(try await served.get("/readyz").body.contains("\(Self.dormant) has not succeeded for 3 d"))
    }

    @Test func aReloadEndsWhatAJobOwesAndSaysWhatIsWrongWithTheFile() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole(grants: ["SELECT"])
        let path = try TemporaryDirectory.make() + "/config.yaml"
        func configure(_ transient: String) throws {
            try """
            jobs:
              mcp-cleanup-transient-sessions: { \(transient) }
              mcp-cleanup-dormant-sessions: { schedule: "0 0 1 1 *" }
            """.write(toFile: path, atomically: true, encoding: .utf8)
        }
        try configure(#"schedule: "1 seconds""#)
        let served = try ServedDaemon(
            url: database.server.url(database.name, user: role), schedules: ("", ""), arguments: ["--config", path])
        try await served.waitForAnswer()
        try await served.daemon.wait("a failed run") { try await served.get("/readyz").status == 503 }
        let gauge = "mcp_cleanup_config_last_reload_successful"
        try configure(#"schedule: "now and then""#)
        served.daemon.signal(SIGHUP)
        try await served.daemon.wait("the refusal") { try await served.get("/metrics").body.contains("\n\(gauge) 0\n") }
        #expect(try await served.get("/").body.contains("Reload failed"))
        try configure(#"schedule: "1 seconds", enabled: false"#)
        served.daemon.signal(SIGHUP)
        try await served.daemon.wait("the reload") { try await served.get("/metrics").body.contains("\n\(gauge) 1\n") }
        #expect(try await served.get("/readyz").status == 200, "a disabled job owes nothing")
        let page = try await served.get("/").body
        #expect(
            page.contains("Every job is disabled") == false && page.contains("disabled")
                && !page.contains("Reload failed"))
    }
}
