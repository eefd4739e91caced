import Postgres
@testable import SessionCleanup
import SeededRandom
import TestServers
import Testing
import Time

/// Our runs compared with the two statements that they replace, on random tables. The seed is the test's argument.
@Suite(.inTurn) struct ModelTests {
    @Test(arguments: SeededRandom.seeds(32))
    func keepsExactlyTheRowsThatTheStatementsKeep(seed: UInt64) async throws {
        var world = RandomTable(seed: seed)
        let database = try await SessionsDatabase(on: .packaged(), world.generation)
        try await database.run(world.definition)
        try await database.run(world.rows())
        try await database.run("CREATE TABLE copy AS SELECT * FROM \(world.name.quoted)")

        // At a cutoff that the rows were made for, while other transactions lock some of them.
        let (held, holders) = try await world.hold(in: database)
        for job in [Job.transientSessions, .dormantSessions()] {
            let condition = world.condition(of: job, at: "timestamptz '\(world.cutoff)'")
            let due = try await database.count("(\(condition)) AND NOT \(held)", in: "copy")
            let skipped = try await database.count("(\(condition)) AND \(held)", in: "copy")
            try await database.run("DELETE FROM copy WHERE (\(condition)) AND NOT \(held)")
            let progress = try await database.delete(job, from: world.name, at: world.cutoff, limits: world.limits)
            #expect(progress.rowsDeleted == due, "seed \(seed), \(job.name)")
            #expect(progress.rowsSkipped == skipped, "seed \(seed), \(job.name)")
        }
        for holder in holders { try await holder.rollBack() }
        try await expectSameRows(world, database, "seed \(seed), at a chosen cutoff")

        // Both use the cutoff that a whole run takes from the database's clock. With every second seed, removed sessions
        // are recorded.
        let isRecorded = seed.isMultiple(of: 2)
        for migration in isRecorded ? RemovedTests.migrations : [] {
            try await database.run(SessionsDatabase.migration(migration))
        }
        let history = History(removed: isRecorded ? .seconds(86_400) : nil)
        var series = RunSeries(database.access())
        for job in [Job.transientSessions, .dormantSessions()] {
            let run = CleanupRun(
                job: job, table: SessionTable(name: world.name, schema: .auto), limits: world.limits,
                history: history, hostClock: { .hostNow })
            let report = await series.execute(run, RunRequest(scheduledAt: .hostNow, origin: .once))
            #expect(report.outcome == .succeeded, "seed \(seed): \(String(describing: report.failure))")
            let cutoff = try #require(report.cutoff)
            let due = world.condition(of: job, at: "timestamptz '\(cutoff)'")
            if isRecorded {
                try await expectRecord(of: report, "FROM copy WHERE \(due)", database, "seed \(seed), \(job.name)")
            }
            try await database.run("DELETE FROM copy WHERE \(due)")
            #expect(report.progress.rowsSkipped == 0)
        }
        await series.end()
        try await expectSameRows(world, database, "seed \(seed), at the database's clock")
    }

    /// Requires that the record has exactly these rows of the copy for the run.
    private func expectRecord(
        of report: RunReport, _ rows: String, _ database: SessionsDatabase, _ comment: String
    ) async throws {
        let columns = "session_id, user_id, server_id, server_name, server_url, created_at, updated_at, expires_at"
        let recorded = "SELECT \(columns) FROM mcp_cleanup.removed WHERE run_id = \(report.runID ?? -1)"
        let difference = """
            SELECT count(*) FROM (
                (\(recorded) EXCEPT ALL SELECT \(columns) \(rows)) UNION ALL (SELECT \(columns) \(rows) EXCEPT ALL \(recorded))
            ) AS difference
            """
        #expect(try await database.value(difference) == "0", "\(comment)")
    }

    private func expectSameRows(_ world: RandomTable, _ database: SessionsDatabase, _ comment: String) async throws {
        let difference = """
            SELECT count(*) FROM (
                (TABLE \(world.name.quoted) EXCEPT ALL TABLE copy) UNION ALL (TABLE copy EXCEPT ALL TABLE \(world.name.quoted))
            ) AS difference
            """
        #expect(try await database.value(difference) == "0", "\(comment)")
    }
}

/// A table of either generation, of some shape, with rows at and around a cutoff.
struct RandomTable {
    enum Shape: CaseIterable { case plain, hashPartitions, rangePartitions, nestedPartitions, inheritance }

    let generation: SchemaGeneration
    let shape: Shape
    let name: TableName
    let cutoff: UTCInstant
    let limits: RunLimits
    private let hasNulls: Bool
    private let count: Int
    private var generator: SeededRandom

    init(seed: UInt64) {
        generator = SeededRandom(seed: seed)
        generation = SchemaGeneration.allCases.randomElement(using: &generator)!  // Not empty.
        shape = Shape.allCases.randomElement(using: &generator)!  // Not empty.
        name = [
            TableName(schema: "app", table: "sessions"), TableName(schema: "App; --", table: #"my "sessions" 'x'"#),
            TableName(schema: "app", table: "select"), TableName(schema: "\\a", table: "$1"),
        ].randomElement(using: &generator)!  // Not empty.
        hasNulls = Bool.random(using: &generator)
        count = Int.random(in: 0...160, using: &generator)
        cutoff = UTCInstant(
            microsecondsSinceEpoch: Int64.random(in: 1_600_000_000_000_000...1_790_000_000_000_000, using: &generator))
        limits = RunLimits(
            // The list is not empty.
            maxClockSkew: .seconds(300), batchRows: [1, 2, 3, 7, 20, 1000].randomElement(using: &generator)!,
            searchRows: [1, 5, 16, 40, 100_000].randomElement(using: &generator)!)  // Not empty.
    }

    var definition: String {
        let table = name.quoted
        let schema = SQL.identifier(name.schema)
        let like = "(LIKE public.mcp_sessions INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        let parts =
            switch shape {
            case .plain:
                "CREATE TABLE \(table) (LIKE public.mcp_sessions INCLUDING ALL);"
            case .hashPartitions:
                "CREATE TABLE \(table) \(like) PARTITION BY HASH (id);"
                    + (0..<4).map {
                        "CREATE TABLE \(schema).hash_\($0) PARTITION OF \(table) FOR VALUES WITH (MODULUS 4, REMAINDER \($0));"
                    }.joined()
            case .rangePartitions:
                """
                CREATE TABLE \(table) \(like) PARTITION BY RANGE (expires_at);
                CREATE TABLE \(schema).old PARTITION OF \(table) FOR VALUES FROM (MINVALUE) TO ('\(cutoff)');
                CREATE TABLE \(schema).new PARTITION OF \(table) FOR VALUES FROM ('\(cutoff)') TO ('\(cutoff + .seconds(3600))');
                CREATE TABLE \(schema).rest PARTITION OF \(table) DEFAULT;
                CREATE INDEX ON \(table) (expires_at);
                """
            case .nestedPartitions:
                // The detour through ATTACH makes the columns' numbers differ from the parent's.
                """
                CREATE TABLE \(table) \(like) PARTITION BY HASH (id);
                CREATE TABLE \(schema).first PARTITION OF \(table) FOR VALUES WITH (MODULUS 2, REMAINDER 0)
                    PARTITION BY LIST (user_id);
                CREATE TABLE \(schema).inner PARTITION OF \(schema).first FOR VALUES IN ('a');
                CREATE TABLE \(schema).others PARTITION OF \(schema).first DEFAULT;
                CREATE TABLE \(schema).second (gone INTEGER, LIKE public.mcp_sessions INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                ALTER TABLE \(schema).second DROP COLUMN gone;
                ALTER TABLE \(table) ATTACH PARTITION \(schema).second FOR VALUES WITH (MODULUS 2, REMAINDER 1);
                """
            case .inheritance:
                """
                CREATE TABLE \(table) \(like);
                CREATE TABLE \(schema).child (more TEXT) INHERITS (\(table));
                CREATE TABLE \(schema).grandchild () INHERITS (\(schema).child);
                """
            }
        let nullable = hasNulls ? "ALTER TABLE \(table) ALTER COLUMN expires_at DROP NOT NULL;" : ""
        let stateless =
            hasNulls && generation == .status ? "ALTER TABLE \(table) ALTER COLUMN status DROP NOT NULL;" : ""
        return "CREATE SCHEMA \(schema); \(parts) \(nullable) \(stateless)"
    }

    /// Statements that fill the table, with gaps in its pages.
    mutating func rows() -> String {
        let tables =
            shape == .inheritance
            ? [name.quoted, "\(SQL.identifier(name.schema)).child", "\(SQL.identifier(name.schema)).grandchild"]
            : [name.quoted]
        var sql =
            "INSERT INTO \(tables[0]) (session_id, \(columns)) SELECT 'gap-' || n, \(filler) FROM generate_series(1, 40) AS n;"
        for number in 0..<count {
            let table = tables.randomElement(using: &generator)!  // Not empty.
            let user = ["a", "b"].randomElement(using: &generator)!  // Not empty.
            let padding = Int.random(in: 0...900, using: &generator)
            sql += """
                INSERT INTO \(table) (session_id, user_id, server_url, callback_url, server_name, updated_at, expires_at\(state.columns))
                VALUES ('\(number)', '\(user)', 'x', 'x', repeat('x', \(padding)), \(time(notNull: true)), \(time()), \(stateValue()));
                """
            if number == count / 2 { sql += "DELETE FROM \(tables[0]) WHERE session_id LIKE 'gap-%';" }
        }
        return sql + "DELETE FROM \(tables[0]) WHERE session_id LIKE 'gap-%'; ANALYZE \(name.quoted);"
    }

    private var state: (columns: String, filler: String) {
        switch generation {
        case .active: (", transport_type, active", ", 'sse', true")
        case .status: (", status", ", 'active'")
        }
    }

    private var columns: String { "user_id, server_url, callback_url, expires_at\(state.columns)" }
    private var filler: String { "'a', 'x', 'x', 'infinity'\(state.filler)" }

    private mutating func stateValue() -> String {
        switch generation {
        case .active: ["'sse', true", "'sse', false", "'sse', NULL"].randomElement(using: &generator)!  // Not empty.
        case .status:
            // The list is not empty.
            ["'active'", "'pending'", hasNulls ? "NULL" : "'pending'"].randomElement(using: &generator)!
        }
    }

    /// An instant at or near a limit of one of the rules, often to the microsecond.
    private mutating func time(notNull: Bool = false) -> String {
        var times = [
            "'infinity'", "'-infinity'", "now() + interval '1 hour'", "now() - interval '1 hour'", "'0044-03-15 BC'",
        ]
        for hours in [0, 0, 720] {
            for microseconds in [-3_600_000_000, -1, 0, 0, 1, 3_600_000_000] {
                times.append("'\(cutoff - .seconds(hours * 3600) + .microseconds(microseconds))'")
            }
        }
        if hasNulls, !notNull { times += ["NULL", "NULL", "NULL"] }
        return times.randomElement(using: &generator)!  // Not empty.
    }

    /// The condition of the statement that a job stands for, in the words of the seed.
    func condition(of job: Job, at cutoff: String) -> String {
        switch (job.shortName, generation) {
        case ("transient", .active): "expires_at < \(cutoff) AND active IS NOT TRUE"
        case ("transient", .status): "expires_at IS NOT NULL AND expires_at < \(cutoff) AND status <> 'active'"
        case (_, .active): "active = true AND updated_at < \(cutoff) - interval '30 days'"
        case (_, .status): "status = 'active' AND updated_at < \(cutoff) - interval '30 days'"
        }
    }

    /// Lets other transactions lock or change some rows, each in its way.
    ///
    /// - Returns: a condition for the rows that are held, never NULL.
    mutating func hold(in database: SessionsDatabase) async throws -> (condition: String, [OtherTransaction]) {
        let table = name.quoted
        let ways =
            [
                { "SELECT FROM \(table) WHERE \($0) FOR UPDATE" },
                { "SELECT FROM \(table) WHERE \($0) FOR NO KEY UPDATE" },
                { "SELECT FROM \(table) WHERE \($0) FOR SHARE" }, { "SELECT FROM \(table) WHERE \($0) FOR KEY SHARE" },
                { "UPDATE \(table) SET client_id = 'seen' WHERE \($0)" }, { "DELETE FROM \(table) WHERE \($0)" },
                { "UPDATE \(table) SET expires_at = now() + interval '1 day', updated_at = now() WHERE \($0)" },
            ] as [@Sendable (String) -> String]
        var holders: [OtherTransaction] = []
        var all: [String] = []
        for way in ways.shuffled(using: &generator).prefix(Int.random(in: 0...4, using: &generator)) {
            let numbers = (0..<max(count, 1)).filter { _ in Int.random(in: 0..<12, using: &generator) == 0 }
                .map { "'\($0)'" }.filter { !all.contains($0) }
            guard !numbers.isEmpty else { continue }
            all += numbers
            holders.append(
                try await OtherTransaction(in: database, way("session_id IN (\(numbers.joined(separator: ", ")))")))
        }
        return (all.isEmpty ? "false" : "session_id IN (\(all.joined(separator: ", ")))", holders)
    }
}
