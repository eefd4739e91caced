import SeededRandom
import Testing

@testable import TimerWheel

/// The wheel against a sorted array, a million random operations and more.
///
/// Seeds are new in every run and printed. To replay one: `MCP_CLEANUPD_TEST_SEED=… swift test --filter ModelTests`.
struct ModelTests {
    static let operationsPerSeed = 128_000

    @Test(arguments: SeededRandom.seeds(8))
    func doesWhatASortedArrayDoes(seed: UInt64) throws {
        var run = ModelRun(seed: seed)
        try run.run(operations: Self.operationsPerSeed)
    }

    /// Slots of thousands of timers, which random operations do not build up.
    @Test(arguments: [0, 6, 12, 21, 32, 48, 63])
    func drainsTenThousandTimersInExactOrder(rangeExponent: Int) throws {
        var random = SeededRandom(seed: UInt64(rangeExponent))
        var wheel = TimerWheel()
        let deadlines = (0..<10_000).map { _ in random.next() >> (63 - rangeExponent) }
        for (index, deadline) in deadlines.enumerated() { _ = wheel.add(deadline: deadline, payload: UInt64(index)) }
        try wheel.checkInvariants()

        var popped: [UInt64] = []
        while let now = wheel.next {
            while let timer = wheel.pop(now: now) {
                #expect(timer.deadline <= now)
                popped.append(timer.payload)
            }
        }
        try wheel.checkInvariants()

        let inOrder = deadlines.indices.sorted { (deadlines[$0], $0) < (deadlines[$1], $1) }
        #expect(popped == inOrder.map(UInt64.init))
    }
}
