import Dispatch
import Testing

@testable import Postgres
import Time

/// Texts that are made or parsed without a server.
@Suite struct TextTests {
    @Test(arguments: [
        ("plain", "\"plain\""), ("Two Words", "\"Two Words\""), ("", "\"\""),
        ("a\"b", "\"a\"\"b\""), ("\"; DROP TABLE x; --", "\"\"\"; DROP TABLE x; --\""),
        // A quote and a combining mark are one Character, and to the server two.
        ("a\"\u{301}b", "\"a\"\"\u{301}b\""), ("\"\u{200D}", "\"\"\"\u{200D}\""),
    ])
    func quotesIdentifiers(name: String, quoted: String) {
        #expect(Array(SQL.identifier(name).unicodeScalars) == Array(quoted.unicodeScalars))
    }

    @Test(arguments: [
        ("plain", "'plain'"), ("", "''"), ("it's", "'it''s'"), ("a\\b", " E'a\\\\b'"), ("'\\", " E'''\\\\'"),
        ("'\u{301}", "'''\u{301}'"), ("\\\u{301}", " E'\\\\\u{301}'"),
    ])
    func quotesLiterals(value: String, quoted: String) {
        #expect(Array(SQL.literal(value).unicodeScalars) == Array(quoted.unicodeScalars))
    }

    @Test(
        arguments: [
            (.zero, "0 s"), (.seconds(15), "15 s"), (.milliseconds(250), "0.25 s"), (.milliseconds(1), "0.001 s"),
            (.milliseconds(61_005), "61.005 s"), (.microseconds(999), "0 s"), (.milliseconds(-500), "-0.5 s"),
            (.milliseconds(-1500), "-1.5 s"), (.seconds(-2), "-2 s"),
        ] as [(Duration, String)])
    func writesDurationsForPeople(duration: Duration, text: String) {
        #expect(duration.secondsText == text)
    }

    @Test func readsRowsByType() throws {
        let row = QueryResult.Row(
            columns: ["t", "f", "n", "i", "x"], values: ["t", "f", nil, "-1000000000000000", "1.5"])
        #expect(try row.bool("t") && !row.bool("f") && row.boolIfPresent("n") == nil)
        #expect(try row.integer("i") == -QueryResult.Row.mostOfInteger)
        #expect(try row.textIfPresent("n") == nil)
        #expect(throws: PostgresError.unexpectedAnswer("NULL in column n")) { try row.text("n") }
        #expect(throws: PostgresError.unexpectedAnswer("no column absent")) { try row.textIfPresent("absent") }
        #expect(throws: Self.noInteger("x")) { try row.integer("x") }
        #expect(throws: PostgresError.unexpectedAnswer("column i is not a boolean")) { try row.bool("i") }
        let result = QueryResult(rows: [])
        #expect(throws: PostgresError.unexpectedAnswer("0 rows instead of 1")) { try result.onlyRow() }
    }

    private static func noInteger(_ column: String) -> PostgresError {
        .unexpectedAnswer("column \(column) is not an integer, or too large a one")
    }

    /// Sums and products of what is read must not overflow, which would end the process.
    @Test(arguments: ["1000000000000001", "-1000000000000001", "9223372036854775807", "-9223372036854775808", "1e15"])
    func refusesNumbersThatNoServerHas(number: String) throws {
        let row = QueryResult.Row(columns: ["n", "most"], values: [number, "1000000000000000"])
        #expect(try row.integer("most") == QueryResult.Row.mostOfInteger)
        #expect(throws: Self.noInteger("n")) { try row.integer("n") }
    }
}

@Suite struct ConnectFailureTests {
    private static let candidate = HostCandidate(host: "ssl.timeout.example", address: "192.0.2.1", port: "5432")
    private static let to = "connection to server at \"ssl.timeout.example\" (192.0.2.1), port 5432 failed: "

    /// Messages of libpq 15, collected from failures of every kind.
    @Test(
        arguments: [
            (
                to + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?\n",
                .refused
            ),
            (
                to + "No route to host\n\tIs the server running on that host and accepting TCP/IP connections?\n",
                .noRoute
            ),
            (to + "Network is unreachable\n", .noRoute), (to + "Cannot assign requested address\n", .noRoute),
            (
                "connection to server on socket \"/run/ssl/.s.PGSQL.1\" failed: No such file or directory\n\tIs the server running locally and accepting connections on that socket?\n",
                .refused
            ),
            (to + "Connection timed out\n", .silent),
            (
                to
                    + "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n\tbefore or while processing the request.\n",
                .broken
            ),
            (to + "expected authentication request from server, but received H\n", .broken),
            (to + "received invalid response to SSL negotiation: H\n", .broken),
            (to + "SSL SYSCALL error: EOF detected\n", .broken),
            (to + "SSL SYSCALL error: Connection reset by peer\n", .broken),
            (to + "SSL error: certificate verify failed\n", .tls),
            (to + "server certificate for \"a\" does not match host name \"b\"\n", .tls),
            (to + "server does not support SSL, but SSL was required\n", .tls),
            (to + "channel binding required, but SSL not in use\n", .tls),
            (
                to
                    + "root certificate file \"/x\" does not exist\nEither provide the file or change sslmode to disable server certificate verification.\n",
                .tls
            ),
            (to + "session is read-only\n", .broken),
        ] as [(String, PostgresError.Unreachability)])
    func tellsCausesApart(message: String, cause: PostgresError.Unreachability) {
        let error = ConnectFailure(message: message, candidate: Self.candidate).error
        guard case .unreachable(cause, let text) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(text.hasPrefix("ssl.timeout.example (192.0.2.1), port 5432: "))
        #expect(!text.contains("\n") && !text.contains("Is the server") && !text.contains("probably"), "\(text)")
    }

    @Test(arguments: ["", "CONTEXT:  PL/pgSQL function greet() line 3 at RAISE\n"])
    func keepsOfARefusalWhatMayBeShown(context: String) {
        let message =
            Self.to
            + "FATAL:  53300: remaining connection slots are reserved\nDETAIL:  ABCDE: not a code\nHINT:  Wait.\n\(context)LOCATION:  InitPostgres, postinit.c:779\n"
        let refusal = ServerMessage(
            severity: .fatal, sqlState: "53300", text: "remaining connection slots are reserved",
            hasContext: !context.isEmpty)
        #expect(
            ConnectFailure(message: message, candidate: Self.candidate).error == .server(refusal, during: .connecting))
        #expect(refusal.text == (context.isEmpty ? "remaining connection slots are reserved" : nil))
    }

    @Test func repeatsNoPasswordThatTheServerQuotes() {
        let refused = Self.to + "FATAL:  28P01: no \"pä'ss\" for user \"u\"\n"
        let other = Self.to + "expected authentication request from server, but received pä'ss\u{202E}\u{9B}\n"
        for message in [refused, other] {
            let failure = ConnectFailure(message: message.hiding(["pä'ss", ""]), candidate: Self.candidate)
            #expect(!"\(failure.error)".contains("pä'ss") && "\(failure.error)".contains("…"))
            #expect("\(failure.error)".visible == "\(failure.error)")
        }
    }

    /// An accent behind a password, or a joiner in front, makes one character of two.
    @Test(arguments: [
        ("hunter2-token\u{301} x", "…\u{301} x"), ("a\u{200D}hunter2-token", "a\u{200D}…"),
        ("hunter2-token hunter2-token\u{FE0F}", "… …\u{FE0F}"), ("\r\nhunter2-token\r\n", "\r\n…\r\n"),
    ])
    func hidesAPasswordWhateverStandsBesideIt(text: String, shown: String) {
        for secrets in [["hunter2-token"], ["", "hunter2", "hunter2-token"]] {
            #expect(Array(text.hiding(secrets).unicodeScalars) == Array(shown.unicodeScalars), "\(secrets)")
        }
    }

    @Test(arguments: [true, false])
    func prefersTheRefusalThatSaysWhatIsWrong(isTLSFirst: Bool) {
        let wrong =
            Self.to
            + "FATAL:  28P01: password authentication failed for user \"u\"\nLOCATION:  auth_failed, auth.c:335\n"
        let noEntry =
            Self.to
            + "FATAL:  28000: no pg_hba.conf entry for host \"192.0.2.1\", user \"u\", database \"d\", no encryption\nLOCATION:  ClientAuthentication, auth.c:543\n"
        let failure = ConnectFailure(message: isTLSFirst ? wrong + noEntry : noEntry + wrong, candidate: Self.candidate)
        #expect(failure.error.sqlState == "28P01")
        #expect(ConnectFailure(message: noEntry, candidate: Self.candidate).error.sqlState == "28000")
    }

    /// The value may have lines and quotation marks, and the message may have been cut.
    @Test(arguments: [
        "\"a piece of a password\"\n", "\"jdbc:postgresql://r:pass\nword@[::1]/\"\n", "\"a \"pass\" b\nword\"\n",
        "\"pass\nword",
        "\"pass\"word\n\"\nmore: \"b\"\n",
    ])
    func namesTheParameterThatLibpqRefusesWithoutItsValue(value: String) {
        let failure = ConnectFailure(message: "invalid sslmode value: \(value)", candidate: Self.candidate)
        #expect(
            failure.beforeAnyPacket
                == .invalidParameters(
                    "invalid sslmode value: \"…\"; expected disable, allow, prefer, require, verify-ca or verify-full"))
    }

    @Test func reportsAllHostsUnderTheMostTellingCause() {
        let error = PostgresError(ofAllHosts: [
            .unreachable(.refused, message: "a"), .unreachable(.tls, message: "b"),
            .unreachable(.unresolved, message: "c"),
        ])
        #expect(error == .unreachable(.tls, message: "a; b; c"))
        let full = PostgresError.server(ServerMessage(sqlState: "53300", text: "full"), during: .connecting)
        #expect(PostgresError(ofAllHosts: [full, .unreachable(.refused, message: "a")]) == full)
    }
}
