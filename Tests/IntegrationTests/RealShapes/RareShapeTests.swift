import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// Tables and roles that are rare, and whose rows a run could lose, miss or misname.
@Suite(.inTurn) struct RareShapeTests {
    private static func run(
        _ job: Job, _ table: SessionTable = SessionTable(name: .sessions, schema: .auto), limits: RunLimits = .test,
        lease: Duration, in database: SessionsDatabase
    ) async -> RunReport {
        var series = RunSeries(database.access())
        let run = CleanupRun(
            job: job, table: table, limits: limits, history: History(mode: .off, lease: lease), hostClock: { .hostNow })
        let report = await series.execute(run, RunRequest(scheduledAt: .hostNow, origin: .once))
        await series.end()
        return report
    }

    /// The partition is listed in pg_inherits until the DETACH is finished, and no query on the parent sees it.
    @Test(.slow) func aPartWhoseDetachWasCanceledKeepsItsRows() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            ChangingShapeTests.partitions + ChangingShapeTests.rows(21_000)
                + ChangingShapeTests.rows(300, user: "there"))
        let older = try await OtherTransaction(in: database, "SELECT FROM mcp_sessions LIMIT 1")
        let connection = try await database.server.connect(database.name)
        func send(_ sql: String) async throws { _ = try await connection.script(sql, deadline: .now + .seconds(30)) }
        try await send("SET statement_timeout = '300ms'")
        await #expect(throws: PostgresError.self) {
            try await send("ALTER TABLE mcp_sessions DETACH PARTITION there CONCURRENTLY")
        }
        await connection.close()
        try await older.rollBack()
        #expect(try await database.value("SELECT inhdetachpending FROM pg_inherits ORDER BY 1 DESC LIMIT 1") == "true")
        let ran = await ShapeRun(database, limits: .test, as: "postgres")
        #expect(ran.report.outcome == .succeeded && ran.report.progress.rowsDeleted == 21_000, "\(ran.report)")
        #expect(try await database.count(in: "there") == 300)
    }

    /// Each of the 200 rows takes a millisecond to look at, and a transaction may take 100.
    @Test func aRunThatCannotSearchAPageInTimeFails() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE notes (id int, created_at timestamptz);
            INSERT INTO notes SELECT n, now() - interval '1 day' FROM generate_series(1, 200) AS n;
            CREATE FUNCTION slow(int) RETURNS bool STABLE LANGUAGE plpgsql
                AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN true; END $$;
            """)
        var job = Job.own(named: "notes")
        job.rule = Rule(try RowCondition(parsing: "created_at < $1 AND slow(id)"))
        let table = SessionTable(name: TableName(schema: "public", table: "notes"), schema: nil)
        let report = await Self.run(job, table, lease: .milliseconds(300), in: database)
        guard case .database(.timedOut)? = report.failure else {
            Issue.record("\(report)")
            return
        }
        #expect(report.outcome == .timedOut)
        #expect(try await database.count(in: "notes") > 0)
    }

    /// The time limit of a batch may be longer than the server gives a transaction.
    @Test func aRowThatTakesTooLongIsFoundBelowALongTargetToo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            ChangingShapeTests.rows(5)
                + """
                ALTER DATABASE \(database.name) SET deadlock_timeout = '1min';
                CREATE FUNCTION slow() RETURNS TRIGGER LANGUAGE plpgsql AS $$
                BEGIN IF OLD.session_id = 'here-3' THEN PERFORM pg_sleep(30); END IF; RETURN NULL; END $$;
                CREATE TRIGGER slow AFTER DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION slow();
                """)
        let limits = RunLimits(maxClockSkew: .seconds(300), batchTarget: .seconds(10), batchRows: 1000)
        let report = await Self.run(.transientSessions, limits: limits, lease: .seconds(2), in: database)
        guard case .rowsRefused(_, count: 1, .timeLimit, hasGivenUp: false)? = report.failure else {
            Issue.record("\(report)")
            return
        }
        #expect(try await database.sessions() == ["here-3"])
    }

    @Test func aTriggerThatOnlyAPartHasIsNamed() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            ChangingShapeTests.partitions + ChangingShapeTests.rows(3, user: "there")
                + """
                CREATE FUNCTION keep() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
                CREATE TRIGGER keep BEFORE DELETE ON there FOR EACH ROW EXECUTE FUNCTION keep();
                """)
        let failure = await ShapeRun(database, limits: .test, as: "postgres").report.failure
        guard case .rowsRefused(_, count: 3, .trigger(["keep"]), hasGivenUp: false)? = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
        let query = try #require(failure?.hint?.split(separator: ";").first)
        #expect(try await database.value("SELECT tgrelid FROM (\(query)) AS shown") == "there")
    }
}
