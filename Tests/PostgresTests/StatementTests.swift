import Foundation
import Postgres
import TestServers
import Testing

/// Where a statement may run, for tests that must hold everywhere.
enum Place: String, CaseIterable, CustomTestStringConvertible {
    case unixSocket = "over a Unix socket"
    case tls = "over TLS, verified and bound"
    case pooler = "through PgBouncer"
    case newest = "on the newest PostgreSQL"

    var testDescription: String { rawValue }

    /// Without the newest server its tests are skipped, and the test run says so.
    static var available: [Place] { allCases.filter { $0 != .newest || hasNewest } }
    static let hasNewest = ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_NEWEST_POSTGRES"] != nil

    func open(onNotice: @escaping @Sendable (ServerMessage) -> Void = { _ in }) async throws -> Connection {
        switch self {
        case .unixSocket:
            return try await PostgresTests.open(PostgresServer.packaged().url("postgres"), onNotice: onNotice)
        case .tls:
            let server = try await PostgresServer.packaged()
            return try await PostgresTests.open(
                server.secureURL("postgres", user: server.makeRole(), password: "right"),
                environment: ["SSL_CERT_FILE": server.authority], onNotice: onNotice)
        case .pooler:
            return try await PostgresTests.open(Pooler.shared().url("postgres"), onNotice: onNotice)
        case .newest:
            let server = try #require(try await PostgresServer.newest())
            return try await PostgresTests.open(server.url("postgres"), onNotice: onNotice)
        }
    }
}

enum Pooler {
    private static let pooler = StartedOnce { try await PgBouncer(for: .packaged(), poolSize: 1) }

    static func shared() async throws -> PgBouncer { try await pooler.value }
}

extension PostgresServer {
    /// A role with the password `right`.
    func makeRole(_ options: String = "") async throws -> String {
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await query("CREATE ROLE \(role) LOGIN PASSWORD 'right' \(options)")
        return role
    }
}

@Suite struct StatementTests {
    @Test(
        .enabled(
            if: Place.hasNewest,
            "MCP_CLEANUPD_TEST_NEWEST_POSTGRES names no directory: nothing is tested on the newest PostgreSQL"))
    func runsOnTheNewestServer() async throws {
        let connection = try await Place.newest.open()
        #expect(try await Int(connection.value("current_setting('server_version_num')") ?? "") ?? 0 >= 160_000)
        await connection.close()
    }

    @Test(arguments: Place.available) func readsTypedColumns(place: Place) async throws {
        let connection = try await place.open()
        let row = try await connection.run(
            """
            SELECT true AS yes, false AS no, NULL::boolean AS unknown, (-42)::int4 AS small, 9223372036854775807 AS large,
                   'ä“🔑' AS text, '' AS empty, NULL AS nothing
            """
        ).onlyRow()
        #expect(try row.bool("yes") && !row.bool("no"))
        #expect(try row.boolIfPresent("unknown") == nil)
        #expect(try row.integer("small") == -42)
        #expect(try row.integer("large", most: .max) == Int.max)
        #expect(try row.text("text") == "ä“🔑")
        #expect(try row.text("empty") == "")
        #expect(try row.textIfPresent("nothing") == nil)
        await connection.close()
    }

    @Test(arguments: Place.available) func staysUsableAfterAScriptThatFailsInTheMiddle(place: Place) async throws {
        let connection = try await place.open()
        let table = "pg_temp.t"
        let script = await failure {
            try await connection.script(
                "BEGIN; CREATE TEMP TABLE t (i int) ON COMMIT DROP; INSERT INTO \(table) VALUES (1); SELECT 1/0; INSERT INTO \(table) VALUES (2);",
                deadline: .now + patience)
        }
        #expect(script.error?.sqlState == "22012" && script.error?.serverMessage?.statementIndex == 3)
        let failed = await failure { try await connection.run("SELECT 1") }
        #expect(failed.error?.sqlState == "25P02")
        #expect(await connection.isAlive())
        let results = try await connection.script(
            "ROLLBACK; SELECT 1 AS one; SELECT 2 AS two", deadline: .now + patience)
        #expect(
            try results.count == 3 && results[1].onlyRow().integer("one") == 1
                && results[2].onlyRow().integer("two") == 2)
        await connection.close()
    }

    @Test(arguments: Place.available) func staysUsableAfterTheServersOwnTimeout(place: Place) async throws {
        let connection = try await place.open()
        let timeout = await failure {
            try await connection.script(
                "BEGIN; SET LOCAL statement_timeout = '100ms'; SELECT pg_sleep(30); COMMIT", deadline: .now + patience)
        }
        #expect(timeout.error?.sqlState == "57014")
        _ = try await connection.script("ROLLBACK", deadline: .now + patience)
        #expect(try await connection.value("1") == "1")
        await connection.close()
    }

    @Test(.serialized, arguments: Place.available) func readsLargeResultsAndSendsLargeScripts(place: Place) async throws
    {
        for attempt in 1... {
            let connection = try await place.open()
            do {
                try await readLargeResultAndSendLargeScript(over: connection)
                return await connection.close()
            } catch PostgresError.unexpectedAnswer where attempt < 5 {
                // While a Unix socket is read, the growth of the process counts, and other tests are a part of that.
                await connection.close()
            }
        }
    }

    private func readLargeResultAndSendLargeScript(over connection: Connection) async throws {
        let result = try await connection.run(
            "SELECT i, repeat('x', 100) AS filler FROM generate_series(1, 50000) AS i ORDER BY i",
            limit: .seconds(60))
        #expect(result.rows.count == 50_000)
        #expect(try result.rows[49_999].integer("i") == 50_000)
        // Far above any socket's buffer: sent in pieces.
        let text = String(repeating: "0123456789abcdef", count: 500_000)
        let row = try await connection.run(
            "SELECT length(t) AS n, md5(t) = md5(repeat('0123456789abcdef', 500000)) AS same FROM (SELECT '\(text)') AS x (t)",
            limit: .seconds(60)
        ).onlyRow()
        #expect(try row.integer("n") == 8_000_000 && row.bool("same"))
    }

    @Test(arguments: ["on", "off"]) func quotesWhatTheServerReadsBack(standardStrings: String) async throws {
        let connection = try await Place.unixSocket.open()
        _ = try await connection.script(
            "SET standard_conforming_strings = \(standardStrings); SET escape_string_warning = off",
            deadline: .now + patience)
        for text in [
            "plain", "it's", "\\", "\\'", "'\\", "\\\u{301}", "\"", "\"\u{301}; SELECT 1; --", "ä“🔑", "$1", "",
        ] {
            #expect(try await connection.value("SELECT \(SQL.literal(text))") == text)
            guard !text.isEmpty else { continue }
            #expect(try await connection.run("SELECT 1 AS \(SQL.identifier(text))").onlyRow().text(text) == "1")
        }
        await connection.close()
    }

    /// C would end the text at the zero byte, and the server would receive another statement.
    @Test func refusesATextThatCWouldCut() async throws {
        let connection = try await Place.unixSocket.open()
        for body in [
            { try await connection.run("SELECT 1\u{0} + 1 AS x") },
            { try await connection.script("SELECT 1\u{0} + 1", deadline: .now + patience)[0] },
        ] as [() async throws -> QueryResult] {
            #expect(await failure(body).error?.sqlState == "22021")
        }
        #expect(try await connection.value("1") == "1")
        await connection.close()
    }

    @Test func closesTheConnectionWhenTheAnswerIsNoResult() async throws {
        for sql in ["COPY (SELECT 1) TO STDOUT", "COPY pg_class FROM STDIN", ""] {
            let connection = try await Place.unixSocket.open()
            let (error, _) = await failure { try await connection.script(sql, deadline: .now + patience) }
            guard case .unexpectedAnswer = error else {
                Issue.record("\(sql): \(String(describing: error))")
                continue
            }
            #expect(await connection.isAlive() == false)
            let later = await failure { try await connection.run("SELECT 1") }
            #expect(later.error == .connectionLost(during: .querying, message: "it is closed"))
        }
    }

    @Test func closesTheConnectionWhenNobodyHoldsIt() async throws {
        let server = try await PostgresServer.packaged()
        var connection: Connection? = try await Place.unixSocket.open()
        let backend = try #require(try await connection?.processIdentifier)
        #expect(try await server.isAlive(backend))
        connection = nil
        #expect(try await eventually { try await !server.isAlive(backend) })
    }

    @Test func sharesAPoolersOnlyServerConnection() async throws {
        let (one, other) = (try await Place.pooler.open(), try await Place.pooler.open())
        for _ in 0..<3 {
            #expect(try await one.script("BEGIN; SELECT 1; COMMIT", deadline: .now + patience).count == 3)
            #expect(try await other.script("BEGIN; SELECT 1; COMMIT", deadline: .now + patience).count == 3)
        }
        await one.close()
        await other.close()
    }
}
