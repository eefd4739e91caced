import Testing

@testable import SessionCleanup

@Suite struct RowConditionTests {
    @Test(arguments: [
        "expires_at < $1", "(a = ANY ('{1,2}'::int[])) AND b[1] < $1", "\"a;b\" < $1 AND x = 'it''s -- no /* comment'",
        "ended::timestamp with time zone < $1 - interval '7 days'", "a->>'k' = 'v' AND $1 > t", "née < $1",
        "a - -1 < $1",
        "end_time < $1\n  AND status IN ('succeeded', 'failed')", "selected AND tables < $1", "1e5 < x AND $1 > t",
    ])
    func takesAConditionOnTheRow(sql: String) throws {
        #expect(try RowCondition(parsing: sql).sql == sql)
    }

    @Test(arguments: [
        ("", "$1"), ("expires_at < now()", "$1"), ("'$1' = a", "$1"), ("\"$1\" < a", "$1"),
        ("t < $1) OR (true", ")"), ("(t < $1", "("), ("t[1 < $1", "["), ("(t < $1]", "]"), (") OR (t < $1", ")"),
        ("t < $1; DROP TABLE x", ";"), ("t < $1 --", "--"), ("t < $1 -- x\n", "--"), ("t < $1 /* x */", "/*"),
        ("t < $1/**/", "/*"), ("t < $1 AND a = 'x", "'"), ("t < $1 AND \"a", "\""), ("t < $1 AND a = '\\'", "\\"),
        ("t < $1 AND a = E'\\' OR true) OR (b = '", "\\"), ("t < $1 AND a \\ b", "meaning"), ("t < $1\0", "meaning"),
        ("t < $2", "$2"), ("t < $11", "$11"), ("t < $1a", "$1"), ("t < $1 AND a = $$x$$", "parameter"),
        ("t < $1 AND a = $q$) OR ($q$", "parameter"), ("t < $1 AND EXISTS (SELECT 1)", "row alone"),
        ("t < $1 AND a IN (tAbLe b)", "row alone"), ("t < $1 AND U&'d' = a", "U&"), ("t < $1 AND u&\"d\" = a", "U&"),
        ("t < $1 AND \(String(repeating: "f", count: 64))(a)", "63"),
        ("t < $1 AND a = '\(String(repeating: "x", count: 4096))'", "longer"),
    ])
    func refusesWhatCouldLeaveItsParentheses(sql: String, words: String) {
        let error = #expect(throws: RowConditionError.self) { try RowCondition(parsing: sql) }
        #expect(error?.description.contains(words) ?? false, "\(error?.description ?? "")")
    }

    @Test func knowsWhatIsCalledAsTheServerFoldsIt() throws {
        let condition = try RowCondition(
            parsing: "Clock_Timestamp () > $1 AND app . \"F x\"(1) AND a IN (1) AND x.y < b AND (c) AND 'f' = g(h(2))")
        #expect(
            condition.calls.map { "\($0.schema ?? "-").\($0.name)" }
                == ["-.clock_timestamp", "app.F x", "-.in", "-.and", "-.g", "-.h"])
    }
}
