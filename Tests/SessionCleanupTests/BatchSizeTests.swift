import SeededRandom
@testable import SessionCleanup
import Testing

/// A batch costs a constant part and a part for each row.
@Suite struct BatchSizeTests {
    /// Lets the size settle on a server with these costs, and returns the mean of the last two sizes.
    private static func settled(
        constant: Duration, perRow: Duration, limit: Duration = .milliseconds(50), most: Int = 10_000,
        roundTrip: Duration = .zero, records: Bool = false, rounds: Int = 40
    ) -> (count: Int, longest: Duration, batches: Int) {
        var size = BatchSize(limit: limit, most: most, records: records)
        var longest = Duration.zero
        var counts: [Int] = []
        for _ in 0..<rounds {
            let cost = constant + perRow * size.count
            longest = max(longest, cost)
            counts.append(size.count)
            size.batchEnded(size.count, cost: cost, roundTrip: roundTrip)
            if size.needsEmptyBatch { size.emptyBatchEnded(cost: constant) }
        }
        return (counts.suffix(2).reduce(0, +) / 2, longest, rounds)
    }

    /// The size doubles; it grows fourfold only once the rows are known to be the smaller part of a batch's cost.
    @Test(arguments: [(perRow: 1000, counts: [1, 2]), (20, [1, 2, 8, 16, 32]), (0, [1, 2, 8, 32, 128])])
    func startsWithOneRowAndGrowsByWhatIsKnown(perRow: Int, counts: [Int]) {
        var size = BatchSize(limit: .milliseconds(50), most: 1000)
        for count in counts {
            #expect(size.count == count)
            size.batchEnded(size.count, cost: .microseconds(300 + perRow * size.count), roundTrip: .zero)
        }
    }

    @Test func cheapRowsAreTakenForAboutTwoMilliseconds() {
        let settled = Self.settled(constant: .microseconds(300), perRow: .microseconds(3))
        #expect((400...700).contains(settled.count), "\(settled)")
    }

    /// A row that is recorded costs twice as much, and yet a batch takes about as many of them.
    @Test func aBatchThatRecordsItsRowsMayWorkForTwiceAsLong() {
        let plain = Self.settled(constant: .milliseconds(2), perRow: .microseconds(5))
        let recorded = Self.settled(constant: .milliseconds(2), perRow: .microseconds(10), records: true)
        #expect(abs(plain.count - recorded.count) < plain.count / 4, "\(plain) \(recorded)")
    }

    /// Half of the target, alternating between two and four thirds of that; beside another writer the next is small.
    @Test func withoutAnotherWriterABatchWorksAsLongAsItMay() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        func batch() {
            size.batchEnded(
                size.count, cost: .microseconds(1000 + 6 * size.count), roundTrip: .microseconds(100))
        }
        size.isAlone = true
        for _ in 0..<40 { batch() }
        #expect((2600...5400).contains(size.count), "\(size.count)")
        size.isAlone = false
        batch()
        #expect(size.count < 1000, "\(size.count)")
    }

    /// Rows become dearer by less than a surprise's factor 3: cheaper batches before must not outweigh this one.
    @Test func aLargeBatchShrinksAtOnceWhenRowsBecomeDearer() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        size.isAlone = true
        for _ in 0..<40 { size.batchEnded(size.count, cost: .microseconds(700 + 10 * size.count), roundTrip: .zero) }
        var tooLong = 0
        for _ in 0..<40 {
            let cost = Duration.microseconds(700 + 29 * size.count)
            if cost > .milliseconds(50) { tooLong += 1 }
            size.batchEnded(size.count, cost: cost, roundTrip: .zero)
        }
        #expect(tooLong <= 2)
    }

    /// A row of 50 ms, as under a slow trigger: a batch has one row, now and then two, and never more.
    @Test func expensiveRowsAreTakenOneByOne() {
        let settled = Self.settled(constant: .microseconds(300), perRow: .milliseconds(50))
        #expect(settled.count <= 2 && settled.longest < .milliseconds(110), "\(settled)")
    }

    /// On a busy machine a batch may take several times as long as on a quiet one.
    @Test(arguments: UInt64(0)..<40) func aConstantCostIsSharedOnABusyMachineToo(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        var (rows, batches) = (0, 0)
        while rows < 3000, batches < 1000 {
            let noise = Double.random(in: 1...4, using: &random)
            let cost = Duration.microseconds(Int64((10_000 + 20 * Double(size.count)) * noise))
            if size.needsEmptyBatch { size.emptyBatchEnded(cost: .milliseconds(10)) }
            rows += size.count
            batches += 1
            size.batchEnded(size.count, cost: cost, roundTrip: .zero)
        }
        #expect(batches < 400, "\(batches)")
    }

    /// A disk that has become slow: if all batches had the same size, this would look like dearer rows.
    @Test(arguments: UInt64(0)..<40) func theSizeFollowsAnotherConstantCost(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        var rows = 0
        for batch in 0..<600 {
            let noise = Double.random(in: 1...1.5, using: &random)
            let cost = ((batch < 100 ? 100 : 1000) + 4 * Double(size.count)) * noise
            if batch >= 400 { rows += size.count }
            size.batchEnded(size.count, cost: .microseconds(Int64(cost)), roundTrip: .zero)
        }
        #expect(rows / 200 >= 400, "\(rows / 200)")
    }

    /// Many partitions, or a statement trigger: the constant part must not drive the size down.
    @Test(arguments: [Duration.milliseconds(5), .milliseconds(10), .milliseconds(40), .milliseconds(120)])
    func aConstantCostIsSharedByManyRows(constant: Duration) {
        let settled = Self.settled(constant: constant, perRow: .microseconds(5))
        #expect(settled.count >= 900, "\(settled)")
        #expect(settled.longest <= max(constant * 3, .milliseconds(50)), "\(settled)")
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

    /// A stall of the disk says nothing about the rows.
    @Test func oneStallIsForgotten() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        for _ in 0..<20 { size.batchEnded(size.count, cost: .microseconds(300 + 3 * size.count), roundTrip: .zero) }
        let before = size.count
        size.batchEnded(size.count, cost: .milliseconds(100), roundTrip: .zero)
        #expect(size.count <= before / 4)
        for _ in 0..<3 { size.batchEnded(size.count, cost: .microseconds(300 + 3 * size.count), roundTrip: .zero) }
        #expect(size.count > before * 3 / 4)
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

    /// Where one row costs much, an empty batch first shows whether two rows would cost twice as much.
    @Test(arguments: [(0, 1...1), (5, 1...1), (290, 8...100), (299, 64...512)])
    func aBatchOfNoRowsShowsTheConstantPart(constant: Int, counts: ClosedRange<Int>) {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        size.batchEnded(1, cost: .milliseconds(300), roundTrip: .zero)
        #expect(size.count == 1 && size.needsEmptyBatch)
        size.emptyBatchEnded(cost: .milliseconds(constant))
        #expect(!size.needsEmptyBatch)
        for _ in 0..<20 {
            size.batchEnded(
                size.count, cost: .milliseconds(constant + (300 - constant) * size.count), roundTrip: .zero)
        }
        #expect(counts.contains(size.count), "\(size)")
    }

    /// A batch that the server ended at its time limit could take too long again at half of its size.
    @Test func aBatchThatWasTooLongShrinksAtOnce() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        for _ in 0..<10 { size.batchEnded(size.count, cost: .microseconds(300), roundTrip: .zero) }
        let count = size.count
        #expect(size.timeLimit == .milliseconds(200))
        size.batchFailed(count, isTooLong: true)
        #expect(size.count == count / 8)
    }

    /// Otherwise the time limit would end every batch whose constant part is known to be long.
    @Test func theTimeLimitFollowsWhatBatchesCost() {
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        for _ in 0..<10 { size.batchEnded(size.count, cost: .milliseconds(120), roundTrip: .zero) }
        #expect(size.timeLimit >= .milliseconds(300), "\(size.timeLimit)")
    }

    @Test func neverTakesMoreThanItMay() {
        #expect(Self.settled(constant: .zero, perRow: .nanoseconds(10), most: 100).count == 100)
        var size = BatchSize(limit: .milliseconds(50), most: 10_000)
        size.guardFound(largestThatPassed: 5)
        for _ in 0..<20 { size.batchEnded(size.count, cost: .microseconds(300), roundTrip: .zero) }
        #expect(size.count == 5)
    }
}
