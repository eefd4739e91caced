import Postgres
@testable import SessionCleanup
import Testing
import Time

@Suite struct RunFailureTests {
    private static func server(_ sqlState: String, during step: PostgresError.Step = .querying) -> RunFailure {
        .database(.server(ServerMessage(sqlState: SQLState(rawValue: sqlState), text: "no"), during: step))
    }

    /// PostgreSQL manual, appendix A: every class, and the codes that differ from their class.
    @Test(arguments: [
        ("03000", FailureKind.unexpected), ("08000", .mayPass), ("08006", .mayPass), ("08P01", .mayPass),
        ("09000", .refused), ("0A000", .misconfigured), ("0B000", .unexpected), ("0F001", .unexpected),
        ("0L000", .unexpected), ("0P000", .unexpected), ("0Z002", .unexpected), ("20000", .unexpected),
        ("21000", .unexpected), ("22008", .misconfigured), ("22P02", .misconfigured), ("23503", .refused),
        ("23514", .refused), ("24000", .unexpected), ("25006", .mayPass), ("25P02", .mayPass), ("25P03", .mayPass),
        ("25P04", .mayPass), ("26000", .unexpected), ("27000", .refused), ("28000", .refused), ("28P01", .refused),
        ("2BP01", .unexpected), ("2D000", .unexpected), ("2F000", .unexpected), ("34000", .unexpected),
        ("38000", .unexpected), ("39000", .unexpected), ("3B000", .unexpected), ("3D000", .misconfigured),
        ("3F000", .misconfigured), ("40001", .mayPass), ("40P01", .mayPass), ("42501", .refused),
        ("42601", .misconfigured), ("42703", .misconfigured), ("42883", .misconfigured), ("42P01", .misconfigured),
        ("44000", .refused), ("53100", .mayPass), ("53200", .mayPass), ("53300", .mayPass), ("54000", .unexpected),
        ("54001", .unexpected), ("55000", .misconfigured), ("55006", .mayPass), ("55P03", .mayPass),
        ("57000", .mayPass),
        ("57014", .mayPass), ("57P01", .mayPass), ("57P02", .mayPass), ("57P03", .mayPass), ("57P05", .mayPass),
        ("58000", .mayPass), ("58030", .mayPass), ("72000", .mayPass), ("F0000", .unexpected), ("HV000", .unexpected),
        ("P0000", .refused), ("P0001", .refused), ("XX000", .unexpected), ("XX001", .unexpected),
    ])
    func whatFollowsIsDecidedBySQLState(sqlState: String, kind: FailureKind) {
        #expect(Self.server(sqlState).kind == kind)
        #expect(Self.server(sqlState, during: .committing).kind == kind)
        #expect(Self.server(sqlState).sqlState?.rawValue == sqlState)
        #expect(Outcome(Self.server(sqlState)) == .failed)
    }

    @Test(arguments: [
        ("28000", FailureKind.refused), ("28P01", .refused), ("42501", .refused), ("3D000", .misconfigured),
        ("53300", .unreachable), ("57P01", .unreachable), ("57P03", .unreachable), ("08P01", .unreachable),
        ("08006", .unreachable), ("XX000", .unreachable), ("XX001", .unexpected),
    ])
    func aServerThatTakesNobodyCannotBeReached(sqlState: String, kind: FailureKind) {
        #expect(Self.server(sqlState, during: .connecting).kind == kind)
    }

    private static let instant = UTCInstant(secondsSinceEpoch: 0)

    /// Every failure that is no server's error: its kind, its outcome, and words in what it tells the operator.
    @Test(arguments: [
        (
            RunFailure.database(.invalidParameters("bad port")), FailureKind.misconfigured, Outcome.failed,
            ["bad port"], ["URL"]
        ),
        (.database(.unreachable(.unresolved, message: "no host x")), .unreachable, .failed, ["no host x"], ["host"]),
        (.database(.unreachable(.refused, message: "x")), .unreachable, .failed, ["cannot connect"], ["listens"]),
        (
            .database(.unreachable(.silent, message: "x")), .unreachable, .failed, ["cannot connect"],
            ["database.connect-timeout"]
        ),
        (.database(.unreachable(.tls, message: "x")), .unreachable, .failed, ["cannot connect"], ["sslmode"]),
        (.database(.unreachable(.broken, message: "x")), .unreachable, .failed, ["cannot connect"], ["PostgreSQL"]),
        (.database(.connectionLost(during: .querying, message: "gone")), .mayPass, .failed, ["gone"], ["half deleted"]),
        (
            .database(.connectionLost(during: .committing, message: "gone")), .mayPass, .failed, ["gone"],
            ["may or may not"]
        ),
        (.database(.timedOut(during: .querying, limit: .seconds(3))), .mayPass, .timedOut, ["3 s"], ["half deleted"]),
        (.database(.canceled(during: .querying)), .canceled, .canceled, ["canceled"], []),
        (.database(.unexpectedAnswer("two rows")), .unexpected, .failed, ["two rows"], ["bug"]),
        (.databaseURL("empty file"), .misconfigured, .failed, ["empty file"], ["--help"]),
        (.serverTooOld(version: 130_011), .misconfigured, .failed, ["PostgreSQL 13", "14"], ["Upgrade"]),
        (.serverReadOnly, .mayPass, .failed, ["standby"], ["primary", "target_session_attrs"]),
        (.tableMissing(.sessions), .misconfigured, .failed, ["public.mcp_sessions"], ["migrate --sessions"]),
        (.tableMissing(TableName(schema: "A", table: "b")), .misconfigured, .failed, [#""A".b"#], ["database.table"]),
        (.notATable(.sessions), .misconfigured, .failed, ["public.mcp_sessions"], ["database.table"]),
        (
            .columnMissing(.sessions, column: "active"), .misconfigured, .failed, ["active", "public.mcp_sessions"],
            ["database.table"]
        ),
        (
            .columnType(
                .sessions, column: "expires_at", found: "timestamp without time zone",
                expected: "timestamp with time zone"),
            .misconfigured, .failed, ["expires_at", "timestamp without time zone"],
            [
                #"ALTER TABLE "public"."mcp_sessions" ALTER COLUMN expires_at TYPE timestamp with time zone USING expires_at AT TIME ZONE 'UTC';"#
            ]
        ),
        (
            .columnType(.sessions, column: "active", found: "integer", expected: "boolean"), .misconfigured, .failed,
            ["active", "integer", "boolean"], ["ALTER COLUMN active TYPE boolean"]
        ),
        (
            .generationUndecided(.sessions, hasBoth: true), .misconfigured, .failed, ["both"],
            ["database.session-schema"]
        ),
        (
            .generationUndecided(.sessions, hasBoth: false), .misconfigured, .failed, ["neither"],
            ["database.session-schema"]
        ),
        (
            .privilegesMissing(.sessions, role: "R", isOnSchema: false, ["SELECT", "DELETE"]), .refused, .failed,
            ["R", "no SELECT, no DELETE", "public.mcp_sessions"],
            [#"GRANT SELECT, DELETE ON "public"."mcp_sessions" TO "R";"#]
        ),
        (
            .privilegesMissing(.sessions, role: "R", isOnSchema: true, []), .refused, .failed, ["USAGE"],
            [#"GRANT USAGE ON SCHEMA "public" TO "R";"#]
        ),
        (
            .rowSecurity(.sessions, role: "R", "no policy for UPDATE applies to it with USING (true)"), .refused,
            .failed,
            ["R", "UPDATE", "USING (true)"],
            [#"CREATE POLICY mcp_cleanupd ON "public"."mcp_sessions" FOR ALL TO "R" USING (true);"#]
        ),
        (
            .rowSecurityOff(.sessions, role: "R"), .refused, .failed, ["R", "row_security is off"],
            [#"ALTER ROLE "R" RESET row_security"#]
        ),
        (
            .rowsRefused(.sessions, count: 1, .trigger(["keep"]), hasGivenUp: false), .refused, .failed,
            ["1 due row of public.mcp_sessions", "trigger", "keep", "the others are deleted"], ["pg_trigger"]
        ),
        (
            .rowsRefused(.sessions, count: 2000, .constraint("fk", "23503"), hasGivenUp: true), .refused, .failed,
            ["2,000 due rows", "fk", "23503", "not tried"], ["ON DELETE CASCADE"]
        ),
        (
            .rowsRefused(.sessions, count: 2, .constraint("fk", "23001"), hasGivenUp: false), .refused, .failed,
            ["fk", "23001"], ["ON DELETE CASCADE"]
        ),
        (.partDropped(.sessions), .mayPass, .failed, ["public.mcp_sessions", "dropped"], ["next attempt"]),
        (
            .rowsRefused(.sessions, count: 2, .error("P0001"), hasGivenUp: false), .refused, .failed, ["P0001"],
            ["server's log"]
        ),
        (
            .rowsRefused(.sessions, count: 2, .timeLimit, hasGivenUp: false), .refused, .failed, ["longer"],
            ["index"]
        ),
        (
            .notReplicated(ServerMessage(severity: .warning, sqlState: "01000", text: "no")), .mayPass, .failed,
            ["standby"], ["pg_stat_replication"]
        ),
        (
            .schemaChanged(.sessions, from: .active, to: .status), .misconfigured, .failed, ["active", "status"],
            ["database.session-schema"]
        ),
        (
            .databaseClockAhead(database: instant + .seconds(3600), host: instant, limit: .seconds(300)), .mayPass,
            .failed,
            ["1970-01-01T01:00:00Z", "1970-01-01T00:00:00Z", "300 s"], ["database.max-clock-skew"]
        ),
        (.deadlinePassed(.seconds(240)), .mayPass, .timedOut, ["240 s"], ["deadline"]),
        (.canceled, .canceled, .canceled, ["canceled"], []),
        (.nothingRecorded, .misconfigured, .failed, ["mcp_cleanup.runs", "no run"], ["mcp-cleanupd migrate"]),
        (
            .removedMissing(hasHistory: true), .misconfigured, .failed, ["mcp_cleanup.removed does not exist"],
            ["mcp-cleanupd migrate"]
        ),
        (
            .historyUnusable(.removed, role: "r", .privileges(isOnSchema: false, ["INSERT"])), .refused, .failed,
            ["no INSERT privilege on mcp_cleanup.removed"], ["GRANT INSERT ON mcp_cleanup.removed TO \"r\";"]
        ),
        (.sessionsTableDiffers(.sessions), .misconfigured, .failed, ["public.mcp_sessions", "active"], ["--sessions"]),
        (
            .indexesOfPartitionedTable(.sessions), .misconfigured, .failed, ["public.mcp_sessions", "partitioned"],
            ["each partition"]
        ),
        (
            .indexBlocked(.sessions, index: "i"), .mayPass, .failed, ["the index i of public.mcp_sessions"],
            ["pg_stat_activity", "migrate --indexes"]
        ),
        (.indexNameTaken(.sessions, index: "i"), .misconfigured, .failed, ["index i", "name"], ["Rename"]),
    ])
    func saysWhatFailedAndWhatToDo(
        failure: RunFailure, kind: FailureKind, outcome: Outcome, words: [String], hint: [String]
    ) {
        #expect(failure.kind == kind)
        #expect(Outcome(failure) == outcome)
        for word in words { #expect(failure.description.contains(word), "\(failure)") }
        #expect((failure.hint == nil) == hint.isEmpty)
        for word in hint { #expect(failure.hint?.contains(word) == true, "\(failure.hint ?? "")") }
    }

    @Test(arguments: [
        ("28P01", "password"), ("28000", "pg_hba.conf"), ("3D000", "database's name"), ("53300", "max_connections"),
        ("57P03", "starting"),
    ])
    func aRefusedConnectionHasAHint(sqlState: String, words: String) {
        #expect(Self.server(sqlState, during: .connecting).hint?.contains(words) == true)
    }

    @Test(arguments: [
        ("42501", "grants"), ("55P03", "ALTER TABLE"), ("25006", "read-only"),
        ("53100", "disk"), ("57014", "canceled"), ("57P01", "shutting down"),
    ])
    func anErrorOfTheServerHasAHint(sqlState: String, words: String) {
        #expect(Self.server(sqlState).hint?.contains(words) == true)
    }

    @Test func outcomesAreTheWordsOfHistory() {
        #expect(
            Outcome.allCases.map(\.rawValue)
                == ["succeeded", "failed", "timed_out", "capped", "canceled", "abandoned", "skipped"])
    }
}

@Suite struct RunBudgetTests {
    private static let canceledByServer = PostgresError.server(
        ServerMessage(sqlState: "57014", text: "canceling statement due to statement timeout"), during: .querying)

    @Test func aStatementThatTheServerEndsWhenTheTimeIsUpIsTheDeadlinesDoing() {
        #expect(RunBudget(deadline: .zero).failure(Self.canceledByServer) == .deadlinePassed(.zero))
    }

    @Test func aStatementThatTheServerEndsBeforeIsNot() {
        #expect(RunBudget(deadline: .seconds(60)).failure(Self.canceledByServer) == .database(Self.canceledByServer))
    }

    @Test func noTransactionStartsWithoutTimeLeft() {
        #expect(throws: RunFailure.deadlinePassed(.zero)) { try RunBudget(deadline: .zero).limit() }
    }

    @Test func aTransactionGetsNoMoreThanItsLimitAndWhatIsLeft() throws {
        #expect(try RunBudget(deadline: .seconds(3600)).limit() == .seconds(20))
        let short = try RunBudget(deadline: .seconds(10)).limit()
        #expect(short <= .seconds(7) && short > .seconds(6))
    }
}

@Suite struct TransactionTests {
    @Test func everyTransactionSaysItsIsolationItsLimitsAndItsSearchPath() {
        let script = Transaction.begin(
            isReadOnly: false, limit: .milliseconds(2500), path: .catalog, serverVersion: 160_004)
        #expect(
            script.text.split(separator: ";\n") == [
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "SET LOCAL statement_timeout = 2500",
                "SET LOCAL lock_timeout = 1250", "SET LOCAL idle_in_transaction_session_timeout = 2500",
                "SET LOCAL search_path = pg_catalog, pg_temp",
            ])
    }

    @Test func aServersOwnLimitOfTransactionsDoesNotEndTheConnection() {
        let script = Transaction.begin(isReadOnly: true, limit: .seconds(1), path: .role, serverVersion: 170_000)
        #expect(script.text.contains("SET LOCAL transaction_timeout = 0;"))
        #expect(script.text.hasSuffix(";\nSET LOCAL search_path TO DEFAULT"))
    }

    @Test func noLimitIsEverZeroWhichWouldMeanNone() {
        let script = Transaction.begin(isReadOnly: true, limit: .nanoseconds(1), path: .catalog, serverVersion: 150_000)
        #expect(script.text.contains("READ ONLY"))
        #expect(!script.text.contains("= 0"))
    }
}
