import Glibc
import Postgres
import SeededRandom
import TestServers
import Testing

/// Fire times that were missed, answered by processes that start and stop: none is lost, none is answered twice.
@Suite(.slow, .inTurn) struct RestartTests {
    private static let job = "mcp-cleanup-transient-sessions"
    /// Once a year: no further fire time comes during a test.
    private static let schedule = "0 0 1 1 *"

    private static func daemon(_ watched: WatchedDatabase) throws -> RunningDaemon {
        try RunningDaemon(
            url: watched.database.url, schedules: (schedule, schedule), environment: WatchedDatabase.environment)
    }

    /// Makes the schedule's last fire time a missed one.
    private static func forgetRuns(of watched: WatchedDatabase) async throws {
        try await watched.database.run(
            """
            DELETE FROM witness; DELETE FROM mcp_cleanup.removed; DELETE FROM mcp_cleanup.runs WHERE origin <> 'once';
            INSERT INTO mcp_cleanup.runs (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
            VALUES ('\(job)', now() - interval '3 years', 'schedule', 'before', 1, 'succeeded', now(), now(), now())
            """)
    }

    /// The statuses of the runs that answered the missed fire time.
    private static func answers(_ watched: WatchedDatabase) async throws -> String? {
        try await watched.value(
            """
            SELECT string_agg(status, ' ') FROM mcp_cleanup.runs
             WHERE job = '\(job)' AND claimed_by <> 'before' AND origin <> 'once'
            """)
    }

    @Test(arguments: SeededRandom.seeds(1, for: "starts"))
    func aStartBesideACompetitorLosesNoMissedFireTime(seed: UInt64) async throws {
        let watched = try await WatchedDatabase(on: .packaged())
        let starts = 10 * Soak.factor
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await Self.compete(on: watched, seed: seed) }
            for start in 1...starts {
                try await Self.forgetRuns(of: watched)
                let daemon = try Self.daemon(watched)
                try await daemon.wait("the answer of start \(start), seed \(seed)") {
                    try await Self.answers(watched) == "succeeded"
                }
                daemon.signal(SIGTERM)
                #expect(try await daemon.exitStatus() == 0)
                #expect(try await Self.answers(watched) == "succeeded", "start \(start), seed \(seed)")
            }
            group.cancelAll()
        }
        let once = try await watched.integer("SELECT count(*) FROM mcp_cleanup.runs WHERE origin = 'once'")
        print("starts beside a competitor, seed \(seed): \(starts) starts, \(once) runs of the competitor, 0 lost")
        #expect(once > starts)
    }

    /// Begins and ends runs as `--once` does, as fast as it can, with a pause after some of them.
    private static func compete(on watched: WatchedDatabase, seed: UInt64) async throws {
        var generator = SeededRandom(seed: seed)
        let connection = try await watched.database.server.connect(watched.database.name)
        while !Task.isCancelled {
            do {
                _ = try await connection.script(
                    """
                    INSERT INTO mcp_cleanup.runs
                        (job, scheduled_at, origin, claimed_by, attempts, status, started_at, heartbeat_at, cutoff)
                    VALUES ('\(job)', clock_timestamp(), 'once', 'competitor', 1, 'running', now(), now(), now())
                    ON CONFLICT DO NOTHING
                    """, deadline: .now + .seconds(30))
                _ = try await connection.script(
                    """
                    UPDATE mcp_cleanup.runs SET status = 'succeeded', finished_at = now()
                     WHERE claimed_by = 'competitor' AND status = 'running'
                    """, deadline: .now + .seconds(30))
            } catch PostgresError.canceled {
                break
            }
            if Bool.random(using: &generator) {
                // The sleep is cut short only when the task is canceled.
                try? await Task.sleep(for: .milliseconds(Int.random(in: 0...20, using: &generator)))
            }
        }
        await connection.close()
    }

    /// Two replicas are replaced one after the other, at random instants of the attempts and of the waits between them.
    @Test(arguments: SeededRandom.seeds(1, for: "restarts"))
    func rollingRestartsLoseAndDoubleNoFireTime(seed: UInt64) async throws {
        let watched = try await WatchedDatabase(on: .packaged(), secondsPerRow: 0.005)
        try await watched.database.run(
            """
            CREATE FUNCTION fail() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT max(attempts) FROM mcp_cleanup.runs WHERE status = 'running') < 3 THEN RAISE serialization_failure; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER fail BEFORE DELETE ON mcp_sessions FOR EACH STATEMENT EXECUTE FUNCTION fail();
            """)
        var generator = SeededRandom(seed: seed)
        let restarts = 4 * Soak.factor
        var replicas: [RunningDaemon] = []
        for round in 1...restarts {
            let due = Int.random(in: 1...60, using: &generator)
            try await Self.forgetRuns(of: watched)
            try await watched.database.run(WatchedDatabase.due(due))
            replicas = [try Self.daemon(watched), try Self.daemon(watched)]
            for index in replicas.indices {
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...2500, using: &generator)))
                replicas[index].signal(SIGTERM)
                let ended = replicas[index]
                replicas[index] = try Self.daemon(watched)
                let status = try await ended.exitStatus()
                // SIGTERM kills a replica that has just started and handles no signals yet (143).
                let log = try ended.log
                #expect(status == 0 || status == 143, "\(log)")
            }
            try await replicas[0].wait("the end of round \(round), seed \(seed)") {
                try await Self.answers(watched) == "succeeded"
            }
            for replica in replicas { replica.signal(SIGTERM) }
            for replica in replicas { _ = try await replica.exitStatus() }
            #expect(try await Self.answers(watched) == "succeeded", "round \(round), seed \(seed)")
            #expect(try await watched.database.count() == 0, "round \(round), seed \(seed)")
            #expect(
                try await watched.value("SELECT sum(rows_deleted) FROM mcp_cleanup.runs WHERE claimed_by <> 'before'")
                    == "\(due)", "round \(round), seed \(seed)")
            try await watched.expectExactAccounts("round \(round), seed \(seed)")
        }
        print("rolling restarts, seed \(seed): \(restarts) rounds of two, 0 lost, 0 doubled")
    }
}
