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
        ("t < $1 AND a = $q$) OR ($q$", "parameter"), ("t < $1 AND EXISTS (SELECT 1)", "EXISTS takes"),
        ("t < $1 AND a IN (tAbLe b)", "only by EXISTS"), ("t < $1 AND U&'d' = a", "U&"),
        ("t < $1 AND u&\"d\" = a", "U&"),
        ("t < $1 AND \(String(repeating: "f", count: 64))(a)", "63"),
        ("t < $1 AND a = '\(String(repeating: "x", count: 4096))'", "longer"),
    ])
    func refusesWhatCouldLeaveItsParentheses(sql: String, words: String) {
        let error = #expect(throws: RowConditionError.self) { try RowCondition(parsing: sql) }
        #expect(error?.description.contains(words) ?? false, "\(error?.description ?? "")")
    }

    @Test(arguments: [
        ("NOT EXISTS (SELECT FROM public.s WHERE s.id = t.id) AND t < $1", ["public.s"]),
        (
            "exists(select 1 from \"A b\" . C as x , d.e y where x.limit > 1.5 and y.\"order\" < $1)",
            ["\"A b\".c", "d.e"]
        ),
        ("t < $1 AND EXISTS (SELECT * FROM a.b WHERE EXISTS (SELECT FROM c.d) AND left(x, 3) = 'x')", ["a.b", "c.d"]),
        ("t < $1 AND EXISTS (SELECT FROM a.b WHERE substring(x FROM 1 FOR 2) = 'x')", ["a.b"]),
        ("t < $1 AND x.exists (1)", []),
    ])
    func knowsTheTablesThatItLooksAt(sql: String, tables: [String]) throws {
        let condition = try RowCondition(parsing: sql)
        #expect(condition.sql == sql && condition.tables.map(\.description) == tables)
    }

    @Test(arguments: [
        "SELECT FROM a.b GROUP BY x", "SELECT FROM a.b WHERE x LIMIT 1", "SELECT FROM a.b WHERE x > 1.5 LIMIT 1",
        "SELECT FROM a.b WHERE x > 1LIMIT 1", "SELECT FROM a.b WHERE x > 1. LIMIT 1",
        "SELECT FROM a.b WHERE 'x'OFFSET 1",
        "SELECT FROM a.b WHERE x UNION VALUES (1)", "SELECT FROM a.b FOR UPDATE", "SELECT FROM a.b WHERE (x) FOR SHARE",
        "SELECT FROM a.b WHERE x ORDER BY y", "SELECT FROM a.b JOIN c.d ON true", "SELECT FROM a.b, LATERAL (SELECT)",
        "SELECT FROM a.b NATURAL JOIN c.d", "SELECT FROM a.b x (y)", "SELECT FROM ONLY a.b", "SELECT FROM b",
        "SELECT FROM a.b.c",
        "SELECT FROM a.f(1)", "SELECT FROM (a.b)", "SELECT x FROM a.b", "SELECT DISTINCT FROM a.b", "SELECT 1",
        "SELECT",
        "WITH x AS (SELECT) SELECT FROM a.b", "VALUES (1)", "TABLE a.b", "(SELECT FROM a.b)",
        "SELECT FROM a.b TABLESAMPLE system(1)",
        "SELECT FROM a.b WHERE EXISTS (SELECT FROM c.d WHERE y HAVING z)", "SELECT FROM a.\"\"", "SELECT FROM",
        "SELECT FROM a.b WHERE x IN (SELECT y FROM c.d)", "SELECT FROM a.b WHERE x = (SELECT 1)", "SELECT FROM a.b,",
        "SELECT FROM a.b WHERE x WINDOW w AS ()", "SELECT FROM a.b WHERE x[1] EXCEPT TABLE c", "SELECT INTO x FROM a.b",
        "SELECT FROM a.\(String(repeating: "f", count: 64))",
    ])
    func takesNothingElseOfAQuery(query: String) {
        #expect(throws: RowConditionError.self) { try RowCondition(parsing: "t < $1 AND EXISTS (\(query))") }
        #expect(throws: RowConditionError.self) { try RowCondition(parsing: "t < $1 AND \"exists\" (SELECT FROM a.b)") }
    }

    @Test func knowsWhatIsCalledAsTheServerFoldsIt() throws {
        let condition = try RowCondition(
            parsing: "Clock_Timestamp () > $1 AND app . \"F x\"(1) AND a IN (1) AND x.y < b AND (c) AND 'f' = g(h(2))")
        #expect(
            condition.calls.map { "\($0.schema ?? "-").\($0.name)" }
                == ["-.clock_timestamp", "app.F x", "-.in", "-.and", "-.g", "-.h"])
    }
}
