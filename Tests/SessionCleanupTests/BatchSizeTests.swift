@testable import SessionCleanup
import Testing

@Suite struct BatchSizeTests {
    private static func size(first: Int = 100, most: Int = 10_000) -> BatchSize {
        BatchSize(target: .milliseconds(50), first: first, most: most)
    }

    @Test func startsSmallAndDoublesWhileTheServerIsFast() {
        var size = Self.size(most: 1000)
        var sizes = [size.count]
        for _ in 0..<5 {
            size.batchEnded(size.count, after: .microseconds(100), roundTrip: .zero)
            sizes.append(size.count)
        }
        #expect(sizes == [100, 200, 400, 800, 1000, 1000])
    }

    /// To a distant server a batch works as long as the way there and back takes, up to a quarter of the target.
    @Test(arguments: [(Duration.zero, 800), (.microseconds(500), 800), (.milliseconds(8), 1600), (.seconds(1), 2500)])
    func theServersWorkIsWorthTheWay(roundTrip: Duration, rows: Int) {
        var size = Self.size()
        // 5 microseconds a row.
        for _ in 0..<10 { size.batchEnded(size.count, after: .microseconds(5 * size.count), roundTrip: roundTrip) }
        #expect((rows - 10...rows).contains(size.count), "\(size.count)")
    }

    @Test func aLongWaitIsNoLongWay() {
        var size = Self.size()
        for roundTrip in [Duration.microseconds(100), .seconds(1), .milliseconds(30), .milliseconds(5)] {
            size.batchEnded(size.count, after: .microseconds(5 * size.count), roundTrip: roundTrip)
        }
        #expect(size.count == 800)
    }

    @Test func aTargetOfTheOperatorsIsKept() {
        var size = BatchSize(target: .milliseconds(1), first: 100, most: 10_000)
        for _ in 0..<10 { size.batchEnded(size.count, after: .microseconds(5 * size.count), roundTrip: .zero) }
        #expect((45...50).contains(size.count), "\(size.count)")
    }

    @Test func workTooShortToMeasureIsFast() {
        var size = Self.size()
        size.batchEnded(100, after: .zero, roundTrip: .zero)
        #expect(size.count == 200)
    }

    @Test func shrinksAtOnceButNeverToNothing() {
        var size = Self.size()
        size.batchEnded(100, after: .milliseconds(40), roundTrip: .zero)
        #expect((9...10).contains(size.count), "\(size.count)")
        size.batchEnded(size.count, after: .seconds(60), roundTrip: .zero)
        #expect(size.count == 1)
        size.shrink(to: 0)
        #expect(size.count == 1)
        let mayShrink = size.batchTimedOut()
        #expect(!mayShrink)
    }

    @Test func aLastBatchOfFewRowsSaysNothing() {
        var size = Self.size()
        size.batchEnded(3, after: .microseconds(15), roundTrip: .zero)
        #expect(size.count == 100)
    }
}
