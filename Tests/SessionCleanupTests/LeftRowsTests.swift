@testable import SessionCleanup
import Testing

@Suite struct LeftRowsTests {
    private static func row(_ number: UInt64) -> RowAddress { RowAddress(partition: 1, block: number, line: 1) }

    /// Only refused rows suggest that more of the same kind follow; locked ones do not.
    @Test func lockedRowsNeverBlockTheWalk() {
        var left = LeftRows()
        for _ in 0..<5000 { left.skip() }
        #expect(!left.isBlocked && left.skipped == 5000 && left.hasWaitedEnough)
        left.beginPass()
        #expect(!left.hasWaitedEnough && left.skipped == 0)
        for number in UInt64(0)..<1000 { left.refuse(Self.row(number), .kept) }
        #expect(left.isBlocked && left.refused == 1000 && !left.hasGivenUp)
    }

    @Test func aRowThatMayPassLaterIsTriedAgain() {
        var left = LeftRows()
        left.refuse(Self.row(1), .kept)
        left.refuse(Self.row(2), .timeLimit, mayPass: true)
        left.beginPass()
        let rows = [Self.row(1), Self.row(2), Self.row(3)]
        #expect(Array(left.withoutRefused(rows[...])) == [Self.row(2), Self.row(3)])
        #expect(left.refersToItself && left.refused == 1)
    }

    /// The walk from the other end meets the rows at which the first one has stopped.
    @Test func rowsThatBothEndsFindCountOnce() {
        var left = LeftRows()
        for number in UInt64(0)..<1000 { left.refuse(Self.row(number), .timeLimit, mayPass: true) }
        left.beginOtherEnd()
        for number in (UInt64(0)..<1500).reversed() { left.refuse(Self.row(number), .timeLimit, mayPass: true) }
        #expect(left.refused == 1500 && !left.isBlocked && !left.hasGivenUp)
    }
}
