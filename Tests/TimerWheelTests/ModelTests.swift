import Testing
import TimerWheel

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// The wheel against a sorted array, a million random operations and more.
///
/// Seeds are new in every run and printed. To replay one: `TIMER_WHEEL_SEED=… swift test --filter ModelTests`.
struct ModelTests {
    static let seedVariable = "TIMER_WHEEL_SEED"
    static let operationsPerSeed = 128_000

    static let seeds: [UInt64] = {
        // Not Foundation's ProcessInfo, which is large; the environment is not changed by any test.
        if let text = getenv(seedVariable), let seed = UInt64(String(cString: text)) { return [seed] }
        return (0..<8).map { _ in UInt64.random(in: 0...UInt64.max) }
    }()

    @Test(arguments: seeds)
    func doesWhatASortedArrayDoes(seed: UInt64) throws {
        print("model run of \(Self.operationsPerSeed) operations, \(Self.seedVariable)=\(seed)")
        var run = ModelRun(seed: seed)
        try run.run(operations: Self.operationsPerSeed)
    }

    /// Slots of thousands of timers, which random operations do not build up.
    @Test(arguments: [0, 6, 12, 21, 32, 48, 63])
    func drainsTenThousandTimersInExactOrder(rangeExponent: Int) throws {
        var random = SplitMix64(seed: UInt64(rangeExponent))
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
