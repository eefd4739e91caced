@testable import SessionCleanup
import Testing

@Suite struct TableNameTests {
    @Test(arguments: [
        ("public.mcp_sessions", "public", "mcp_sessions"),
        ("Public.MCP_Sessions", "public", "mcp_sessions"),
        (#""Public"."MCP_Sessions""#, "Public", "MCP_Sessions"),
        (#"app."select""#, "app", "select"),
        ("app.select", "app", "select"),
        (#""a.b"."c.d""#, "a.b", "c.d"),
        (#""a""b".c"#, #"a"b"#, "c"),
        (#"public."""""#, "public", #"""#),
        (#"public."x; DROP TABLE y; --""#, "public", "x; DROP TABLE y; --"),
        (#"public." ""#, "public", " "),
        (#"public."Sitzungen für µ""#, "public", "Sitzungen für µ"),
        ("_a.b$1", "_a", "b$1"),
        (#""$a"."1b""#, "$a", "1b"),
        ("a." + String(repeating: "x", count: 63), "a", String(repeating: "x", count: 63)),
    ])
    func readsANameAsSQLDoes(text: String, schema: String, table: String) throws {
        let name = try TableName(parsing: text)
        #expect(name.schema == schema)
        #expect(name.table == table)
    }

    @Test(arguments: [
        ("", TableNameError.malformed),
        (".", .malformed),
        ("mcp_sessions", .schemaMissing),
        (#""public.mcp_sessions""#, .schemaMissing),
        ("public.", .malformed),
        (".mcp_sessions", .malformed),
        ("public.mcp_sessions.", .malformed),
        ("neondb.public.mcp_sessions", .malformed),
        ("public..mcp_sessions", .malformed),
        ("public.mcp_sessions; DROP TABLE x", .malformed),
        ("public.mcp_sessions--", .malformed),
        ("public.mcp-sessions", .malformed),
        (" public.mcp_sessions", .malformed),
        ("public.mcp_sessions\n", .malformed),
        ("public.1st", .malformed),
        ("public.$a", .malformed),
        ("public.größe", .malformed),
        // The Kelvin sign, whose lower case is an ASCII k.
        ("public.\u{212A}", .malformed),
        (#"public."""#, .malformed),
        (#"public."mcp_sessions"#, .malformed),
        (#"public.mcp"_sessions""#, .malformed),
        (#"public."a"b"#, .malformed),
        ("public.\"a\0b\"", .malformed),
        // A quotation mark with an accent behind it is one Character, and still a quotation mark to the server.
        ("public.\"x\"\u{301}; DROP TABLE y; --\"", .malformed),
        ("public.\"\u{301}x\"", nil),
        ("a." + String(repeating: "x", count: 64), .tooLong),
        (#"a.""# + String(repeating: "ä", count: 32) + #"""#, .tooLong),
    ])
    func refusesWhatIsNoQualifiedName(text: String, error: TableNameError?) {
        if let error {
            #expect(throws: error) { try TableName(parsing: text) }
        } else {
            #expect(throws: Never.self) { try TableName(parsing: text) }
        }
    }

    @Test(arguments: [
        (TableName.sessions, #""public"."mcp_sessions""#, "public.mcp_sessions"),
        (TableName(schema: "App", table: #"a"b"#), #""App"."a""b""#, #""App"."a""b""#),
        (TableName(schema: "a", table: "x\"\u{301}y"), "\"a\".\"x\"\"\u{301}y\"", "a.\"x\"\"\u{301}y\""),
        (TableName(schema: "a", table: "$b"), #""a"."$b""#, #"a."$b""#),
        (TableName(schema: "a", table: "1b"), #""a"."1b""#, #"a."1b""#),
        (TableName(schema: "a", table: "b; c"), #""a"."b; c""#, #"a."b; c""#),
    ])
    func quotesEveryPartForSQL(name: TableName, quoted: String, description: String) throws {
        #expect(Array(name.quoted.unicodeScalars) == Array(quoted.unicodeScalars))
        #expect(Array("\(name)".unicodeScalars) == Array(description.unicodeScalars))
        #expect(try TableName(parsing: name.quoted) == name)
        #expect(try TableName(parsing: "\(name)") == name)
    }
}
