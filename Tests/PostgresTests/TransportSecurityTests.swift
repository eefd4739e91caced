import Testing

@testable import Postgres

@Suite struct TransportSecurityTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var query: String
        var environment: [String: String] = ["HOME": "/home/u"]
        var readable: Set<String> = [debian]
        var overrides: [String: String] = [:]
        var testDescription: String { "?\(query) \(environment) \(readable)" }
    }

    static let debian = "/etc/ssl/certs/ca-certificates.crt"
    static let own = "/home/u/.postgresql/root.crt"

    @Test(arguments: [
        Case(query: ""),
        Case(query: "sslmode=require"),
        Case(query: "sslmode=verify-full", overrides: ["sslrootcert": debian]),
        Case(query: "sslmode=verify-ca", overrides: ["sslrootcert": debian]),
        Case(query: "sslmode=verify-full", readable: [debian, own]),
        Case(query: "sslmode=verify-full", environment: [:], overrides: ["sslrootcert": debian]),
        Case(query: "sslmode=verify-full", environment: ["HOME": ""], overrides: ["sslrootcert": debian]),
        Case(query: "sslmode=verify-full&sslrootcert=/x.crt"),
        Case(query: "sslmode=verify-full&sslrootcert=/x.crt", readable: []),
        Case(query: "sslmode=verify-full", environment: ["PGSSLROOTCERT": "/x.crt"], readable: []),
        Case(query: "", environment: ["PGSSLMODE": "verify-full"], overrides: ["sslrootcert": debian]),
        Case(query: "sslmode=require", environment: ["PGSSLMODE": "verify-full"]),
        Case(query: "sslrootcert=system", overrides: ["sslmode": "verify-full", "sslrootcert": debian]),
        Case(
            query: "sslrootcert=system&sslmode=verify-full", readable: [debian, own], overrides: ["sslrootcert": debian]
        ),
        Case(
            query: "", environment: ["PGSSLROOTCERT": "system"],
            overrides: ["sslmode": "verify-full", "sslrootcert": debian]),
        Case(
            query: "sslmode=verify-full", environment: ["SSL_CERT_FILE": "/b.pem"], readable: [debian, "/b.pem"],
            overrides: ["sslrootcert": "/b.pem"]),
        Case(
            query: "sslmode=verify-full", environment: ["SSL_CERT_FILE": "/b.pem"], overrides: ["sslrootcert": debian]),
        Case(query: "sslmode=verify-full", environment: ["SSL_CERT_FILE": ""], overrides: ["sslrootcert": debian]),
        Case(
            query: "sslmode=verify-full", readable: ["/etc/pki/tls/certs/ca-bundle.crt"],
            overrides: ["sslrootcert": "/etc/pki/tls/certs/ca-bundle.crt"]),
    ])
    func completesWhatTheURLLeavesOut(_ expected: Case) throws {
        let overrides = try DatabaseURL("postgresql://h/d?\(expected.query)").tlsOverrides(
            environment: expected.environment, isReadable: expected.readable.contains)
        #expect(overrides == expected.overrides)
    }

    @Test(arguments: [
        Case(query: "sslmode=verify-full", readable: []),
        Case(query: "sslmode=verify-ca", readable: []),
        Case(query: "sslrootcert=system", readable: [own]),
        Case(query: "sslrootcert=system&sslmode=require"),
        Case(query: "sslrootcert=system&sslmode=verify-ca"),
        Case(query: "sslrootcert=system", environment: ["PGSSLMODE": "prefer"]),
    ])
    func refusesToVerifyAgainstNothing(_ refused: Case) {
        #expect {
            try DatabaseURL("postgresql://h/d?\(refused.query)").tlsOverrides(
                environment: refused.environment, isReadable: refused.readable.contains)
        } throws: {
            if case PostgresError.invalidParameters = $0 { true } else { false }
        }
    }

    @Test(
        arguments: [
            ("postgresql://h/d", "sslmode=verify-full and channel_binding=require"),
            ("postgresql://h/d?sslmode=verify-full", "channel_binding=require"),
            ("postgresql://h/d?sslmode=verify-ca&channel_binding=require", "sslmode=verify-full"),
            (
                "postgresql://h/d?sslmode=require&channel_binding=prefer",
                "sslmode=verify-full and channel_binding=require"
            ),
            ("postgresql://h/d?sslmode=verify-full&channel_binding=require", nil),
            ("postgresql://h/d?sslrootcert=system&channel_binding=require", nil),
            ("postgresql://h/d?sslrootcert=system&sslmode=require&channel_binding=require", "sslmode=verify-full"),
            ("postgresql:///d", nil), ("postgresql:///d?host=/run/p", nil), ("postgresql:///d?host=@p", nil),
            ("postgresql://localhost/d", nil), ("postgresql://127.0.0.2/d", nil), ("postgresql://[::1]/d", nil),
            ("postgresql://127.example.org/d", "sslmode=verify-full and channel_binding=require"),
            ("postgresql://localhost,h/d", "sslmode=verify-full and channel_binding=require"),
            ("postgresql://localhost/d?hostaddr=192.0.2.1", "sslmode=verify-full and channel_binding=require"),
            ("postgresql://h/d?hostaddr=127.0.0.1", nil),
        ] as [(String, String?)])
    func warnsOfEveryWeakWayToAnotherHost(url: String, missing: String?) throws {
        let warning = try DatabaseURL(url).transportWarning(environment: [:])
        #expect((warning == nil) == (missing == nil), "\(warning ?? "")")
        if let missing, let warning { #expect(warning.contains("is without \(missing);")) }
    }

    /// A URL in place of a host's name may hold a password.
    @Test(arguments: [
        ("postgresql:///d", ["PGHOST": "postgresql://role:CANARY@db.example.org"]),
        ("postgresql:///d", ["PGHOST": "role:CANARY@db.example.org"]),
        ("postgresql://role@/d?host=role:CANARY@db.example.org", [:]),
        ("postgresql://role@/d?hostaddr=role:CANARY@192.0.2.1", [:]),
    ])
    func warnsWithoutAPassword(text: String, environment: [String: String]) throws {
        let warning = try #require(try DatabaseURL(text).transportWarning(environment: environment))
        #expect(warning.hasPrefix("the database URL for … is without sslmode=verify-full"), "\(warning)")
        #expect(!warning.contains("CANARY"), "\(warning)")
    }

    @Test func warnsByWhatTheEnvironmentAdds() throws {
        let url = try DatabaseURL("postgresql:///d")
        #expect(url.transportWarning(environment: ["PGHOST": "h"]) != nil)
        let strong = ["PGHOST": "h", "PGSSLMODE": "verify-full", "PGCHANNELBINDING": "require"]
        #expect(url.transportWarning(environment: strong) == nil)
    }
}

@Suite struct RequiredAuthenticationTests {
    @Test(
        arguments: [
            ("postgresql://u:p@127.0.0.1/d?sslmode=disable", [:], 160_000, "!password"),
            ("postgresql://u:p@db.example/d?sslmode=require", [:], 180_000, "!password"),
            ("postgresql://u:p@db.example/d?sslmode=require", [:], 150_018, nil),
            ("postgresql://u:p@db.example/d?sslmode=verify-full&sslrootcert=/ca", [:], 160_000, nil),
            ("postgresql://u:p@/d?host=/run/postgresql", [:], 160_000, nil),
            ("postgresql://u:p@127.0.0.1/d", ["PGREQUIREAUTH": "password"], 160_000, nil),
            ("postgresql://u:p@127.0.0.1/d", ["PGSSLMODE": "verify-full"], 160_000, nil),
        ] as [(String, [String: String], Int32, String?)])
    func sendsAPasswordInClearOnlyToAServerThatIsKnown(
        text: String, environment: [String: String], version: Int32, required: String?
    ) throws {
        let url = try DatabaseURL(text)
        let tls = try url.tlsOverrides(environment: environment) { _ in true }
        let host = try #require(try url.hosts(environment: environment).first)
        let parameters = ConnectionParameters(
            url: url, tls: tls, candidate: host, environment: environment, libpqVersion: version)
        #expect(parameters.values["require_auth"] == required)
    }
}
