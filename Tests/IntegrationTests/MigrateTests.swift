import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing

/// `migrate`: the history, the grants, the partial indexes; by the command, and by psql.
@Suite(.inTurn) struct MigrateTests {
    /// The service's role before any grant.
    private static func makeRole(in database: SessionsDatabase) async throws -> String {
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await database.run("CREATE ROLE \(role) LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC")
        return role
    }

    private static func psql(_ sql: String, _ database: SessionsDatabase) async throws -> CommandResult {
        try await Command.run(
            database.server.binaries + "/psql", ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", database.url],
            input: sql)
    }

    private static func indexes(of database: SessionsDatabase) async throws -> [String] {
        try await database.run(
            """
            SELECT c.relname || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END AS index
              FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
             WHERE c.relname LIKE '%cleanup%' AND c.relname NOT LIKE 'runs%' ORDER BY 1
            """
        ).rows.map { try $0.text("index") }
    }

    private static let both = ["idx_mcp_sessions_cleanup_dormant", "idx_mcp_sessions_cleanup_transient"]
    private static let required = ["MCP_CLEANUP_HISTORY_MODE": "required"]

    @Test func aRoleThatWasGrantedItCanWorkAndNoMore() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let role = try await Self.makeRole(in: database)
        for _ in 0..<2 {
            let result = try await database.daemon(["migrate", "--sessions", "--role", role])
            #expect(result.status == 0, "\(result.error)")
            #expect(!result.error.contains("warning"), "\(result.error)")
        }
        try await database.run(PrivilegeTests.population)
        let url = database.server.url(database.name, user: role)
        let run = try await database.daemon(["--once", "--json"], url: url, environment: Self.required)
        #expect(run.status == 0, "\(run.error)")
        #expect(run.output.matches(of: /"rows_deleted":2,/).count == 2, "\(run.output)")
        #expect(run.output.matches(of: /"run_id":[12],/).count == 2, "\(run.output)")
        let grants = try await database.value(
            """
            SELECT string_agg(table_name || ' ' || privilege_type, ', ' ORDER BY 1)
              FROM (SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type) AS privilege_type
                      FROM information_schema.role_table_grants WHERE grantee = '\(role)' GROUP BY 1) AS g
            """)
        #expect(
            grants
                == "mcp_sessions DELETE SELECT UPDATE, removed DELETE INSERT SELECT, runs DELETE INSERT SELECT UPDATE")
    }

    @Test func whatItsOwnerMayNotGrantIsSaidWithTheStatement() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let (owner, role) = (try await Self.makeRole(in: database), try await Self.makeRole(in: database))
        try await database.run("GRANT CREATE ON DATABASE \(database.name) TO \(owner)")
        let url = database.server.url(database.name, user: owner)
        let result = try await database.daemon(["migrate", "--role", role], url: url)
        #expect(result.status == 0, "\(result.error)")
        #expect(result.error.contains("The role cannot work yet"), "\(result.error)")
        #expect(result.error.contains(#"GRANT USAGE ON SCHEMA "public" TO "\#(role)";"#), "\(result.error)")
        #expect(
            try await database.value("SELECT has_table_privilege('\(role)', 'mcp_cleanup.runs', 'INSERT')") == "true")
        let later = try await database.daemon(
            ["migrate", "--role", role],
            environment: [
                "MCP_CLEANUP_DATABASE_TABLE": "public.another"
            ])
        #expect(later.status == 0)
        #expect(later.error.contains("public.another does not exist"), "\(later.error)")
    }

    @Test func aRoleThatDoesNotExistChangesNothing() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let result = try await database.daemon(["migrate", "--role", "unknown\"; DROP TABLE mcp_sessions; --"])
        #expect(result.status == 78, "\(result)")
        #expect(result.error.contains("42704"), "\(result.error)")
        #expect(try await database.value("SELECT to_regclass('mcp_cleanup.runs')") == nil)
        #expect(try await database.count() == 0)
    }

    @Test(arguments: [
        (
            "an older one",
            "CREATE TABLE mcp_cleanup.runs (run_id bigint PRIMARY KEY, job text, started_at timestamptz);",
            "has no column scheduled_at"
        ),
        (
            "one with a time without a zone",
            "\((try? SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs")) ?? "?");"
                + "ALTER TABLE mcp_cleanup.runs ALTER cutoff TYPE timestamp;", "cutoff of mcp_cleanup.runs is timestamp"
        ),
        ("a foreign one", "CREATE TABLE mcp_cleanup.runs (distance integer, runner text);", "has no column run_id"),
        ("a view", "CREATE VIEW mcp_cleanup.runs AS SELECT 1 AS one;", "has no column run_id"),
        (
            "one whose index means something else",
            "\((try? SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs")) ?? "?");"
                + "DROP INDEX mcp_cleanup.runs_job_running_key; CREATE INDEX runs_job_running_key ON mcp_cleanup.runs (job);",
            "no unique index on (job) WHERE"
        ),
    ])
    func aHistoryOfAnotherShapeIsRefused(what: String, sql: String, words: String) async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        try await database.run("CREATE SCHEMA mcp_cleanup; \(sql)")
        let result = try await database.daemon(["migrate", "--sessions"])
        #expect(result.status == 78, "\(what): \(result)")
        #expect(result.error.contains(words), "\(what): \(result.error)")
        #expect(result.error.contains("rename the table"), "\(result.error)")
        #expect(try await database.value("SELECT to_regclass('public.mcp_sessions')") == nil)
    }

    @Test func theSuccessorsTableGetsNothingOfTheSeeds() async throws {
        let database = try await SessionsDatabase(on: .packaged(), .status)
        try await database.run(
            "DROP TRIGGER trg_mcp_sessions_updated_at ON mcp_sessions; DROP INDEX idx_mcp_sessions_expires_at")
        let result = try await database.daemon(["migrate", "--sessions"])
        #expect(result.status == 78, "\(result)")
        #expect(result.error.contains("no column active") && result.error.contains("Leave out --sessions"))
        #expect(try await database.value("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == "0")
        #expect(try await database.value("SELECT to_regclass('idx_mcp_sessions_expires_at')") == nil)
        #expect(try await database.value("SELECT to_regclass('mcp_cleanup.runs')") == nil)
        #expect(try await database.daemon(["migrate"]).status == 0)
    }

    @Test func replicasThatMigrateAtOnceAllSucceed() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        try await withThrowingTaskGroup(of: CommandResult.self) { group in
            for _ in 0..<8 { group.addTask { try await database.daemon(["migrate", "--sessions"]) } }
            for try await result in group { #expect(result.status == 0, "\(result.error)") }
        }
    }

    // MARK: Partial indexes

    /// Sessions of which a hundredth may ever be due; of either generation.
    private static func populate(_ database: SessionsDatabase, _ generation: SchemaGeneration) async throws {
        let (column, active, pending) =
            generation == .active ? ("active", "true", "false") : ("status", "'active'", "'pending'")
        let kind = generation == .active ? ", transport_type" : ""
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, callback_url, expires_at, \(column)\(kind))
            SELECT n, 'u', 'x', 'x', now() - interval '1 day', CASE WHEN n % 100 = 0 THEN \(pending) ELSE \(active) END
                   \(kind.isEmpty ? "" : ", 'sse'")
              FROM generate_series(1, 20000) AS n;
            ANALYZE mcp_sessions;
            """)
    }

    @Test(arguments: SchemaGeneration.allCases, [false, true])
    func bothIndexesServeTheirSearches(generation: SchemaGeneration, byPsql: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged(), generation)
        try await Self.populate(database, generation)
        for _ in 0..<2 {
            let arguments = ["migrate", "--indexes"] + (byPsql ? ["--dry-run"] : [])
            let result = try await database.daemon(arguments)
            #expect(result.status == 0, "\(result.error)")
            if byPsql {
                let applied = try await Self.psql(result.output, database)
                #expect(applied.status == 0, "\(applied.error)")
            }
        }
        #expect(try await Self.indexes(of: database) == Self.both)
        let preview = try await database.daemon(["--once", "--dry-run", "--json"])
        for index in Self.both { #expect(preview.output.contains(#""index":"\#(index)"}"#), "\(preview)") }
    }

    @Test func theFileSaysWhatTheCommandDoes() throws {
        let table = SessionTable(name: .sessions, schema: .auto)
        let script = IndexMigration(table, jobs: [.transientSessions, .dormantSessions()]).script(for: .active)
        let file = try SessionsDatabase.migration("20260513040000_add_mcp_cleanup_indexes")
        let header = file.prefix { $0 != "\n" }
        #expect(header.hasPrefix("-- "))
        #expect(file.hasSuffix("\n\n" + script))
        #expect(file.dropLast(script.count).split(separator: "\n").allSatisfy { $0.hasPrefix("--") })
    }

    /// Leaves an invalid index: its build gives up waiting for an older transaction.
    private static func leaveUnfinished(_ database: SessionsDatabase) async throws {
        let older = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN ROW EXCLUSIVE MODE")
        let connection = try await database.server.connect(database.name)
        _ = try await connection.script("SET lock_timeout = 50", deadline: .now + .seconds(10))
        await #expect(throws: PostgresError.self) {
            _ = try await connection.script(
                "CREATE INDEX CONCURRENTLY idx_mcp_sessions_cleanup_dormant ON mcp_sessions (updated_at)",
                deadline: .now + .seconds(20))
        }
        await connection.close()
        try await older.rollBack()
    }

    @Test(arguments: [false, true])
    func anUnfinishedIndexIsBuiltAgain(byPsql: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await Self.leaveUnfinished(database)
        #expect(try await Self.indexes(of: database) == ["idx_mcp_sessions_cleanup_dormant invalid"])
        if byPsql {
            let applied = try await Self.psql(
                SessionsDatabase.migration("20260513040000_add_mcp_cleanup_indexes"), database)
            #expect(applied.status == 0, "\(applied.error)")
        } else {
            let result = try await database.daemon(["migrate", "--indexes"])
            #expect(result.status == 0, "\(result.error)")
            #expect(result.error.contains("Building the index idx_mcp_sessions_cleanup_dormant"), "\(result.error)")
        }
        #expect(try await Self.indexes(of: database) == Self.both)
        let definition = try await database.value(
            "SELECT pg_get_indexdef('idx_mcp_sessions_cleanup_dormant'::regclass)")
        #expect(definition?.contains("WHERE (active = true)") == true)
    }

    @Test func anOlderTransactionIsNotWaitedForForLong() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let older = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN ROW EXCLUSIVE MODE")
        var migration = IndexMigration(SessionTable(name: .sessions, schema: .auto), jobs: [.transientSessions])
        migration.lockLimit = .milliseconds(100)
        let started = ContinuousClock.now
        await #expect(throws: RunFailure.indexBlocked(.sessions, index: Self.both[1])) {
            try await migration.apply(database.access())
        }
        #expect(started.duration(to: .now) < .seconds(10))
        try await older.rollBack()
        #expect(try await migration.apply(database.access()) == [Self.both[1]])
        #expect(try await migration.apply(database.access()) == [])
        #expect(try await Self.indexes(of: database) == [Self.both[1]])
    }

    /// The signal comes while the index build waits for an older transaction.
    @Test func aMigrationThatIsStoppedLeavesNoUnfinishedIndex() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let older = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN ROW EXCLUSIVE MODE")
        let command = try RunningCommand(["migrate", "--indexes"], url: database.url)
        try await eventually("the index is being built") {
            try await Self.indexes(of: database) == ["\(Self.both[1]) invalid"]
        }
        command.send(SIGINT)
        try await eventually("the build was canceled") {
            try await database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX%'"
            )
                == "0"
        }
        try await older.rollBack()
        let result = await command.end()
        #expect(result.status == 130, "\(result)")
        #expect(try await Self.indexes(of: database) == [])
    }

    @Test func aNameThatSomethingElseHasIsSaid() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run("CREATE TABLE other (a int); CREATE INDEX idx_mcp_sessions_cleanup_dormant ON other (a)")
        let result = try await database.daemon(["migrate", "--indexes"])
        #expect(result.status == 78, "\(result)")
        #expect(result.error.contains("idx_mcp_sessions_cleanup_dormant") && result.error.contains("Rename"))
    }

    @Test func aPartitionedTableIsRefusedAndItsPartitionsAreNot() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            ALTER TABLE mcp_sessions RENAME TO seed;
            CREATE TABLE mcp_sessions (LIKE seed INCLUDING DEFAULTS) PARTITION BY HASH (id);
            CREATE TABLE "Leaf one" PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 1, REMAINDER 0);
            """)
        for arguments in [["migrate", "--indexes"], ["migrate", "--indexes", "--dry-run"]] {
            let result = try await database.daemon(arguments)
            #expect(result.status == 78, "\(result)")
            #expect(result.error.contains("partitioned") && result.error.contains("each partition in turn"))
        }
        let leaf = try await database.daemon(
            ["migrate", "--indexes"], environment: ["MCP_CLEANUP_DATABASE_TABLE": #"public."Leaf one""#])
        #expect(leaf.status == 0, "\(leaf.error)")
        try await Self.populate(database, .active)
        let preview = try await database.daemon(["--once", "--dry-run", "--json", "--job", "transient"])
        #expect(preview.output.contains(#""index":"idx_Leaf one_cleanup_transient"}"#), "\(preview)")
    }

    @Test func indexesAreTheOwnersToBuild() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        #expect(try await database.daemon(["migrate"]).status == 0)
        let role = try await database.makeServiceRole()
        let migration = IndexMigration(SessionTable(name: .sessions, schema: .auto), jobs: [.transientSessions])
        await #expect { try await migration.apply(database.access(as: role)) } throws: { error in
            (error as? RunFailure)?.kind == .refused
        }
    }

    @Test func allOfItWorksThroughAPooler() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let role = try await Self.makeRole(in: database)
        let pooler = try await PgBouncer(for: database.server)
        defer { withExtendedLifetime(pooler) {} }
        let url = pooler.url(database.name)
        for _ in 0..<2 {
            let result = try await database.daemon(["migrate", "--sessions", "--indexes", "--role", role], url: url)
            #expect(result.status == 0, "\(result.error)")
        }
        #expect(try await Self.indexes(of: database) == Self.both)
        // The next client finds no setting of ours on the pool's only server connection.
        let next = try await Connection.open(
            DatabaseURL(url), deadline: .now + .seconds(10), environment: [:], onNotice: { _ in })
        let setting = try await next.script("SHOW lock_timeout", deadline: .now + .seconds(10))[0].onlyRow()
        #expect(try setting.text("lock_timeout") == "0")
        await next.close()
    }

    // MARK: The dry run

    @Test func aDryRunWithoutADatabasePrintsTheFilesAndRunsNothing() async throws {
        let result = try await Command.run(
            Command.daemon, ["migrate", "--sessions", "--indexes", "--role", "me", "--dry-run"], environment: [:])
        #expect(result.status == 0, "\(result.error)")
        let sessions = try SessionsDatabase.migration("20260513010000_install_mcp_sessions")
        let runs = try SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs")
        let removed = try SessionsDatabase.migration("20260513050000_install_mcp_cleanup_removed")
        #expect(
            result.output.hasPrefix(
                [sessions, runs, removed, "GRANT USAGE ON SCHEMA mcp_cleanup TO \"me\";"].joined(separator: "\n")))
        #expect(result.output.contains("CREATE INDEX CONCURRENTLY"))
        let unknown = try await Command.run(Command.daemon, ["migrate", "--indexes", "--dry-run"], environment: [:])
        #expect(unknown.status == 78, "\(unknown)")
    }

    @Test func whatADryRunPrintsRunsUnderPsql() async throws {
        let database = try await SessionsDatabase(on: .packaged(), nil)
        let role = try await Self.makeRole(in: database)
        let all = ["migrate", "--sessions", "--indexes", "--role", role]
        let printed = try await database.daemon(all + ["--dry-run"])
        #expect(try await database.value("SELECT to_regclass('public.mcp_sessions')") == nil)
        for _ in 0..<2 {
            let applied = try await Self.psql(printed.output, database)
            #expect(applied.status == 0, "\(applied.error)")
        }
        #expect(try await Self.indexes(of: database) == Self.both)
        let url = database.server.url(database.name, user: role)
        #expect(try await database.daemon(["--once"], url: url, environment: Self.required).status == 0)
        // After psql has run the files, the command has nothing left to do.
        let again = try await database.daemon(all)
        #expect(again.status == 0 && !again.error.contains("Building"), "\(again.error)")
    }

    @Test(arguments: ["public", "PUBLIC", "Public"])
    func everyRoleIsNotARole(name: String) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let result = try await database.daemon(["migrate", "--role", name])
        #expect(result.status == 64 && result.error.contains("every role"), "\(result)")
        #expect(try await database.value("SELECT to_regclass('mcp_cleanup.runs') IS NULL") == "true")
    }

    @Test func throughAPoolerTheDirectURLIsRecommended() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let pooler = try await PgBouncer(for: database.server)
        defer { withExtendedLifetime(pooler) {} }
        let pooled = try await database.daemon(["migrate"], url: pooler.url(database.name))
        #expect(pooled.status == 0 && pooled.error.contains("the server's own URL"), "\(pooled)")
        let direct = try await database.daemon(["migrate"])
        #expect(direct.status == 0 && !direct.error.contains("pooler"), "\(direct)")
    }
}
