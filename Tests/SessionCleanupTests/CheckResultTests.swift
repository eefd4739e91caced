import CleanupSchedule
import Foundation
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// The results that checks derive from given facts; other tests show on real servers that they find the facts.
@Suite struct CheckResultTests {
    private static let host = UTCInstant(secondsSinceEpoch: 1_780_000_000)

    @Test(arguments: [
        (Duration.zero, CheckResult.Status.ok, "agree"), (.seconds(300), .ok, "300 s ahead of"),
        (.seconds(301), .fail, "300 s ahead"), (.seconds(-300), .ok, "300 s behind"),
        (.seconds(-301), .warn, "301 s behind"),
    ])
    func aClockThatIsTooFarAheadFails(skew: Duration, status: CheckResult.Status, words: String) {
        let clocks = ClockComparison(database: Self.host + skew, sent: Self.host, received: Self.host)
        do {
            switch try clocks.finding(limit: .seconds(300)) {
            case .ok(let message): #expect(status == .ok && message.contains(words), "\(message)")
            case .warn(let message, let hint):
                #expect(status == .warn && message.contains(words) && hint != nil, "\(message)")
            }
        } catch {
            let result = CheckResult.fail(.clock, error)
            #expect(status == .fail && result.message.contains(words), "\(result.message)")
            #expect(result.kind == .mayPass && result.hint != nil)
        }
    }

    @Test(arguments: [
        ("mcp_sessions", "idx_mcp_sessions_cleanup_dormant"),
        (String(repeating: "x", count: 63), "idx_" + String(repeating: "x", count: 43) + "_cleanup_dormant"),
        (String(repeating: "é", count: 31), "idx_" + String(repeating: "é", count: 21) + "_cleanup_dormant"),
    ])
    func anIndexHasANameThatTheServerDoesNotCut(table: String, name: String) {
        let index = PartialIndex(
            on: TableName(schema: "public", table: table), for: "dormant", rule: Job.dormantSessions().rule)
        #expect(index.name == name)
        #expect(index.name.utf8.count <= 63)
    }

    @Test func theRunbookSaysOfEachCheckWhatToDo() throws {
        let runbook = try Repository.text("docs/operations.md")
        let rows = runbook.components(separatedBy: "\n").filter { $0.hasPrefix("| `") }.map {
            $0.components(separatedBy: " | ")[0]
        }
        for check in CheckResult.Check.allCases {
            #expect(rows.contains { $0.contains("`\(check.rawValue)`") }, "\(check.rawValue)")
        }
    }
}
