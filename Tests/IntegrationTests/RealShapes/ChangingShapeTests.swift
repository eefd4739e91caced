import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// The table changes under a run: parts come and go, locks are held on parts of it, other sessions are changed by triggers.
@Suite(.inTurn) struct ChangingShapeTests {
    /// Limits that end neither a batch that waits at the gate nor a batch that waits for the change's lock. In the pause a
    /// change that waits for the run's row can lock it.
    private static let gated = RunLimits(
        maxClockSkew: .seconds(300), batchTarget: .seconds(5), lockTimeout: .seconds(10), batchRows: 500,
        batchPause: .milliseconds(10))
    /// More rows than one search by age returns (20,000), so that later searches find the rows that came meanwhile.
    private static let due = 21_000

    /// Sessions in two partitions, by their user.
    static let partitions = """
        ALTER TABLE mcp_sessions RENAME TO seed;
        CREATE TABLE mcp_sessions (LIKE seed INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY LIST (user_id);
        CREATE TABLE here PARTITION OF mcp_sessions FOR VALUES IN ('here');
        CREATE TABLE there PARTITION OF mcp_sessions FOR VALUES IN ('there');
        """

    static func rows(_ count: Int, in table: String = "mcp_sessions", user: String = "here") -> String {
        """
        INSERT INTO \(table) (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
        SELECT '\(user)-' || n, '\(user)', 'x', 'sse', 'x', now() - interval '1 hour', false
          FROM generate_series(1, \(count)) AS n;
        """
    }

    private static func run(
        _ database: SessionsDatabase, as user: String = "postgres", limits: RunLimits = .test
    ) async -> RunReport {
        await ShapeRun(database, limits: limits, as: user).report
    }

    /// Runs the job, and `change` while the batch that deletes row 5000 is under way.
    private static func run(
        _ database: SessionsDatabase, as user: String = "postgres", change: String
    ) async throws -> RunReport {
        async let report = gatedRun(database, as: user)
        try await atGate(of: database) { try await database.run(change) }
        return try await report
    }

    /// Runs the job; the batch that deletes one session waits at the gate.
    private static func gatedRun(
        _ database: SessionsDatabase, as user: String = "postgres", gate session: String = "here-5000"
    ) async throws -> RunReport {
        try await database.run(
            Gate.sql(at: session) + "GRANT SELECT ON openings TO PUBLIC;"
                + "ALTER DATABASE \(database.name) SET deadlock_timeout = '1min'")
        return await ShapeRun(database, limits: gated, as: user, job: Gate.job).report
    }

    /// Executes `change` while a batch waits at the gate. Opens the gate once `change` has ended or waits for the batch.
    @discardableResult private static func atGate<Change: Sendable>(
        of database: SessionsDatabase, _ change: @escaping @Sendable () async throws -> Change
    ) async throws -> Change {
        try await Gate.wait(in: database)
        let hasEnded = Locked(false)
        @Sendable func changed() async throws -> Change {
            defer { hasEnded.withLock { $0 = true } }
            return try await change()
        }
        async let result = changed()
        try await eventually("the change has ended, or waits for the batch") {
            if hasEnded.withLock(\.self) { return true }
            return try await isLockAwaited(in: database)
        }
        try await Gate.open(in: database)
        return try await result
    }

    private static func isLockAwaited(in database: SessionsDatabase) async throws -> Bool {
        try await database.count(
            "datname = current_database() AND wait_event_type = 'Lock'", in: "pg_stat_activity") == 1
    }

    // MARK: Parts that come and go

    @Test func aPartThatIsAttachedDuringTheRunIsClearedToo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.partitions + Self.rows(Self.due)
                + "CREATE TABLE new (LIKE mcp_sessions INCLUDING CONSTRAINTS INCLUDING DEFAULTS);"
                + Self.rows(300, in: "new", user: "new"))
        let report = try await Self.run(
            database, change: "ALTER TABLE mcp_sessions ATTACH PARTITION new FOR VALUES IN ('new')")
        #expect(report.outcome == .succeeded && report.progress.rowsSkipped == 0, "\(report)")
        #expect(try await database.count() == 0)
    }

    @Test func anInheritanceChildThatComesDuringTheRunIsClearedToo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.rows(Self.due) + "CREATE TABLE new (LIKE mcp_sessions INCLUDING CONSTRAINTS INCLUDING DEFAULTS);"
                + Self.rows(300, in: "new", user: "new"))
        let report = try await Self.run(database, change: "ALTER TABLE new INHERIT mcp_sessions")
        #expect(report.outcome == .succeeded && report.progress.rowsSkipped == 0, "\(report)")
        #expect(try await database.count() == 0)
    }

    /// An address (`ctid`) does not identify a row on another server.
    @Test(arguments: [true, false])
    func aForeignPartThatIsAttachedDuringTheRunFailsItAndLosesNothing(isReachable: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let wrapper =
            isReachable
            ? """
            CREATE EXTENSION postgres_fdw;
            CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw
                OPTIONS (host '\(database.server.directory)', port '\(database.server.port)', dbname '\(database.name)');
            CREATE USER MAPPING FOR postgres SERVER elsewhere OPTIONS (user 'postgres');
            """
            : "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;"
        try await database.run(
            """
            CREATE TABLE remote (LIKE mcp_sessions INCLUDING DEFAULTS);
            \(Self.rows(300, in: "remote", user: "remote")) \(Self.rows(Self.due)) \(wrapper)
            DO $$ BEGIN EXECUTE format('CREATE FOREIGN TABLE elsewhere (%s) SERVER elsewhere \(isReachable ? "OPTIONS (table_name ''remote'')" : "")',
                (SELECT string_agg(format('%I %s', attname, format_type(atttypid, NULL)) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END, ', ')
                   FROM pg_attribute WHERE attrelid = 'mcp_sessions'::regclass AND attnum > 0)); END $$;
            """)
        let report = try await Self.run(database, change: "ALTER FOREIGN TABLE elsewhere INHERIT mcp_sessions")
        guard case .foreignPartition(_, let name)? = report.failure, report.failure?.kind == .misconfigured else {
            Issue.record("\(report)")
            return
        }
        #expect(name.contains("elsewhere"))
        #expect(try await database.count(in: "remote") == 300)
    }

    /// A detached partition is no part of the table any more: its rows are kept.
    @Test func aPartThatIsDetachedDuringTheRunIsLeftAlone() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.partitions + Self.rows(Self.due) + Self.rows(Self.due, user: "there"))
        async let ran = Self.gatedRun(database, gate: "there-5000")
        // DETACH waits for the lock of a running batch, so a partition cannot disappear within a batch.
        try await Self.atGate(of: database) {
            try await database.run("ALTER TABLE mcp_sessions DETACH PARTITION there")
        }
        let kept = try await database.count(in: "there")
        let report = try await ran
        #expect(report.outcome == .succeeded && report.progress.rowsSkipped == 0, "\(report)")
        #expect(try await database.count() == 0)
        #expect(try await database.count(in: "there") == kept && kept > 0)
    }

    /// The part of a part stays one, and yet is no part of the table any more.
    @Test(.slow) func aPartUnderOneThatIsDetachedDuringTheRunIsLeftAlone() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.partitions
                + """
                DROP TABLE there;
                CREATE TABLE middle PARTITION OF mcp_sessions FOR VALUES IN ('there') PARTITION BY LIST (user_id);
                CREATE TABLE there PARTITION OF middle FOR VALUES IN ('there');
                """ + Self.rows(Self.due) + Self.rows(Self.due, user: "there"))
        async let ran = Self.gatedRun(database, gate: "there-5000")
        try await Self.atGate(of: database) {
            try await database.run("ALTER TABLE mcp_sessions DETACH PARTITION middle")
        }
        let kept = try await database.count(in: "there")
        let report = try await ran
        #expect(report.outcome == .succeeded && report.progress.rowsSkipped == 0, "\(report)")
        #expect(try await database.count() == 0)
        // The batch that was under way may delete its rows.
        #expect(try await database.count(in: "there") >= kept - 500 && kept > 1000)
    }

    /// As when old partitions are dropped by a program of their own.
    @Test func aPartThatIsDroppedDuringTheRunIsAPassingCause() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.partitions + Self.rows(Self.due) + Self.rows(300, user: "there"))
        let report = try await Self.run(database, change: "DROP TABLE there")
        #expect(report.failure == .partDropped(.sessions) && report.failure?.mayPass == true, "\(report)")
        #expect(await Self.run(database).outcome == .succeeded)
        #expect(try await database.count() == 0)
    }

    // MARK: Locks

    /// A lock on a partition is no row lock: no batch is halved, whether it names the partition or the parent.
    @Test(arguments: [true, false])
    func aLockedPartFailsTheRunAndSkipsNoRow(hasPrivilegesOnParts: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.partitions + Self.rows(50) + Self.rows(50, user: "there"))
        let role = try await database.makeServiceRole()
        if hasPrivilegesOnParts { try await database.run("GRANT SELECT, UPDATE, DELETE ON here, there TO \(role)") }
        let holder = try await OtherTransaction(in: database, "LOCK TABLE there IN SHARE MODE")
        let report = await Self.run(database, as: role)
        try await holder.rollBack()
        #expect(report.failure?.sqlState == "55P03" && report.failure?.mayPass == true, "\(report)")
        #expect(report.progress.rowsSkipped == 0 && report.progress.rowsRefused == 0, "\(report)")
        #expect(try await database.count() == (hasPrivilegesOnParts ? 50 : 100))
    }

    /// Each row's deletion would wait for the lock on the children's table.
    @Test func aLockedTableOfChildrenKeepsItsSessionsOnly() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.rows(80)
                + """
                CREATE TABLE child (session_id TEXT REFERENCES mcp_sessions (session_id) ON DELETE CASCADE);
                INSERT INTO child SELECT session_id FROM mcp_sessions;
                """)
        let holder = try await OtherTransaction(in: database, "LOCK TABLE child IN ACCESS EXCLUSIVE MODE")
        let report = await Self.run(database)
        try await holder.rollBack()
        #expect(report.outcome == .succeeded && report.progress.rowsSkipped == 80, "\(report)")
        #expect(try await database.count() == 80)
    }

    /// Between long series of locked rows at both ends, the other rows are deleted.
    @Test(.slow) func manyLockedRowsAtBothEndsDoNotBlockTheOthers() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.rows(2400)
                + """
                CREATE TABLE child (session_id TEXT REFERENCES mcp_sessions (session_id) ON DELETE CASCADE, n INTEGER);
                CREATE INDEX ON child (session_id);
                INSERT INTO child SELECT 'here-' || n, n FROM generate_series(1, 2400) AS n;
                """)
        let holder = try await OtherTransaction(
            in: database, "SELECT FROM child WHERE n NOT BETWEEN 1101 AND 1300 FOR UPDATE")
        let report = await Self.run(database)
        try await holder.rollBack()
        #expect(report.outcome == .succeeded, "\(report)")
        #expect(report.progress.rowsDeleted == 200 && report.progress.rowsSkipped == 2200, "\(report)")
    }

    // MARK: Rows that triggers and keys change

    private static func trigger(_ event: String, _ body: String) -> String {
        """
        CREATE FUNCTION shape() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \(body) END $$;
        CREATE TRIGGER shape \(event) ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION shape();
        """
    }

    /// A BEFORE trigger that changes another session makes the server refuse (27000) a batch that contains both rows,
    /// but no row alone. That is no guard against mass deletes, so batches grow again.
    @Test(arguments: ["DELETE FROM mcp_sessions", "UPDATE mcp_sessions SET expires_at = 'infinity'"])
    func aTriggerThatChangesOtherSessionsIsMetByBatchesWithoutThem(change: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let pair = "session_id = 'here-' || (substr(OLD.session_id, 6)::int + 1)"
        try await database.run(
            Self.rows(600)
                + Self.trigger(
                    "BEFORE DELETE",
                    "IF substr(OLD.session_id, 6)::int BETWEEN 1 AND 40 THEN \(change) WHERE \(pair); END IF; RETURN OLD;"
                ))
        let ran = await ShapeRun(database, limits: .test, as: "postgres")
        let report = ran.report
        #expect(report.outcome == .succeeded && report.progress.rowsRefused == 0, "\(report)")
        #expect(report.progress.rowsSkipped == 0, "\(report)")
        #expect(try await database.count("expires_at < now()") == 0)
        #expect(ran.largest >= 8, "\(report)")
    }

    /// Sessions that refer to sessions can go once those that refer to them have gone, one after the other.
    @Test func aChainOfSessionsGoesFromItsEnd() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.rows(400)
                + """
                ALTER TABLE mcp_sessions ADD parent TEXT REFERENCES mcp_sessions (session_id);
                CREATE INDEX ON mcp_sessions (parent);
                UPDATE mcp_sessions SET parent = 'here-' || (substr(session_id, 6)::int - 1) WHERE session_id <> 'here-1';
                """)
        let report = await Self.run(database, limits: RunLimits(maxClockSkew: .seconds(300), batchRows: 7))
        #expect(report.outcome == .succeeded && report.progress.rowsDeleted == 400, "\(report)")
    }

    /// Rows that a trigger keeps fill whole pages, and batches have room for a page's rows at most.
    @Test(.slow) func pagesOfKeptRowsDoNotStopTheWalk() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.rows(21_000)
                + Self.trigger(
                    "BEFORE DELETE",
                    "IF substr(OLD.session_id, 6)::int BETWEEN 9001 AND 9500 THEN RETURN NULL; END IF; RETURN OLD;"))
        let report = await Self.run(database, limits: RunLimits(maxClockSkew: .seconds(300), batchRows: 64))
        #expect(report.progress.rowsDeleted == 20_500 && report.progress.rowsRefused == 500, "\(report)")
        #expect(report.failure?.kind == .refused, "\(report)")
    }

    /// One pass over pages cannot stop at a number of rows; the last pages have ten times as many due rows as those before.
    @Test func noBatchTakesMoreThanItMayThoughItsPagesHaveMore() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n, repeat('u', 500), 'x', 'sse', 'x', now() + CASE WHEN n > 60000 OR n % 10 = 0 THEN -1 ELSE 1 END * interval '1 day'
              FROM generate_series(1, 80000) AS n;
            CREATE TABLE batches (rows bigint);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO batches SELECT count(*) FROM gone; RETURN NULL; END $$;
            CREATE TRIGGER note AFTER DELETE ON mcp_sessions REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION note();
            """)
        let report = await Self.run(database, limits: RunLimits(maxClockSkew: .seconds(300), batchRows: 400))
        #expect(report.outcome == .succeeded && report.progress.rowsDeleted == 26_000, "\(report)")
        #expect(try await database.value("SELECT max(rows) <= 400 AND sum(rows) = 26000 FROM batches") == "true")
    }

    /// A batch does not wait for a lock on the run's row: the process asks whose run it is, and repeats the batch.
    @Test func aLockOnTheRunsRowDelaysTheRunAndLosesNothing() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs") + Self.rows(Self.due))
        async let ran = Self.gatedRun(database)
        let holder = try await Self.atGate(of: database) {
            try await OtherTransaction(in: database, "SELECT FROM mcp_cleanup.runs FOR UPDATE")
        }
        try await eventually("the run asks whose it is") { try await Self.isLockAwaited(in: database) }
        try await holder.rollBack()
        let report = try await ran
        #expect(report.outcome == .succeeded && report.progress.rowsDeleted == Self.due, "\(report)")
        #expect(try await database.count() == 0)
        #expect(try await database.value("SELECT sum(rows_deleted) FROM mcp_cleanup.runs") == "\(Self.due)")
    }

    /// The last check finds row security off, and must leave no transaction open: closing the run would fail in it.
    @Test func rowSecurityThatIsSwitchedOffDuringTheRunLeavesItsEndAlone() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        try await database.run(
            SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs") + Self.rows(Self.due) + """
                CREATE POLICY cleaner ON mcp_sessions USING (true);
                ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY;
                GRANT USAGE ON SCHEMA mcp_cleanup TO \(role);
                GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO \(role);
                """)
        let report = try await Self.run(
            database, as: role, change: "ALTER TABLE mcp_sessions DISABLE ROW LEVEL SECURITY")
        #expect(report.outcome == .succeeded, "\(report)")
        #expect(try await database.value("SELECT status FROM mcp_cleanup.runs") == "succeeded")
    }

    // MARK: Limits

    private static var hasNewest: Bool {
        let path = ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_NEWEST_POSTGRES"]
        return path.map { FileManager.default.isExecutableFile(atPath: $0 + "/postgres") } ?? false
    }

    /// A `transaction_timeout` of the role, the database or the server would end the connection, not the statement.
    @Test(.enabled(if: hasNewest, "the newest PostgreSQL is not installed; scripts/install-tools check fetches it"))
    func aLimitOfTransactionsDoesNotEndTheRun() async throws {
        let server = try #require(try await PostgresServer.newest())
        let database = try await SessionsDatabase(on: server)
        try await database.run(
            Self.rows(6) + Self.trigger("AFTER DELETE", "PERFORM pg_sleep(0.3); RETURN NULL;")
                + "ALTER DATABASE \(database.name) SET transaction_timeout = '100ms'")
        let report = await Self.run(database)
        #expect(report.outcome == .succeeded && report.progress.rowsDeleted == 6, "\(report)")
    }
}

/// A run of a job in this process, the transient one unless given.
struct ShapeRun: Sendable {
    let report: RunReport
    /// The rows that its largest batch deleted.
    let largest: Int

    init(_ database: SessionsDatabase, limits: RunLimits, as user: String, job: Job = .transientSessions) async {
        let largest = Locked(0)
        var series = RunSeries(database.access(as: user))
        let run = CleanupRun(
            job: job, table: SessionTable(name: .sessions, schema: .auto), limits: limits, hostClock: { .hostNow },
            onBatch: { _, rows in largest.withLock { $0 = max($0, rows) } })
        report = await series.execute(run, RunRequest(scheduledAt: .hostNow, origin: .once))
        await series.end()
        self.largest = largest.withLock(\.self)
    }
}
