import Foundation
import Glibc
import Postgres
import SeededRandom
import TestServers
import Testing

/// Five services over one database, killed and frozen at random.
@Suite(.slow, .inTurn) struct ReplicaTests {
    /// With fewer server connections than replicas where there is a pooler.
    @Test(arguments: [false, true], SeededRandom.seeds(1, for: "replicas"))
    func fiveReplicasAnswerEachFireTimeOnce(isPooled: Bool, seed: UInt64) async throws {
        // A batch of one row then lasts longer than its pause: a freeze falls as often within a transaction as between two.
        let watched = try await WatchedDatabase(on: .packaged(), secondsPerRow: 0.03)
        let pooler = isPooled ? try await PgBouncer(for: watched.database.server, poolSize: 3) : nil
        let url = pooler?.url(watched.database.name) ?? watched.database.url
        let replicas = Replicas(watched, url: url, seed: seed)
        let end = ContinuousClock.now + .seconds(62 * Soak.factor)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await watched.change(seed: seed &+ 1, pause: .milliseconds(150)) }
            try await replicas.start()
            while ContinuousClock.now < end { try await replicas.strike() }
            group.cancelAll()
        }
        let logs = try await replicas.stop()
        let comment: Comment = "seed \(seed)"
        try await watched.expectExactAccounts(comment)
        try await watched.finish(url: url)
        try await watched.expectExactAccounts(comment)
        #expect(try await watched.integer("SELECT count(*) FROM mcp_cleanup.runs WHERE status = 'running'") == 0)
        // By the replicas' own reports: no other one has ended the same run well.
        let ended = logs.filter { ["succeeded", "capped"].contains($0["outcome"] ?? "") }.compactMap { $0["fire_time"] }
        #expect(Set(ended).count == ended.count, comment)
        // Who deleted is who owned the run.
        let deleters = try await watched.database.run(
            "SELECT DISTINCT client, split_part(claimed_by, ':', 2) AS pid FROM witness WHERE client LIKE 'replica-%'")
        for row in deleters.rows {
            let client = try row.text("client")
            #expect(try await replicas.identifiers[client].map { "\($0)" } == row.text("pid"), "\(client), \(comment)")
        }
        let summary = try await watched.value(
            "SELECT string_agg(status || ' ' || n, ', ') FROM (SELECT status, count(*) AS n FROM mcp_cleanup.runs GROUP BY 1) q"
        )
        // Resumed, or closed for a later fire time's run.
        let takenOver = try await watched.integer(
            "SELECT count(*) FROM mcp_cleanup.runs WHERE attempts > 1 OR status = 'abandoned'")
        print(
            "replicas\(isPooled ? " through PgBouncer" : ""), seed \(seed): \(summary ?? ""); \(takenOver) taken over; ",
            await replicas.strikes)
        // A quiet machine has some 35 of them, a busy one 18, of which between 25 and 4 end well.
        #expect(try await watched.integer("SELECT count(*) FROM mcp_cleanup.runs") >= 10, comment)
        #expect(
            try await watched.integer("SELECT count(*) FROM mcp_cleanup.runs WHERE status = 'succeeded'") > 0, comment)
        #expect(takenOver > 0, "no replica lost a run: \(comment)")
        // Under the sanitizer the replicas are so slow that most of a run is between its transactions.
        let inTransaction = await replicas.strikes.inTransaction
        #expect(
            inTransaction > 0 || !Command.sanitizerOptions.isEmpty, "no replica was frozen in a transaction: \(comment)"
        )
    }
}

/// The replicas, and what is done to them.
private actor Replicas {
    struct Strikes {
        var killed = 0
        var frozen = 0
        /// Of the frozen.
        var inTransaction = 0
    }

    private let watched: WatchedDatabase
    private let url: String
    private var generator: SeededRandom
    private var running: [RunningDaemon] = []
    private var thaws: [(daemon: RunningDaemon, at: ContinuousClock.Instant)] = []
    private var started = 0
    private var logs: [[String: String]] = []
    private(set) var strikes = Strikes()
    /// Process numbers by the name that the replica's connections have.
    private(set) var identifiers: [String: Int32] = [:]

    init(_ watched: WatchedDatabase, url: String, seed: UInt64) {
        self.watched = watched
        self.url = url
        generator = SeededRandom(seed: seed)
    }

    func start() throws {
        for _ in 0..<5 { running.append(try replica()) }
    }

    private func replica() throws -> RunningDaemon {
        started += 1
        let name = "replica-\(started)"
        let daemon = try RunningDaemon(
            url: url + "&application_name=\(name)",
            // So that they are frozen between two batches too, where no server cuts them off, and only the claim does.
            environment: WatchedDatabase.environment.merging([
                "MCP_CLEANUP_BATCH_PAUSE": "20ms", "MCP_CLEANUP_BATCH_MAX_ROWS": "20",
            ]) { $1 })
        identifiers[name] = daemon.processIdentifier
        return daemon
    }

    /// Kills or freezes one of them, at times the one that owns a run; lets those go on whose time has come.
    func strike() async throws {
        try await Task.sleep(for: .milliseconds(Int.random(in: 200...1500, using: &generator)))
        for thaw in thaws where thaw.at <= .now { thaw.daemon.signal(SIGCONT) }
        thaws.removeAll { $0.at <= .now }
        // Three of five at the most: the others do the work.
        let awake = running.indices.filter { index in !thaws.contains { $0.daemon === running[index] } }
        guard awake.count > 2 else { return }
        let wantsOwner = Bool.random(using: &generator)
        let isOwned = wantsOwner ? try await owner(among: awake) : nil
        guard let index = isOwned ?? awake.randomElement(using: &generator) else { return }
        if Int.random(in: 0..<3, using: &generator) == 0 {
            logs += try running[index].endedEvents
            running[index].signal(SIGKILL)
            running[index] = try replica()
            strikes.killed += 1
        } else {
            running[index].signal(SIGSTOP)
            strikes.frozen += 1
            if try await isInTransaction(running[index]) { strikes.inTransaction += 1 }
            let pause = Duration.milliseconds(Int.random(in: 200...5500, using: &generator))
            thaws.append((running[index], .now + pause))
        }
    }

    /// Waits a moment until a replica owns a run.
    private func owner(among awake: [Int]) async throws -> Int? {
        for _ in 0..<50 {
            let pid = try await watched.value(
                "SELECT min(split_part(claimed_by, ':', 2)) FROM mcp_cleanup.runs WHERE status = 'running'")
            if let index = awake.first(where: { "\(running[$0].processIdentifier)" == pid }) { return index }
            try await Task.sleep(for: .milliseconds(10))
        }
        return nil
    }

    private func isInTransaction(_ daemon: RunningDaemon) async throws -> Bool {
        guard let name = identifiers.first(where: { $0.value == daemon.processIdentifier })?.key else { return false }
        return try await watched.integer(
            """
            SELECT count(*) FROM pg_stat_activity
             WHERE application_name = '\(name)' AND state IN ('active', 'idle in transaction') AND xact_start IS NOT NULL
            """) > 0
    }

    /// Lets all go on, asks all to end, and returns what they have logged.
    func stop() async throws -> [[String: String]] {
        for thaw in thaws { thaw.daemon.signal(SIGCONT) }
        for daemon in running { daemon.signal(SIGTERM) }
        for daemon in running {
            let status = try await daemon.exitStatus()
            let log = try daemon.log
            // The youngest may not have come far enough to take a signal otherwise than by ending.
            #expect(status == 0 || status == 143 && log.isEmpty, "\(log)")
            logs += try daemon.events
        }
        return logs
    }
}

extension RunningDaemon {
    /// What it logged, without a line that was not written to its end.
    fileprivate var endedEvents: [[String: String]] {
        get throws {
            try log.split(separator: "\n").compactMap { line in
                try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
            }
        }
    }
}
