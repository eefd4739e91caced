import Foundation
import Postgres
import SeededRandom
@testable import SessionCleanup
import TestServers
import Testing

/// Each condition that the reader accepts is one expression that stays in its parentheses, and looks at no other
/// tables than the reader says.
@Suite(.inTurn) struct ConditionFuzzTests {
    private static let operands = [
        "true", "a = 1", "b = 'x'", "(c < now())", "NOT (true)", "\"b\" IS NULL", "b IN ('(', ')')",
        "(ARRAY[a])[1] = 1",
        "a > 1.5", "a > 1e1", "EXISTS (SELECT FROM public.u)", "EXISTS (SELECT FROM public.u WHERE u.a = t.a)",
        "NOT EXISTS (SELECT 1 FROM public.u AS v, public.w WHERE v.a = w.a AND (t.a = 1))",
        "EXISTS (SELECT * FROM public.u x WHERE EXISTS (SELECT FROM public.w WHERE w.a = x.a AND t.b = 'x'))",
        "substring(b FROM 1 FOR 2) = 'x'", "t.limit IS NULL",
    ]
    /// Pieces that could close our parenthesis, begin another part of a query, or hide either from a reader that is
    /// less careful than the server.
    private static let pieces = [
        ") OR (", ") OR true OR (", ") OR true --", ") --", ";", "'", "\"", "::text", "]", "(", ")", "/*(*/", "/*)*/",
        "--(\n",
        "--)\n", "'('", "')'", "\"(\"", "\")\"", "E'\\'('", "E'\\')'", "$$($$", "$q$)$q$", "U&'('", "/*/*(*/*/",
        "\u{A0}", "é",
        "\n", " UNION SELECT FROM public.s", " UNION TABLE public.s", " UNION VALUES (1)", "LIMIT 0", "1LIMIT 0",
        "1.LIMIT 0",
        ".5LIMIT 0", " FOR UPDATE", " GROUP BY 1", " ORDER BY 1", " OFFSET 1", " FETCH FIRST ROW ONLY", ", public.s",
        " JOIN public.s ON true",
        " NATURAL JOIN public.s", " CROSS JOIN public.s", ", LATERAL (SELECT FROM public.s) l",
        ", generate_series(1, 2)", " TABLESAMPLE system(1)",
        "WITH x AS (DELETE FROM public.s RETURNING 1) ", "(SELECT 1 FROM public.s) IS NULL", "EXISTS (",
        "EXISTS (VALUES (1))",
        "EXISTS (TABLE public.s)", "EXISTS (WITH x AS (SELECT) SELECT FROM public.s)",
        "EXISTS (SELECT FROM public.s.t)",
        "EXISTS (SELECT FROM ONLY public.s)", "EXISTS (SELECT FROM s)", "\"exists\" (SELECT FROM public.s)",
        "x.exists (SELECT FROM public.s)",
        "SELECT", "FROM", "WHERE", " AND ", " OR ", " NOT ", " WINDOW w AS ()", " HAVING true", " INTO public.z",
        " AS x", " 1 ", " . ", " , ",
    ]

    private static func text(using generator: inout SeededRandom) -> String {
        func any(_ list: [String]) -> String { list.randomElement(using: &generator)! }  // Not empty.
        var text = any(operands)
        for _ in 0..<Int.random(in: 0...4, using: &generator) {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: text += any([" AND ", " OR "]) + any(operands)
            case 1:
                // A piece at any place, also within a query.
                let place = text.index(text.startIndex, offsetBy: Int.random(in: 0...text.count, using: &generator))
                text.insert(contentsOf: any(pieces), at: place)
            case 2: text = any(pieces) + text
            default:
                let place = Int.random(in: 0..<max(text.count, 1), using: &generator)
                if Bool.random(using: &generator) { text = String(text.prefix(place) + text.dropFirst(place + 1)) }
            }
        }
        return text
    }

    /// The tables that a plan reads.
    private static func relations(in plan: String) -> Set<String> {
        Set(plan.matches(of: /"Relation Name": "([^"]+)"/).map { String($0.1) })
    }

    /// `make fuzz` tries twenty times as many conditions.
    @Test(.slow) func noAcceptedConditionLeavesItsParentheses() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE TABLE t (a int, b text, c timestamptz, "limit" int); INSERT INTO t VALUES (1, 'x', now(), 1);
            CREATE TABLE u AS SELECT 1 AS a; CREATE TABLE w AS SELECT 1 AS a; CREATE TABLE s AS SELECT 1 AS a;
            """)
        var generator = SeededRandom(seed: SeededRandom.seed())
        let connection = try await database.server.connect(database.name)
        var (accepted, understood, withQueries) = (0, 0, 0)
        for _ in 0..<(5000 * Soak.factor) {
            let text = Self.text(using: &generator)
            guard
                let condition = try? RowCondition(
                    parsing: Bool.random(using: &generator) ? "\(text) OR c < $1" : "c < $1 AND \(text)")
            else { continue }
            accepted += 1
            let sql = condition.sql(cutoff: "now()")
            // A condition that the server refuses does no harm.
            guard
                let results = try? await connection.script(
                    """
                    SELECT count(*) AS found FROM public.t AS t WHERE false AND (\(sql));
                    EXPLAIN (FORMAT JSON, COSTS FALSE) SELECT FROM public.t AS t WHERE (\(sql)) IS TRUE
                    """, deadline: .now + .seconds(30))
            else { continue }
            understood += 1
            if !condition.tables.isEmpty { withQueries += 1 }
            #expect(results.count == 2, "\(text)")
            #expect(try results[0].onlyRow().text("found") == "0", "\(text)")
            let plan = try results[1].onlyRow().text("QUERY PLAN")
            let known = Set(condition.tables.map(\.table) + ["t"])
            #expect(Self.relations(in: plan).isSubset(of: known), "\(text): \(plan)")
            #expect(
                !plan.contains("LockRows") && !plan.contains("Function Scan") && !plan.contains("\"Limit\""), "\(text)")
        }
        await connection.close()
        #expect(
            try await database.value("SELECT concat_ws(' ', (SELECT count(*) FROM t), (SELECT count(*) FROM s))")
                == "1 1")
        print("\(accepted) accepted, \(understood) understood, \(withQueries) with queries")
        #expect(
            understood > 300 * Soak.factor && withQueries > 100 * Soak.factor,
            "\(accepted), \(understood), \(withQueries)")
    }

    /// Random bytes and tokens: the reader always comes to an end.
    @Test func noTextCrashesTheReader() {
        var generator = SeededRandom(seed: SeededRandom.seed())
        for _ in 0..<(5000 * Soak.factor) {
            var text = Self.text(using: &generator)
            for _ in 0..<Int.random(in: 0...8, using: &generator) {
                let scalar = Unicode.Scalar(UInt32.random(in: 0..<0x500, using: &generator)) ?? " "
                let place = text.index(text.startIndex, offsetBy: Int.random(in: 0...text.count, using: &generator))
                text.insert(Character(scalar), at: place)
            }
            if let condition = try? RowCondition(parsing: "\(text) $1") { #expect(condition.sql.hasSuffix("$1")) }
        }
    }
}
