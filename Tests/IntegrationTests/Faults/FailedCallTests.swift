import Foundation
import Postgres
import TestServers
import Testing

/// Every call of libpq that a run makes, made to fail in turn.
@Suite(.inTurn) struct FailedCallTests {
    struct Mode: Sendable, CustomTestStringConvertible {
        let name: String
        let isForever: Bool
        var testDescription: String { "\(name), \(isForever ? "from then on" : "once")" }
    }

    static let modes = ["refuse", "cut", "unheard"].flatMap { name in
        [false, true].map { Mode(name: name, isForever: $0) }
    }

    /// More calls than a run of four batches makes.
    private static let mostCalls = 1000

    @Test(.slow, arguments: modes)
    func eachCallThatFailsLosesNothing(mode: Mode) async throws {
        let failures = try await FailingCalls()
        let watched = try await WatchedDatabase(on: .packaged())
        try await watched.database.run(WatchedDatabase.due(1))
        // One row is locked to the end, so that each run counts a skipped row and searches once more.
        let holder = try await OtherTransaction(in: watched.database, "SELECT FROM mcp_sessions FOR SHARE")
        var reached: [String: Int] = [:]
        for call in 1...Self.mostCalls {
            try await watched.database.run(WatchedDatabase.due(12))
            let result = try await watched.database.daemon(
                ["--once", "--json"],
                environment: WatchedDatabase.environment.merging(failures.environment(call, mode)) { $1 })
            guard let failed = try failures.failed().first else {
                #expect(result.status == 0, "\(result)")
                break
            }
            reached[failed, default: 0] += 1
            let comment: Comment = "\(mode.testDescription): call \(call), \(failed): \(result)"
            // 78: the check of the URL calls PQconnectStartParams too, and fails where that returns no connection.
            #expect([0, 69, 75].contains(result.status) || failed == "PQconnectStartParams", comment)
            try await Self.expectHonestReport(result, of: watched, canBeHeard: !mode.isForever, comment)
            try await watched.expectExactAccounts(comment)
            try await watched.age()
            let clean = try await watched.finish()
            #expect(clean.status == 0 && clean.output.contains(#""outcome":"succeeded""#), "\(clean) after \(comment)")
            #expect(try await watched.database.count() == 1, comment)
            #expect(
                try await watched.database.count("status = 'running'", in: "mcp_cleanup.runs") == 0, comment)
        }
        try await watched.expectExactAccounts("\(mode)")
        try await holder.rollBack()
        let expected = mode.name == "unheard" ? ["PQsendQuery"] : FailingCalls.ofEachRun
        #expect(Set(reached.keys).isSuperset(of: expected), "\(reached)")
        print("\(mode.testDescription): \(reached.values.reduce(0, +)) calls: \(reached)")
    }

    /// A run's report and its row agree, unless its end could not be recorded.
    private static func expectHonestReport(
        _ result: CommandResult, of watched: WatchedDatabase, canBeHeard: Bool, _ comment: Comment
    ) async throws {
        guard let line = result.lines.last,
            let report = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
            let run = report["run_id"] as? Int
        else { return }
        let row = try await watched.database.run("SELECT * FROM mcp_cleanup.runs WHERE run_id = \(run)").onlyRow()
        let deleted = try #require(report["rows_deleted"] as? Int)
        guard canBeHeard else {
            #expect(deleted <= (try row.integer("rows_deleted")), comment)
            return
        }
        if try row.text("status") != "running" {
            #expect(deleted == (try row.integer("rows_deleted")), comment)
            #expect(report["outcome"] as? String == (try row.text("status")), comment)
        }
    }

    /// A statement that takes too long while nothing can be canceled: the run ends by its deadline all the same.
    @Test(arguments: [1, 2])
    func aCancellationThatFailsHoldsNothingUp(call: Int) async throws {
        let failures = try await FailingCalls()
        let watched = try await WatchedDatabase(on: .packaged(), secondsPerRow: 2)
        try await watched.database.run(WatchedDatabase.due(5))
        let command = try RunningCommand(
            ["--once", "--json"], url: watched.database.url,
            environment: WatchedDatabase.environment.merging(
                failures.environment(call, Mode(name: "refuse", isForever: true), only: "PQgetCancel,PQcancel")
            ) { $1 })
        try await eventually("a run is under way") {
            try await watched.database.count("status = 'running'", in: "mcp_cleanup.runs") == 1
        }
        let signaled = ContinuousClock.now
        command.send(15)
        let result = await command.end()
        #expect(signaled.duration(to: .now) < .seconds(10))
        #expect(result.status == 143, "\(result)")
        try await watched.expectExactAccounts("\(result)")
        try await watched.age()
    }
}

/// A library that makes calls of libpq fail.
struct FailingCalls: Sendable {
    private let directory: String

    static let ofEachRun: Set = [
        "PQconnectStartParams", "PQconnectPoll", "PQsetnonblocking", "PQsendQuery", "PQflush",
        "PQconsumeInput", "PQgetResult",
    ]

    init() async throws {
        directory = try TemporaryDirectory.make()
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("fail-call.c")
            .path
        let headers = try await Command.check("pkg-config", ["--cflags", "libpq"]).output.split(
            whereSeparator: \.isWhitespace)
        try await Command.check(
            "clang",
            ["-shared", "-fPIC", "-O1"] + headers.map(String.init) + [
                "-o", directory + "/fail-call.so", source, "-ldl",
            ])
    }

    /// Variables that make the call with this number fail.
    func environment(_ call: Int, _ mode: FailedCallTests.Mode, only names: String? = nil) throws -> [String: String] {
        try Data().write(to: URL(fileURLWithPath: directory + "/log"))
        var variables = [
            "LD_PRELOAD": directory + "/fail-call.so", "FAIL_CALL": "\(call)", "FAIL_MODE": mode.name,
            "FAIL_LOG": directory + "/log",
        ]
        if mode.isForever { variables["FAIL_FOREVER"] = "1" }
        if let names { variables["FAIL_ONLY"] = names }
        return variables
    }

    /// The calls that failed, in their order.
    func failed() throws -> [String] {
        try String(contentsOfFile: directory + "/log", encoding: .utf8).split(separator: "\n").map(String.init)
    }
}
