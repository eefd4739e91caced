import Testing

@testable import Postgres

@Suite struct DatabaseURLTests {
    @Test(
        arguments: [
            (
                "postgresql://u:p@h:5433/d?sslmode=require",
                ["user": "u", "password": "p", "host": "h", "port": "5433", "dbname": "d", "sslmode": "require"]
            ),
            ("postgres://h", ["host": "h"]),
            ("postgresql://", [:]),
            (
                "postgresql://u@[2001:db8::1]:5432/d",
                ["user": "u", "host": "2001:db8::1", "port": "5432", "dbname": "d"]
            ),
            (
                "postgresql://u@%2Fvar%2Frun%2Fpostgresql/d",
                ["user": "u", "host": "/var/run/postgresql", "dbname": "d"]
            ),
            ("postgresql://a:1,b,c:3/d", ["host": "a,b,c", "port": "1,,3", "dbname": "d"]),
            ("postgresql://u@/d?host=@abstract", ["user": "u", "dbname": "d", "host": "@abstract"]),
            ("postgresql://u:@h", ["user": "u", "host": "h"]),
            (
                "postgresql://h/d?options=-c%20geqo%3Doff&target_session_attrs=read-write",
                ["host": "h", "dbname": "d", "options": "-c geqo=off", "target_session_attrs": "read-write"]
            ),
            ("postgresql://u:p%40%2F%3A%3F%23%25@h", ["user": "u", "password": "p@/:?#%", "host": "h"]),
            ("postgresql://u:a:b#c'd\"e,f@h", ["user": "u", "password": "a:b#c'd\"e,f", "host": "h"]),
            ("postgresql://u:pä\u{301}🔑@h", ["user": "u", "password": "pä\u{301}🔑", "host": "h"]),
        ] as [(String, [String: String])])
    func readsWhatLibpqReads(text: String, parameters: [String: String]) throws {
        #expect(try DatabaseURL(text).parameters.filter { !$0.value.isEmpty } == parameters)
    }

    @Test(
        arguments: [
            ("", .notAPostgresURL),
            ("host=h dbname=d", .notAPostgresURL),
            ("https://h", .notAPostgresURL),
            ("POSTGRESQL://h", .notAPostgresURL),
            ("postgresql:/\u{301}/h", .notAPostgresURL),
            (" postgresql://h", .notAPostgresURL),
            ("postgresql://h\n", .controlCharacter),
            ("postgresql://h\u{0}x", .controlCharacter),
            ("postgresql://h\u{7f}", .controlCharacter),
            ("postgresql://h\r\n", .controlCharacter),
            ("postgresql://u:a@b@h", .unescaped("@", as: "%40")),
            ("postgresql://u:a@\u{301}b@h", .unescaped("@", as: "%40")),
            ("postgresql://u:p@h/d@e", .unescaped("@", as: "%40")),
            ("postgresql://u:a/b@h", .unescaped("/", as: "%2F")),
            ("postgresql://u:a/\u{301}b@h", .unescaped("/", as: "%2F")),
            ("postgresql://u:a?b@h", .unescaped("?", as: "%3F")),
            ("postgresql://u:a?b@c@h", .unescaped("?", as: "%3F")),
            ("postgresql://h?password=a@b", .unescaped("?", as: "%3F")),
            ("postgresql://h:port", .malformed("the port is not a number from 1 to 65535")),
            ("postgresql://h:0", .malformed("the port is not a number from 1 to 65535")),
            ("postgresql://h:65536", .malformed("the port is not a number from 1 to 65535")),
            ("postgresql://h:1,i:x", .malformed("the port is not a number from 1 to 65535")),
            ("\"postgresql://h/d\"", .quoted), ("'postgresql://u:p@h/d'", .quoted), ("“postgresql://h/d”", .quoted),
            ("psql 'postgresql://u:p@h/d'", .notAlone), ("NEON_DATABASE_URL=postgresql://u:p@h/d", .notAlone),
            ("postgresql://h/d?pgbouncer=true", .foreignParameters(["pgbouncer"])),
            (
                "postgresql://h/d?schema=public&sslmode=require&connection_limit=1&pool_timeout=0",
                .foreignParameters(["schema", "connection_limit", "pool_timeout"])
            ),
            ("postgresql://h/d?uselibpqcompat=true", .foreignParameters(["uselibpqcompat"])),
            (
                "postgresql://h/d?sslmod=require",
                .malformed("it has a parameter that libpq does not know; did you mean sslmode?")
            ),
            (
                "postgresql://h/d?channelbinding=require",
                .malformed("it has a parameter that libpq does not know; did you mean channel_binding?")
            ),
            ("postgresql://h/d?nonsense=1", .malformed("invalid URI query parameter: \"…\"")),
            ("postgresql://h/d?sslmode", .malformed("missing key/value separator \"…\"")),
            ("postgresql://h/d?sslmode=a=b", .malformed("extra key/value separator \"…\"")),
            ("postgresql://u:%zz@h", .malformed("invalid percent-encoded token: \"…\"")),
            ("postgresql://u:%00@h", .malformed("forbidden value %00 in percent-encoded value: \"…\"")),
            ("postgresql://[::1/d", .malformed("end of string reached when looking for matching \"…\"")),
            ("postgresql://[]/d", .malformed("IPv6 host address may not be empty in URI: \"…\"")),
            ("postgresql://[::1]x/d", .malformed("unexpected character \"…\"")),
        ] as [(String, DatabaseURLError)])
    func refusesWhatIsNoURL(text: String, error: DatabaseURLError) {
        #expect(throws: error) { try DatabaseURL(text) }
    }

    /// Passwords that need escaping and did not get it, and some that broke our own search for them.
    static let passwords = [
        "SECRETSECRET", "SEC@RET", "SEC/RET", "SEC:RET", "SEC?RET", "SEC#RET", "SEC%RET", "SEC%zzRET", "SEC%00RET",
        "SEC\"RET", "\"SECRET", "SECRET\"", "SEC'RET", "SEC&RET", "SEC=RET", "SEC?x=RET", "SEC?x@RET", "SEC@/RET",
        "SEC@?RET", "SEC/@RET", "SEC/?RET", "SEC?/RET", "SEC:1/RET", "1/SEC?RET", "SEC[RET", "[SECRET", "SEC]RET",
        "SEC@[RET", "SEC,RET", "SEC RET", "SEC\\RET", "SEC@\u{301}RET", "SEC/\u{301}RET", "SEC?\u{301}@RET",
        "\u{301}SEC%RET", "SEC%\u{301}RET", "\u{301}\"SEC%RET\"\u{301}", "SEC\u{1F511}@RET", "SEC\nRET", "SEC\rRET",
        "SEC@RET:5432", "SEC@RET@@",
    ]

    @Test(arguments: passwords)
    func tellsNothingOfAPasswordHoweverItIsMisread(password: String) throws {
        for text in [
            "postgresql://role:\(password)@host.example/db", "postgresql://role:\(password)@host.example",
            "postgresql://role:\(password)@[::1]:5432/db?sslmode=require", "postgresql://:\(password)@host.example/db",
        ] {
            let told: [String]
            do {
                told = everythingPrinted(of: try DatabaseURL(text))
            } catch {
                told = everythingPrinted(of: error)
            }
            for print in told { #expect(!print.contains("SEC") && !print.contains("RET"), "\(text): \(print)") }
        }
    }

    @Test(arguments: ["SECRETSECRET", "SEC%40RET", "SEC%0ARET", "SEC%22RET"])
    func tellsNothingOfAPasswordWhenConnectingFails(password: String) async throws {
        for query in [
            "sslmode=disable", "sslmode=nonsense", "channel_binding=nonsense", "sslrootcert=system&sslmode=prefer",
            "service=nonsense",
        ] {
            let url = try DatabaseURL("postgresql://role:\(password)@127.0.0.1:1/db?\(query)")
            let error = await #expect(throws: PostgresError.self) {
                try await Connection.open(url, deadline: .now + .seconds(5), environment: [:], onNotice: { _ in })
            }
            for print in everythingPrinted(of: try #require(error)) {
                #expect(!print.contains("SEC") && !print.contains("RET"), "\(query): \(print)")
            }
        }
    }

    @Test(arguments: [("5", 5), ("0", nil), ("-1", nil), ("", nil), ("five", nil), ("99999999999", nil)])
    func hasALimitForConnectingOfItsOwn(text: String, seconds: Int?) throws {
        #expect(
            try DatabaseURL("postgresql://h/d?connect_timeout=\(text)").connectTimeout == seconds.map { .seconds($0) })
        #expect(try DatabaseURL("postgresql://h/d").connectTimeout == nil)
    }

    @Test func namesTheModesThatThereAre() throws {
        let url = try DatabaseURL("postgresql://u:SECRET@h/d?sslmode=nonsense")
        let error = #expect(throws: PostgresError.self) { try url.check(environment: [:]) }
        #expect("\(String(describing: error))".contains("disable, allow, prefer, require, verify-ca or verify-full"))
    }

    @Test func describesItselfByHostDatabaseAndRole() throws {
        let url = try DatabaseURL("postgresql://role:password@host:5433/db?sslpassword=other")
        #expect("\(url)" == "host:5433/db as role")
        #expect(try "\(DatabaseURL("postgresql://"))" == "the default host")
    }

    @Test func pairsHostsWithPortsAsLibpqDoes() throws {
        func hosts(_ text: String, _ environment: [String: String] = [:]) throws -> [HostCandidate] {
            try DatabaseURL(text).hosts(environment: environment)
        }
        #expect(
            try hosts("postgresql://a,b:2/d") == [
                HostCandidate(host: "a", port: ""), HostCandidate(host: "b", port: "2"),
            ])
        #expect(try hosts("postgresql://a,b/d?port=7").map(\.port) == ["7", "7"])
        #expect(try hosts("postgresql://a/d?hostaddr=1.2.3.4") == [HostCandidate(host: "a", address: "1.2.3.4")])
        #expect(try hosts("postgresql:///d") == [HostCandidate()])
        #expect(throws: PostgresError.self) { try hosts("postgresql://a,b/d?hostaddr=1.2.3.4") }
        #expect(throws: PostgresError.self) { try hosts("postgresql://a,b,c/d?port=1,2") }
    }

    @Test func takesHostsFromTheEnvironmentWhereTheURLNamesNone() throws {
        func hosts(_ text: String, _ environment: [String: String]) throws -> [HostCandidate] {
            try DatabaseURL(text).hosts(environment: environment)
        }
        #expect(
            try hosts("postgresql:///d", ["PGHOST": "a,b", "PGPORT": "1,2"])
                == [HostCandidate(host: "a", port: "1"), HostCandidate(host: "b", port: "2")])
        #expect(
            try hosts("postgresql:///d", ["PGHOST": "a", "PGHOSTADDR": "1.2.3.4"]) == [
                HostCandidate(host: "a", address: "1.2.3.4")
            ])
        #expect(try hosts("postgresql://h/d", ["PGHOST": "a", "PGHOSTADDR": "1.2.3.4"]) == [HostCandidate(host: "h")])
        #expect(try hosts("postgresql://h:1/d", ["PGPORT": "2"]) == [HostCandidate(host: "h", port: "1")])
    }

    /// libpq would resolve the names in a service file with a blocking call.
    @Test func refusesConnectionServices() throws {
        #expect(throws: PostgresError.self) { try DatabaseURL("postgresql:///d?service=x").hosts(environment: [:]) }
        #expect(throws: PostgresError.self) {
            try DatabaseURL("postgresql:///d").hosts(environment: ["PGSERVICE": "x"])
        }
        #expect(try DatabaseURL("postgresql://h/d").hosts(environment: ["PGSERVICE": "x"]).count == 1)
    }

    @Test(arguments: [
        "postgresql://", "postgresql://u:p@h:5433/d?sslmode=require", "postgresql://a:1,b,c:3/d",
        "postgresql://u@/d?host=@abstract", "postgresql://u@/d?host=/run/postgresql,h",
        "postgresql://u@/d?hostaddr=127.0.0.1&host=h&channel_binding=require", "postgresql://h/d?connect_timeout=5",
        "postgresql://h/d?options=-c%20geqo%3Doff&target_session_attrs=read-write&gssencmode=prefer",
        "postgresql://h/d?sslmode=verify-full", "postgresql://h/d?sslmode=verify-full&sslrootcert=/nonexistent",
    ])
    func findsNothingWrongWithWhatLibpqTakes(text: String) throws {
        try DatabaseURL(text).check(environment: [:])
    }

    @Test(
        arguments: [
            ("sslmode=nonsense", [:], "sslmode"), ("channel_binding=nonsense", [:], "channel_binding"),
            ("target_session_attrs=nonsense", [:], "target_session_attrs"), ("gssencmode=nonsense", [:], "gssencmode"),
            ("ssl_min_protocol_version=nonsense", [:], "ssl_min_protocol_version"),
            ("sslrootcert=system&sslmode=prefer", [:], "sslmode=verify-full"), ("service=nonsense", [:], "services"),
            ("host=a,b&hostaddr=127.0.0.1", [:], "another number of addresses"),
            ("user=u", ["PGHOST": "a,b", "PGPORT": "1,2,3"], "another number of addresses or ports"),
        ] as [(String, [String: String], String)])
    func findsWhatConnectingWouldRefuse(query: String, environment: [String: String], words: String) throws {
        let url = try DatabaseURL("postgresql://u:SECRET@/d?\(query)")
        let error = #expect(throws: PostgresError.self) { try url.check(environment: environment) }
        guard case .invalidParameters(let message) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(message.contains(words) && !message.contains("nonsense") && !message.contains("SECRET"))
    }
}

/// Each refusal in the words that an operator reads.
extension DatabaseURLError {
    private static let form = "postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full"

    fileprivate static let notAPostgresURL = DatabaseURLError(
        "it does not start with postgresql:// or postgres://; expected \(form)")
    fileprivate static let quoted = DatabaseURLError("it stands in quotation marks; leave them out")
    fileprivate static let notAlone = DatabaseURLError(
        "the URL follows other words, such as psql or the name of a variable; expected \(form) alone")
    fileprivate static let controlCharacter = DatabaseURLError(
        "it contains a line break or another control character; expected \(form) on one line")

    fileprivate static func foreignParameters(_ names: [String]) -> DatabaseURLError {
        DatabaseURLError(
            names.count == 1
                ? "the parameter \(names[0]) is for other drivers, and libpq does not know it; leave it out"
                : "the parameters \(names.joined(separator: ", ")) are for other drivers, and libpq does not know them; "
                    + "leave them out")
    }
}

/// Returns a value's text in every way in which a log line or a debugger may print it.
func everythingPrinted(of value: Any) -> [String] {
    var dumped = ""
    dump(value, to: &dumped)
    let optional: Any? = value
    return [
        "\(value)", String(reflecting: value), String(describing: Optional.some(optional)), "\([value])", dumped,
        "\(Mirror(reflecting: value).children.map { "\($0)" })",
    ]
}
