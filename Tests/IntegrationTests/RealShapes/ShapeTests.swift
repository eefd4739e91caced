import Foundation
import SeededRandom
import SessionCleanup
import TestServers
import Testing

/// Runs of the program on databases as applications have them, compared with brute-force accounts of their work.
@Suite(.inTurn) struct ShapeTests {
    @Test(.slow, arguments: Shape.table)
    func deletesWhatCanBeDeletedOneByOne(shape: Shape) async throws {
        try await Self.expectSame(shape)
    }

    @Test(.slow, arguments: SeededRandom.seeds(16))
    func deletesWhatCanBeDeletedOneByOneInAnyShape(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        try await Self.expectSame(Shape(using: &random))
    }

    private static func expectSame(_ shape: Shape) async throws {
        let database = try await SessionsDatabase(on: .packaged(), shape.generation)
        let role = try await database.makeServiceRole()
        let authenticated = try await database.makeServiceRole(grants: [])
        try await database.run(shape.definition(role: role, authenticated: authenticated))
        let holder: OtherTransaction? =
            if let lock = shape.lock { try await OtherTransaction(in: database, lock) } else { nil }
        let before = try await database.value("(\(ShapeOracle.state(of: shape)))")
        let expected = try await ShapeOracle(shape, in: database)

        let user = shape.security == .superuser ? "postgres" : role
        let metrics = try TemporaryDirectory.make() + "/metrics.prom"
        let result = try await database.daemon(
            ["--once", "--job", shape.job, "--json", "--metrics-textfile", metrics],
            url: database.server.url(database.name, user: user))
        let after = try await database.value("(\(ShapeOracle.state(of: shape)))")
        try await holder?.rollBack()

        #expect(!"\(result)".contains("SECRET"), "\(result)")
        guard !shape.security.isRefused else {
            #expect(result.status == 77 && after == before, "\(shape.testDescription)\n\(result)")
            return
        }
        let account = try Account(result)
        #expect(try Self.batchesAreShort(metrics), "\(shape.testDescription)\n\(result)")
        #expect(result.status == (account.refused > 0 ? 77 : 0), "\(shape.testDescription)\n\(result)")
        if shape.leavesAnyOf {
            // The order decides which sessions are renewed; but those that are still due were all skipped or refused.
            #expect(try await database.count(shape.due) == account.skipped + account.refused, "\(result)")
            return
        }
        #expect(after == expected.state, "\(shape.testDescription)\n\(result)")
        if shape.countsAreCertain {
            #expect(account.deleted == expected.deleted, "\(shape.testDescription)\n\(result)")
        }
        #expect(account.skipped == expected.skipped, "\(shape.testDescription)\n\(result)")
        #expect(account.refused == expected.refused, "\(shape.testDescription)\n\(result)")
    }

    /// True if no batch took over 2.5 s: each takes some milliseconds, and hundreds where eight programs share a core.
    private static func batchesAreShort(_ path: String) throws -> Bool {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        func sum(_ label: String) -> Int {
            text.split(separator: "\n")
                .filter { $0.hasPrefix("mcp_cleanup_batch_duration_seconds_bucket") && $0.contains(label) }
                .compactMap { $0.split(separator: " ").last.flatMap { Int($0) } }.reduce(0, +)
        }
        return sum("le=\"2.5\"") == sum("le=\"+Inf\"")
    }

    /// The counts of the line that `--once --json` prints.
    private struct Account {
        let deleted: Int
        let skipped: Int
        let refused: Int

        init(_ result: CommandResult) throws {
            let line = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any]
            func number(_ key: String) -> Int { line?[key] as? Int ?? -1 }
            deleted = number("rows_deleted")
            skipped = number("rows_skipped")
            refused = number("rows_refused")
        }
    }
}
