@testable import SessionCleanup
import Testing
import Time

@Suite struct ClockComparisonTests {
    private static func comparison(_ database: Int64) -> ClockComparison {
        func at(_ milliseconds: Int64) -> UTCInstant { UTCInstant(microsecondsSinceEpoch: milliseconds * 1000) }
        return ClockComparison(database: at(database), sent: at(1000), received: at(1500))
    }

    @Test(arguments: [
        (Int64(1000), Duration.zero), (1250, .zero), (1500, .zero), (1501, .milliseconds(1)), (999, .milliseconds(-1)),
        (301_500, .seconds(300)), (-299_000, .seconds(-300)),
    ])
    func theTimeThatAskingTookIsNoSkew(database: Int64, skew: Duration) {
        #expect(Self.comparison(database).skew == skew)
    }

    @Test func exactlyAtTheLimitIsNotAhead() throws {
        try Self.comparison(301_500).refuseAhead(by: .seconds(300))
    }

    @Test func oneStepBeyondTheLimitIsRefusedWithBothTimes() {
        let comparison = Self.comparison(301_501)
        #expect(
            throws: RunFailure.databaseClockAhead(
                database: comparison.database, host: comparison.received, limit: .seconds(300))
        ) { try comparison.refuseAhead(by: .seconds(300)) }
    }

    @Test func farBehindIsNotRefused() throws {
        try Self.comparison(-86_400_000).refuseAhead(by: .seconds(1))
    }
}
