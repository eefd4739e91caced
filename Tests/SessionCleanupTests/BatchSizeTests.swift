@testable import SessionCleanup
import Testing

@Suite struct BatchSizeTests {
    @Test func startsSmallAndDoublesWhileTheServerIsFast() {
        var size = BatchSize(target: .milliseconds(50), most: 1000)
        var sizes = [size.rows]
        for _ in 0..<5 {
            size.batchEnded(rows: size.rows, after: .milliseconds(1))
            sizes.append(size.rows)
        }
        #expect(sizes == [100, 200, 400, 800, 1000, 1000])
    }

    @Test func theServersWorkTakesAQuarterOfTheTarget() {
        var size = BatchSize(target: .milliseconds(50), most: 10_000)
        // 5 microseconds a row: 2500 rows take 12.5 ms.
        for _ in 0..<10 { size.batchEnded(rows: size.rows, after: .microseconds(5 * size.rows)) }
        #expect((2490...2500).contains(size.rows), "\(size.rows)")
    }

    @Test(arguments: [Duration.zero, .milliseconds(-3)])
    func workTooShortToMeasureIsFast(work: Duration) {
        var size = BatchSize(target: .milliseconds(50), most: 10_000)
        size.batchEnded(rows: 100, after: work)
        #expect(size.rows == 200)
    }

    @Test func shrinksAtOnceButNeverToNothing() {
        var size = BatchSize(target: .milliseconds(50), most: 10_000)
        size.batchEnded(rows: 100, after: .milliseconds(125))
        #expect((9...10).contains(size.rows), "\(size.rows)")
        size.batchEnded(rows: size.rows, after: .seconds(60))
        #expect(size.rows == 1)
        let mayShrink = size.batchTimedOut()
        #expect(!mayShrink)
    }

    @Test func aLastBatchOfFewRowsSaysNothing() {
        var size = BatchSize(target: .milliseconds(50), most: 10_000)
        size.batchEnded(rows: 3, after: .microseconds(15))
        #expect(size.rows == 100)
    }
}
