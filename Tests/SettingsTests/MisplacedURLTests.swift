import Postgres
import SessionCleanup
import Testing

@testable import Settings

@Suite struct MisplacedURLTests {
    @Test(arguments: [
        "postgresql://role:SECRET@host/db", "POSTGRESQL://role:SECRET@host/db", "postgres://host/db", "https://h/t0ken",
        "postgresql://role:SECRET@a,b:5433/db", "postgresql://role:SEC RET@host", "postgresql:/role:SECRET@host",
        "postgresql:role:SECRET@host", "role:SECRET@host/db", "role:SECRET@", "role:SEC@RET@host", "\"postgres:h/d\"",
        "postgresql%3A%2F%2Frole%3ASECRET%40host%2Fdb", "role%3aSECRET%40host", "host=h password=SECRET",
        "host=h PASSWORD = 'SECRET'", "password%3DSECRET", "x postgresql://role:SECRET@host/db", "'postgresql:'",
        "postgresql://role:SEC%40RET@host/db", "postgresql://[::1]:5432/db", " postgresql://h", "jdbc:postgresql://h/d",
    ])
    func areRecognized(text: String) {
        #expect(MisplacedURL.isIn(text))
        #expect(!text.shown.contains("SEC") && !text.shown.contains("t0ken"))
    }

    @Test(arguments: [
        "", "public.mcp_sessions", "*/5 * * * *", "@hourly", "127.0.0.1:9764", "[::1]:9764", "alice@example.com",
        "Europe/Berlin", "2026-05-13T12:05:00Z", "/etc/mcp-cleanupd/config.yaml", "--log-level", "15s", "100%",
        "expires_at < $1 AND kind = 'a'", "unix:/run/mcp-cleanupd/http.sock", "mcp_service_role", "50%3",
    ])
    func areNotSeenInWhatIsHarmless(text: String) {
        #expect(!MisplacedURL.isIn(text) && !MisplacedURL.isInValid(text))
        #expect(text.shown == "“\(text)”")
    }

    @Test func areNotSeenInSQLThatOnlyLooksLikeIt() {
        #expect(!MisplacedURL.isInValid("tags::jsonb @> '[1]' AND created_at < $1"))
        #expect(MisplacedURL.isInValid("url = 'postgresql://u:SECRET@h' AND $1 > x"))
    }

    /// The places are a value that is refused, one that is accepted, a key, and the name of a variable.
    @Test(arguments: ["postgresql://role:SECRET@host/db", "role:SECRET@host", "host=h password=SECRET"])
    func areNotRepeatedWhereverTheyStand(url: String) throws {
        let texts =
            Setting.general.map {
                "\($0.key.split(separator: ".")[0]): { \($0.key.split(separator: ".")[1]): \"\(url)\" }"
            }
            + ["schedule", "time-zone", "catch-up", "deadline", "max-rows", "enabled"].map {
                "jobs: { mcp-cleanup-dormant-sessions: { \($0): \"\(url)\" } }"
            } + [
                "\"\(url)\": { a: b }", "batch: { \"\(url)\": 5 }", "jobs: { \"\(url)\": { enabled: true } }",
                "\"\(url)\"",
                "jobs: { \"\(url)\": { table: a.b, where: a < $1, schedule: \"@daily\" } }", "batch: \"\(url)\"",
                "database: { table: '\"\(url)\".t' }",
                "jobs: { codes: { table: \"\(url)\", where: a < $1, schedule: \"@daily\" } }",
                "jobs: { codes: { table: a.b, where: \"\(url)\", schedule: \"@daily\" } }",
            ]
        for text in texts {
            let file = (path: "c.yaml", bytes: Array(text.utf8))
            let error = #expect(throws: ConfigurationFaults.self, "\(text)") { try EffectiveConfiguration(file: file) }
            #expect(!(error?.description.contains("SECRET") ?? true), "\(String(describing: error))")
        }
        // A name in quotes may be anything, and so may a text in a condition.
        let taken = """
            jobs: { codes: { table: a.b, where: "a < $1 AND b = '\(url)'", schedule: "@daily" } }
            """
        let effective = try EffectiveConfiguration(file: (path: "c.yaml", bytes: Array(taken.utf8)))
        #expect(!effective.yaml.contains("SECRET"))
        let variables = try EffectiveConfiguration(environment: ["MCP_CLEANUP_\(url)": "x"])
        #expect(variables.unknownVariables.allSatisfy { !$0.shown.contains("SECRET") })
        for setting in Setting.general {
            let error = #expect(throws: ConfigurationFaults.self) {
                try EffectiveConfiguration(environment: [setting.variable: url])
            }
            #expect(!(error?.description.contains("SECRET") ?? true), "\(String(describing: error))")
        }
    }
}
