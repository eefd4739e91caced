import Foundation
import Glibc
import Postgres
import SeededRandom
import TestServers
import Testing

/// Five services over one database, killed and frozen at random.
@Suite(.slow, .inTurn) struct ReplicaTests {
    /// A pooler has three server connections, fewer than there are replicas.
    @Test(arguments: [false, true], SeededRandom.seeds(1, for: "replicas"))
    func fiveReplicasAnswerEachFireTimeOnce(isPooled: Bool, seed: UInt64) async throws {
        // At 30 ms a row, a batch lasts longer than its pause: freezes fall within transactions as often as between.
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
        // By the replicas' own reports, at most one run of each fire time succeeded or was capped.
        let ended = logs.filter { ["succeeded", "capped"].contains($0["outcome"] ?? "") }.compactMap { $0["fire_time"] }
        #expect(Set(ended).count == ended.count, comment)
        // The process that deleted is the one that owned the run.
        let deleters = try await watched.database.run(
            "SELECT DISTINCT client, split_part(claimed_by, ':', 2) AS pid FROM witness WHERE client LIKE 'replica-%'")
        for row in deleters.rows {
            let client = try row.text("client")
            #expect(try await replicas.identifiers[client].map { "\($0)" } == row.text("pid"), "\(client), \(comment)")
        }
        let summary = try await watched.value(
            "SELECT string_agg(status || ' ' || n, ', ') FROM (SELECT status, count(*) AS n FROM mcp_cleanup.runs GROUP BY 1) q"
        )
        // Runs that were resumed, or closed by the claim of another run.
        let takenOver = try await watched.integer(
            "SELECT count(*) FROM mcp_cleanup.runs WHERE attempts > 1 OR status = 'abandoned'")
        print(
            "replicas\(isPooled ? " through PgBouncer" : ""), seed \(seed): \(summary ?? ""); \(takenOver) taken over; ",
            await replicas.strikes)
        // A quiet machine makes some 35 runs, a busy one 18; between 25 and 4 of them succeed.
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
        /// The frozen replicas that were in a transaction.
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
    /// The replicas' process IDs, by the `application_name` of their connections.
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
            // The pause lets freezes fall between batches too, where no server timeout stops a replica: the claim does.
            environment: WatchedDatabase.environment.merging([
                "MCP_CLEANUP_BATCH_PAUSE": "20ms", "MCP_CLEANUP_BATCH_MAX_ROWS": "20",
            ]) { $1 })
        identifiers[name] = daemon.processIdentifier
        return daemon
    }

    /// Thaws the replicas whose time has come, and kills or freezes one of the others, at times the owner of a run.
    func strike() async throws {
        try await Task.sleep(for: .milliseconds(Int.random(in: 200...1500, using: &generator)))
        for thaw in thaws where thaw.at <= .now { thaw.daemon.signal(SIGCONT) }
        thaws.removeAll { $0.at <= .now }
        // At most three of the five replicas are frozen at a time: the others do the work.
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

    /// Waits about half a second for one of these replicas to own a run; returns its index, or `nil` if none does.
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

    /// Thaws all replicas, asks all to end, and returns the events that they have logged.
    func stop() async throws -> [[String: String]] {
        for thaw in thaws { thaw.daemon.signal(SIGCONT) }
        for daemon in running { daemon.signal(SIGTERM) }
        for daemon in running {
            let status = try await daemon.exitStatus()
            let log = try daemon.log
            // SIGTERM kills a replica that has just started and handles no signals yet (143); it has logged nothing.
            #expect(status == 0 || status == 143 && log.isEmpty, "\(log)")
            logs += try daemon.events
        }
        return logs
    }
}

extension RunningDaemon {
    /// The events of its log, except a last line that a kill cut off.
    fileprivate var endedEvents: [[String: String]] {
        get throws {
            try log.split(separator: "\n").compactMap { line in
                try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
            }
        }
    }
}
