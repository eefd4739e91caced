import Foundation
import Testing

@testable import SessionCleanup

/// The README shows what is due, and docs/design.md the SQL of a run; it has to be the SQL that runs.
@Suite struct DocumentedSQLTests {
    private static let readme: String = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        // Empty when it cannot be read: then nothing is found in it.
        return ["README.md", "docs/design.md"].map {
            words((try? String(contentsOf: root.appendingPathComponent($0), encoding: .utf8)) ?? "")
        }.joined(separator: " ")
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

    @Test func theREADMEShowsTheSearchAndTheDeletion() {
        let rule = Self.transient
        for sql in [
            Statements.searchOldest(.sessions, rule: rule),
            BatchStatement(
                table: .sessions, rule: rule, cutoff: "$1", rows: .addresses("$2", partition: "$3")
            ).lockAndDelete(),
        ] {
            let shown = sql.split(separator: rule.predicate).joined(separator: "…what is due…")
            let isShown = Self.readme.contains(Self.words(shown))
            #expect(isShown, "\(shown)")
        }
    }
}
