import Foundation
import TestServers
import Testing

@testable import SessionCleanup

/// docs/design.md shows what is due; it has to be the SQL that runs.
@Suite struct DocumentedSQLTests {

    private static func words(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    private static let transient = Job.transientSessions.rule
    private static let dormant = Job.dormantSessions().rule

    @Test(arguments: [transient, dormant])
    func theDocumentsShowWhatIsDue(rule: Rule) throws {
        #expect(try Self.words(Repository.text("docs/design.md")).contains(rule.predicate))
    }
}
