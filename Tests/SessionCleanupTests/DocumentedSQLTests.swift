import Foundation
import TestServers
import Testing

@testable import SessionCleanup

/// The README shows what is due, and docs/design.md the SQL of a run; it has to be the SQL that runs.
@Suite struct DocumentedSQLTests {
    private static let readme: String = {
        // Empty when it cannot be read: then nothing is found in it.
        return words((try? Repository.text("README.md")) ?? "")
    }()

    private static func words(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    private static let transient = Job.transientSessions.rules.active
    private static let dormant = Job.dormantSessions().rules.active

    @Test(arguments: [transient, dormant])
    func theREADMEShowsWhatIsDue(rule: Rule) {
        #expect(Self.readme.contains(rule.predicate))
    }
}
