import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// Databases as applications have them: children, triggers, partitions, rows that cannot be deleted.
@Suite(.inTurn) struct RealShapesTests {
    /// The report of a run, and the cost and the deleted rows of each of its batches.
    struct Ran {
        struct Batch: Sendable {
            let cost: Duration
            let rows: Int
        }

        let report: RunReport
        let batches: [Batch]

        var progress: RunProgress { report.progress }
        /// The third longest cost: a busy machine may prolong two batches.
        var thirdLongest: Duration { batches.map(\.cost).sorted(by: >).dropFirst(2).first ?? .zero }
        /// The rows of the largest batch. A busy machine makes batches smaller.
        var largest: Int { batches.map(\.rows).max() ?? 0 }
    }

    private static func due(_ count: Int, named prefix: String = "due") -> String {
        """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
        SELECT '\(prefix)-' || n, 'u', 'x', 'sse', 'x', now() - interval '1 hour', false FROM generate_series(1, \(count)) AS n;
        """
    }

    private static func database(due count: Int, _ sql: String = "") async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(due(count) + sql)
        return database
    }

    private static func run(
        _ database: SessionsDatabase, limits: RunLimits = RunLimits(maxClockSkew: .seconds(300), batchRows: 10_000),
        as user: String = "postgres", job: Job = .transientSessions, request: RunRequest? = nil
    ) async -> Ran {
        let batches = Locked<[Ran.Batch]>([])
        var series = RunSeries(database.access(as: user))
        let run = CleanupRun(
            job: job, table: SessionTable(name: .sessions, schema: .auto), limits: limits, hostClock: { .hostNow },
            onBatch: { cost, rows in batches.withLock { $0.append(Ran.Batch(cost: cost, rows: rows)) } })
        let report = await series.execute(run, request ?? RunRequest(scheduledAt: .hostNow, origin: .once))
        await series.end()
        return Ran(report: report, batches: batches.withLock(\.self))
    }

    // MARK: Cost

    /// A cascade runs after the statement, and a deferred trigger at COMMIT: both count.
    @Test func aCascadeWithoutAnIndexIsDeletedInBatchesThatStayShort() async throws {
        let database = try await Self.database(
            due: 200,
            """
            CREATE TABLE tool_calls (session_id TEXT REFERENCES mcp_sessions (session_id) ON DELETE CASCADE, t TEXT);
            INSERT INTO tool_calls SELECT 'due-' || (n % 200 + 1), 'x' FROM generate_series(1, 100000) AS n;
            """)
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 200, "\(ran.report)")
        #expect(try await database.count(in: "tool_calls") == 0)
        #expect(ran.thirdLongest < .milliseconds(400) && ran.largest <= 50, "\(ran.batches)")
    }

    @Test(arguments: [
        "AFTER DELETE ON mcp_sessions FOR EACH ROW", "BEFORE DELETE ON mcp_sessions FOR EACH ROW",
        "CONSTRAINT AFTER DELETE ON mcp_sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
    ])
    func aSlowRowTriggerIsMetByFewRowsAtATime(event: String) async throws {
        let isConstraint = event.hasPrefix("CONSTRAINT")
        let timing = isConstraint ? String(event.dropFirst("CONSTRAINT ".count)) : event
        let database = try await Self.database(
            due: 30,
            """
            CREATE FUNCTION linger() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END';
            CREATE \(isConstraint ? "CONSTRAINT " : "")TRIGGER linger \(timing) EXECUTE FUNCTION linger();
            """)
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 30, "\(ran.report)")
        #expect(ran.largest <= 8, "\(ran.batches)")
    }

    /// A constant cost of each batch must not drive the batches down to single rows.
    @Test(arguments: [0.01, 0.2]) func aSlowStatementTriggerIsSharedByManyRows(seconds: Double) async throws {
        let database = try await Self.database(
            due: 1000,
            """
            CREATE FUNCTION linger() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(\(seconds)); RETURN NULL; END';
            CREATE TRIGGER linger BEFORE DELETE ON mcp_sessions FOR EACH STATEMENT EXECUTE FUNCTION linger();
            """)
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 1000, "\(ran.report)")
        #expect(ran.largest >= 50, "\(ran.batches)")
    }

    @Test(arguments: [true, false])
    func manyPartitionsAreNoManyBatches(hasPrivilegesOnParts: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        try await database.run(
            """
            CREATE TABLE mcp_sessions (session_id TEXT, active BOOLEAN, expires_at TIMESTAMPTZ, updated_at TIMESTAMPTZ)
                PARTITION BY HASH (session_id)
            """)
        for number in 0..<64 {
            try await database.run(
                "CREATE TABLE part_\(number) PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 64, REMAINDER \(number))"
            )
        }
        try await database.run(
            "INSERT INTO mcp_sessions SELECT 'due-' || n, false, now() - interval '1 hour', now() FROM generate_series(1, 2000) AS n"
        )
        let role = try await database.makeServiceRole()
        if hasPrivilegesOnParts {
            for number in 0..<64 { try await database.run("GRANT SELECT, UPDATE, DELETE ON part_\(number) TO \(role)") }
        }
        let ran = await Self.run(database, as: role)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 2000, "\(ran.report)")
        // With privileges on the parts a batch takes rows of one part, which has some 30.
        #expect(ran.largest >= 16, "\(ran.batches)")
    }

    /// Batches of cheap rows must not hold their locks for long when they meet expensive ones.
    @Test func rowsThatBecomeExpensiveAreMetByShortBatches() async throws {
        let database = try await Self.database(
            due: 600,
            """
            CREATE TABLE slept (batch xid8 DEFAULT pg_current_xact_id());
            CREATE FUNCTION linger() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                IF substr(OLD.session_id, 5)::int > 580 THEN
                    PERFORM pg_sleep(0.05);
                    INSERT INTO slept DEFAULT VALUES;
                END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER linger AFTER DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION linger();
            """)
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 600, "\(ran.report)")
        #expect(
            try await database.value(
                "SELECT max(rows) <= 8 FROM (SELECT count(*) AS rows FROM slept GROUP BY batch) AS batches") == "true")
    }

    // MARK: Locks

    @Test func aLockedChildKeepsItsSessionOnly() async throws {
        let database = try await Self.database(
            due: 500,
            """
            CREATE TABLE child (session_id TEXT REFERENCES mcp_sessions (session_id) ON DELETE CASCADE, note TEXT);
            CREATE INDEX ON child (session_id);
            INSERT INTO child SELECT 'due-' || n, '' FROM generate_series(1, 500) AS n;
            """)
        let holder = try await OtherTransaction(
            in: database, "UPDATE child SET note = 'busy' WHERE session_id = 'due-100'")
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded, "\(ran.report)")
        #expect(ran.progress.rowsDeleted == 499 && ran.progress.rowsSkipped == 1, "\(ran.progress)")
        #expect(try await database.sessions() == ["due-100"])
        #expect(ran.thirdLongest < .milliseconds(400), "\(ran.batches)")
        // The application is no deadlock's victim: it can lock the session, too.
        try await holder.run("UPDATE mcp_sessions SET client_id = 'x' WHERE session_id = 'due-100'")
        try await holder.rollBack()
    }

    @Test func manyLockedChildrenKeepTheirSessionsOnly() async throws {
        let database = try await Self.database(
            due: 3000,
            """
            CREATE TABLE child (session_id TEXT REFERENCES mcp_sessions (session_id) ON DELETE SET NULL);
            CREATE INDEX ON child (session_id);
            INSERT INTO child SELECT 'due-' || n FROM generate_series(1, 3000) AS n;
            """)
        let holder = try await OtherTransaction(
            in: database, "SELECT FROM child WHERE substr(session_id, 5)::int % 50 = 0 FOR UPDATE")
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded, "\(ran.report)")
        #expect(ran.progress.rowsDeleted == 2940 && ran.progress.rowsSkipped == 60, "\(ran.progress)")
        try await holder.rollBack()
    }

    // MARK: Refused rows

    static let refusals = [
        """
        CREATE TABLE child (session_id TEXT CONSTRAINT keeps_it REFERENCES mcp_sessions (session_id));
        INSERT INTO child SELECT session_id FROM mcp_sessions WHERE session_id LIKE 'bad-%';
        """,
        """
        CREATE FUNCTION keeps_it() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN IF OLD.session_id LIKE 'bad-%' THEN RAISE EXCEPTION 'token=SECRET'; END IF; RETURN OLD; END $$;
        CREATE TRIGGER keeps_it BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION keeps_it();
        """,
        """
        CREATE FUNCTION keeps_it() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN IF OLD.session_id LIKE 'bad-%' THEN RETURN NULL; END IF; RETURN OLD; END $$;
        CREATE TRIGGER keeps_it BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION keeps_it();
        """,
        """
        CREATE FUNCTION keeps_it() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN IF OLD.session_id LIKE 'bad-%' THEN RAISE query_canceled; END IF; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER keeps_it AFTER DELETE ON mcp_sessions DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION keeps_it();
        """,
    ]

    @Test(arguments: refusals.indices)
    func aRefusedRowIsIsolatedCountedAndNamed(index: Int) async throws {
        let database = try await Self.database(
            due: 1500, Self.due(3, named: "bad") + Self.due(1500, named: "more") + Self.refusals[index])
        let ran = await Self.run(database)
        #expect(ran.progress.rowsDeleted == 3000 && ran.progress.rowsRefused == 3, "\(ran.progress)")
        #expect(try await database.sessions() == ["bad-1", "bad-2", "bad-3"])
        guard case .rowsRefused(_, count: 3, _, hasGivenUp: false)? = ran.report.failure else {
            Issue.record("\(ran.report)")
            return
        }
        let text = "\(ran.report.failure.map { "\($0)" } ?? "") \(ran.report.failure?.hint ?? "")"
        #expect(!text.contains("SECRET"))
        #expect(index % 2 == 1 || text.contains("keeps_it"), "\(text)")
        #expect(ran.report.failure?.kind == .refused && ran.report.failure?.mayPass == false)
    }

    /// In the order of age, rows that are refused must not keep the job from the younger ones.
    @Test func manyRefusedRowsAtTheOldEndDoNotBlockTheOthers() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            Self.due(1200, named: "bad") + "UPDATE mcp_sessions SET expires_at = now() - interval '2 days';"
                + Self.due(2000) + Self.refusals[1])
        let ran = await Self.run(database)
        #expect(ran.progress.rowsDeleted == 2000, "\(ran.report)")
        #expect(try await database.count("session_id NOT LIKE 'bad-%'") == 0)
        #expect(ran.report.failure?.kind == .refused, "\(ran.report)")
        #expect(ran.progress.rowsRefused >= 1000, "\(ran.progress)")
    }

    @Test func aTableWhoseEveryRowIsRefusedEndsTheRunAndSaysSo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due(3500, named: "bad") + Self.refusals[1])
        let ran = await Self.run(database)
        guard case .rowsRefused(_, let count, _, hasGivenUp: true)? = ran.report.failure else {
            Issue.record("\(ran.report)")
            return
        }
        #expect((2900..<3500).contains(count) && ran.progress.rowsDeleted == 0, "\(count)")
        #expect(try await database.count() == 3500)
    }

    /// No row is to blame for the error of a statement trigger that raises for every DELETE.
    @Test func aStatementTriggerThatAlwaysRaisesFailsTheRun() async throws {
        let database = try await Self.database(
            due: 5,
            """
            CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON mcp_sessions FOR EACH STATEMENT EXECUTE FUNCTION refuse();
            """)
        let ran = await Self.run(database)
        #expect(ran.report.failure?.sqlState == "P0001" && ran.progress.rowsRefused == 0, "\(ran.report)")
        #expect(try await database.count() == 5)
    }

    @Test func aGuardAgainstMassDeletesLetsSmallerBatchesPass() async throws {
        let database = try await Self.database(
            due: 300,
            """
            CREATE FUNCTION guard() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT count(*) FROM gone) > 20 THEN RAISE EXCEPTION 'too many at once'; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER guard AFTER DELETE ON mcp_sessions REFERENCING OLD TABLE AS gone
                FOR EACH STATEMENT EXECUTE FUNCTION guard();
            """)
        let ran = await Self.run(database)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 300, "\(ran.report)")
        // Batches do not stay small after the first refusal.
        #expect(ran.batches.suffix(10).contains { $0.rows >= 8 }, "\(ran.batches)")
    }

    // MARK: Rows that move

    @Test(arguments: [
        "VACUUM FULL mcp_sessions", "CLUSTER mcp_sessions USING mcp_sessions_pkey",
        "ALTER TABLE mcp_sessions ALTER COLUMN callback_url TYPE VARCHAR",
        "UPDATE mcp_sessions SET client_id = 'moved' WHERE session_id LIKE '%7'",
    ])
    func noDueRowIsLeftWhenRowsMoveDuringTheRun(sql: String) async throws {
        let database = try await Self.database(due: 30_000)
        let limits = RunLimits(maxClockSkew: .seconds(300), batchRows: 500, batchPause: .milliseconds(5))
        async let ran = Self.run(database, limits: limits)
        try await eventually("the run is under way") { try await database.count() < 29_000 }
        try await database.run(sql)
        let result = await ran
        let left = try await database.count()
        if result.report.outcome == .succeeded {
            #expect(left <= result.progress.rowsSkipped, "\(result.report)")
        } else {
            // A rewrite holds ACCESS EXCLUSIVE for longer than a batch waits.
            #expect(result.report.failure?.sqlState == "55P03", "\(result.report)")
        }
    }

    // MARK: Settings

    /// A pooler gives the server connection to other clients: no setting of ours may stay on it.
    @Test func noSettingStaysOnAPoolersConnection() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due(500) + Self.due(2, named: "bad") + Self.refusals[1])
        let pooler = try await PgBouncer(for: .packaged())
        let settings = """
            SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
             WHERE name IN ('search_path', 'statement_timeout', 'lock_timeout', 'row_security', 'synchronous_commit',
                 'idle_in_transaction_session_timeout', 'transaction_isolation', 'default_transaction_read_only')
            """
        let client = try await Connection.open(
            DatabaseURL(pooler.url(database.name)), deadline: .now + .seconds(10), environment: [:], onNotice: { _ in })
        func seen() async throws -> String? {
            try await client.script(settings, deadline: .now + .seconds(10))[0].onlyRow().textIfPresent("string_agg")
        }
        let before = try await seen()
        let result = try await database.daemon(["--once", "--json"], url: pooler.url(database.name))
        #expect(result.status == 77, "\(result)")
        #expect(try await seen() == before)
        await client.close()
    }

    /// Without history the rows of a run's earlier attempts count toward `max-rows`.
    @Test func maxRowsBoundsTheRunAndNotTheAttempt() async throws {
        let database = try await Self.database(due: 50)
        var job = Job.transientSessions
        job.maxRows = 30
        let request = RunRequest(scheduledAt: .hostNow, origin: .schedule, rowsDeletedBefore: 25)
        let ran = await Self.run(database, job: job, request: request)
        #expect(ran.report.outcome == .capped && ran.progress.rowsDeleted == 5, "\(ran.report)")
        #expect(try await database.count() == 45)
    }

    @Test func aShareAdmitsExactlyAsManyRowsAsItSays() async throws {
        let database = try await Self.database(due: 29)
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, active)
            SELECT 'live-' || n, 'u', 'x', 'sse', 'x', now() + interval '1 day', true FROM generate_series(1, 71) AS n
            """)
        var job = Job.transientSessions
        job.maxFraction = 0.29
        let ran = await Self.run(database, job: job)
        #expect(ran.report.outcome == .succeeded && ran.progress.rowsDeleted == 29, "\(ran.report)")
    }
}
