import Postgres
import TestServers
import Testing

@testable import Postgres

/// Only those parts of a server's message are kept that may be shown.
@Suite struct ServerMessageTests {
    private static let token = "eyJ0b2tlbg"

    @Test func theTableNamesItsConditions() {
        #expect(Condition.all.count == 116)
        for (state, condition) in Condition.all {
            #expect(state.rawValue.utf8.count == 5 && !condition.name.isEmpty, "\(state)")
        }
        #expect(Condition.all["23502"]?.name == "not_null_violation" && Condition.all["ZZ123"] == nil)
    }

    @Test(arguments: [
        (
            "57014", "canceling statement due to user request",
            "canceling statement due to user request (SQLSTATE 57014)"
        ),
        ("23502", "secret", "SQLSTATE 23502 (not_null_violation); the server's log has the message"),
        ("ZZ123", "secret", "SQLSTATE ZZ123; the server's log has the message"),
        ("secret", "secret", "SQLSTATE XX000 (internal_error); the server's log has the message"),
    ])
    func saysTheMessageOrWhereItIs(sqlState: String, text: String, described: String) {
        #expect("\(ServerMessage(sqlState: SQLState(rawValue: sqlState), text: text))" == described)
    }

    @Test func aContextHidesTheMessageOfEveryCode() {
        for state in Condition.all.keys {
            let message = ServerMessage(sqlState: state, text: Self.token, hasContext: true, isAtPosition: true)
            #expect(message.text == nil && !"\(message)".contains(Self.token), "\(state)")
        }
    }

    @Test func namesAreKeptApart() {
        var message = ServerMessage(sqlState: "57014", text: "canceled")
        (message.table, message.constraint) = (Self.token, Self.token)
        #expect(!"\(message)".contains(Self.token) && message.constraint == Self.token)
    }

    @Test func cutsAndShowsWhatTheServerSays() throws {
        let long = ServerMessage(sqlState: "57014", text: String(repeating: "ä\u{1B}\u{202E}", count: 100_000))
        let text = try #require(long.text)
        #expect(
            text.utf8.count <= ServerMessage.longestText && text.hasSuffix("…") && text.hasPrefix("ä\u{FFFD}\u{FFFD}"))
    }

    /// Every code of the manual, raised by an application's trigger with a token in all that it can set.
    @Test(arguments: Place.available) func showsNothingThatAnApplicationRaises(place: Place) async throws {
        let connection = try await place.open()
        for state in Condition.all.keys where state != "00000" {
            let raised = await failure {
                try await connection.run(
                    """
                    DO $$ BEGIN RAISE '\(Self.token)' USING ERRCODE = '\(state)', DETAIL = '\(Self.token)',
                    HINT = '\(Self.token)', TABLE = '\(Self.token)', CONSTRAINT = '\(Self.token)',
                    COLUMN = '\(Self.token)', DATATYPE = '\(Self.token)', SCHEMA = '\(Self.token)'; END $$
                    """)
            }
            let message = try #require(raised.error?.serverMessage, "\(state)")
            #expect(message.sqlState == state && message.hasContext && message.severity == .error)
            #expect(!"\(raised.error as Any)".contains(Self.token) || message.text == nil, "\(state)")
            #expect(raised.error.map { "\($0)".contains(Self.token) } == false, "\(state)")
            #expect(message.table == Self.token && message.constraint == Self.token)
        }
        // The connection can still be used.
        #expect(try await connection.value("1") == "1")
        await connection.close()
    }

    /// The server's own errors whose message quotes a row's value, without any CONTEXT.
    @Test(arguments: [
        "SELECT 'TOKEN'::text::int", "SELECT 'TOKEN'::text::regclass", "SELECT 'TOKEN'::text::regprocedure",
        "SELECT to_tsquery('TOKEN &'::text)", "SELECT ('TOKEN.x'::text)::regclass", "SELECT 'TOKEN'::text::timestamptz",
        "SELECT 'TOKEN'::text::jsonb", "SELECT ('TOKEN'::text)::uuid", "SELECT set_config('TOKEN', '', true)",
        "SELECT has_table_privilege('TOKEN', 'pg_class', 'SELECT')",
        "SELECT to_timestamp('1', 'TOKEN') - 'TOKEN'::text::interval",
        "SELECT regexp_replace('x', '(TOKEN'::text, '')", "SELECT nextval('TOKEN'::text::regclass)",
        "SELECT pg_get_serial_sequence('pg_class', 'TOKEN')", "SELECT repeat('TOKEN', 600)::text::tsquery",
        "SELECT 'x' AT TIME ZONE 'TOKEN' FROM now()", "SELECT convert('x', 'TOKEN', 'UTF8')",
    ])
    func quotesNoValue(sql: String) async throws {
        let connection = try await Place.unixSocket.open()
        let (error, _) = await failure { try await connection.run(sql) }
        let message = try #require(error?.serverMessage, "\(String(describing: error))")
        #expect(!"\(message)".lowercased().contains("token"), "\(message)")
        await connection.close()
    }

    /// Messages that an operator has to read: of the server's limits, and of errors in our own statement.
    @Test(arguments: [
        ("SELECT absent FROM pg_class", "column \"absent\" does not exist"),
        ("SELECT 1 FROM absent", "relation \"absent\" does not exist"),
        ("SELECT absent(1)", "function absent(integer) does not exist"), ("SELEC", "syntax error at or near \"SELEC\""),
        ("SELECT 1/0", "division by zero"),
        ("SET TRANSACTION READ ONLY; CREATE TABLE t ()", "cannot execute CREATE TABLE in a read-only transaction"),
    ])
    func showsWhatTheServerSaysOfAStatement(sql: String, text: String) async throws {
        let connection = try await Place.unixSocket.open()
        let (error, _) = await failure { try await connection.script(sql, deadline: .now + patience) }
        #expect(error?.serverMessage?.text == text, "\(String(describing: error))")
        await connection.close()
    }

    @Test func namesTheConstraintThatARowBreaks() async throws {
        let connection = try await Place.unixSocket.open()
        let (error, _) = await failure {
            try await connection.script(
                "CREATE TEMP TABLE t (i int CONSTRAINT unique_i UNIQUE); INSERT INTO t VALUES (1), (1)",
                deadline: .now + patience)
        }
        let message = try #require(error?.serverMessage)
        #expect(message.table == "t" && message.constraint == "unique_i")
        #expect(message.sqlState == "23505" && !message.hasContext && message.statementIndex == 1)
        #expect("\(message)" == "SQLSTATE 23505 (unique_violation); the server's log has the message")
        await connection.close()
    }
}

@Suite struct NoticeTests {
    @Test(arguments: Place.available) func keepsTheWarningsOfTheLastScript(place: Place) async throws {
        let notices = Locked<[ServerMessage]>([])
        let connection = try await place.open { notice in notices.withLock { $0.append(notice) } }
        _ = try await connection.script(
            """
            BEGIN; DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second' USING ERRCODE = '01234'; END $$; BEGIN;
            COMMIT
            """, deadline: .now + patience)
        #expect(notices.withLock { $0.map(\.severity) } == [.notice, .warning, .warning])
        let warnings = await connection.warnings
        #expect(warnings.map(\.sqlState) == ["01234", "25001"])
        #expect(warnings.map(\.hasContext) == [true, false])
        #expect(warnings.map(\.text) == [nil, "there is already a transaction in progress"])
        _ = try await connection.run("SELECT 1")
        #expect(await connection.warnings.isEmpty)
        await connection.close()
    }

    @Test func keepsTheLastWarningsOfMany() async throws {
        let notices = Locked<[ServerMessage]>([])
        let connection = try await Place.unixSocket.open { notice in notices.withLock { $0.append(notice) } }
        _ = try await connection.script(
            "BEGIN; DO $$ BEGIN FOR i IN 1..1000 LOOP RAISE WARNING 'one'; END LOOP; END $$; COMMIT; COMMIT",
            deadline: .now + patience)
        let warnings = await connection.warnings
        #expect(warnings.count == LibpqConnection.mostWarnings && warnings.last?.sqlState == "25P01")
        #expect(notices.withLock { $0.count } == LibpqConnection.mostNotices)
        await connection.close()
    }
}
