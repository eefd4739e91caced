@testable import SessionCleanup
import Testing
import Time

@Suite struct IntervalTests {
    /// PostgreSQL 14 reads the numbers in an interval into 32 bits.
    @Test func noStatementOfARunHasALargeNumberInAnInterval() throws {
        let history = History(retention: .seconds(3650 * 86_400))
        let request = RunRequest(scheduledAt: UTCInstant(secondsSinceEpoch: 0), origin: .schedule)
        let scripts = [
            HistorySQL.claim(
                request, of: "job", schema: nil, token: "t", history: history, cutoff: request.scheduledAt,
                tolerance: .seconds(300), inserts: true),
            HistorySQL.finish(
                request.scheduledAt, of: "job", token: "t", outcome: .failed, progress: RunProgress(), failure: nil,
                nextAttemptIn: .seconds(300), history: history),
        ]
        let rule = Job.dormantSessions(after: .seconds(3650 * 86_400) + .milliseconds(1)).rule
        let texts = scripts.map(\.text) + [rule.predicate(cutoff: "now()")]
        let numbers = texts.joined().matches(of: /interval '(\d+)/).compactMap { Int($0.1) }
        #expect(numbers.count >= 6 && numbers.allSatisfy { $0 <= Int(Int32.max) }, "\(numbers)")
    }
}
