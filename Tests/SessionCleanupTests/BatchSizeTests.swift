import Pseudorandom
@testable import SessionCleanup
import Testing

/// A batch costs a constant part and a part for each row.
@Suite struct BatchSizeTests {
    /// Lets the size settle on a server with these costs.
    private static func settled(
        constant: Duration, perRow: Duration, limit: Duration = .milliseconds(50), most: Int = 10_000,
        roundTrip: Duration = .zero, rounds: Int = 40
    ) -> (count: Int, longest: Duration, batches: Int) {
        var size = BatchSize(limit: limit, most: most)
        var longest = Duration.zero
        for _ in 0..<rounds {
            let cost = constant + perRow * size.count
            longest = max(longest, cost)
            size.batchEnded(size.count, cost: cost, roundTrip: roundTrip)
        }
        return (size.count, longest, rounds)
    }

    @Test func startsWithOneRowAndAtMostDoubles() {
        var size = BatchSize(limit: .milliseconds(50), most: 1000)
        var counts: [Int] = []
        for _ in 0..<6 {
            counts.append(size.count)
            size.batchEnded(size.count, cost: .microseconds(300), roundTrip: .zero)
        }
        #expect(counts == [1, 2, 4, 8, 16, 32])
    }

    @Test func cheapRowsAreTakenForAboutTwoMilliseconds() {
        let settled = Self.settled(constant: .microseconds(300), perRow: .microseconds(3))
        #expect((400...700).contains(settled.count), "\(settled)")
    }

    /// A row of 50 ms, as under a slow trigger: never more than two at once, and that once.
    @Test func expensiveRowsAreTakenOneByOne() {
        let settled = Self.settled(constant: .microseconds(300), perRow: .milliseconds(50))
        #expect(settled.count == 1 && settled.longest < .milliseconds(110), "\(settled)")
    }

    /// Many partitions, or a statement trigger: the constant part must not drive the size down.
    @Test(arguments: [Duration.milliseconds(5), .milliseconds(10), .milliseconds(40)])
    func aConstantCostIsSharedByManyRows(constant: Duration) {
        let settled = Self.settled(constant: constant, perRow: .microseconds(5))
        #expect(settled.count >= 900, "\(settled)")
        #expect(settled.longest <= max(constant * 3, .milliseconds(50)), "\(settled)")
    }

    /// Every second batch waits for a processor that other programs use.
    @Test func aBusyMachineDoesNotMakeBatchesTiny() {
        var generator = SplitMix64(seed: 7)
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        var (rows, work) = (0, Duration.zero)
        for _ in 0..<400 {
            let own = Duration.microseconds(500 + 3 * size.count)
            let wait = Duration.milliseconds(Int.random(in: 0...16, using: &generator))
            rows += size.count
            work += own
            size.batchEnded(size.count, cost: Bool.random(using: &generator) ? own + wait : own, roundTrip: .zero)
        }
        #expect(rows > 100_000, "\(rows) rows in 400 batches")
        #expect(work < Duration.milliseconds(20) * 400, "\(work)")
    }

    @Test func theLimitHoldsWhereTheConstantPartIsSmall() {
        let settled = Self.settled(
            constant: .milliseconds(1), perRow: .microseconds(100), limit: .milliseconds(4),
            roundTrip: .milliseconds(200))
        #expect(settled.longest <= .milliseconds(5), "\(settled)")
    }

    @Test func shrinksAtOnceWhenRowsBecomeExpensive() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        for _ in 0..<20 { size.batchEnded(size.count, cost: .microseconds(300 + 3 * size.count), roundTrip: .zero) }
        let before = size.count
        for _ in 0..<6 { size.batchEnded(size.count, cost: .milliseconds(size.count), roundTrip: .zero) }
        #expect(size.count < before / 20, "\(before) became \(size.count)")
    }

    @Test func aFailedBatchIsHalvedDownToOneRow() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        size.batchFailed(9)
        #expect(size.count == 1)
        for _ in 0..<10 { size.batchEnded(size.count, cost: .microseconds(300), roundTrip: .zero) }
        let count = size.count
        size.batchFailed(count)
        #expect(size.count == count / 2)
    }

    @Test func neverTakesMoreThanItMay() {
        #expect(Self.settled(constant: .zero, perRow: .nanoseconds(10), most: 100).count == 100)
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        size.guardFound(largestThatPassed: 5)
        for _ in 0..<20 { size.batchEnded(size.count, cost: .microseconds(300), roundTrip: .zero) }
        #expect(size.count == 5)
    }
}
