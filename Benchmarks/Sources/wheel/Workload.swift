/// Deadlines uniform in an hour of milliseconds, and a random order to cancel them in.
struct Workload {
    static let hour: UInt64 = 3_600_000
    static let seed: UInt64 = 0x5EED
    /// Small workloads come in such numbers that this many timers are in all of them; a large one comes alone.
    static let timersOfARound = 200_000

    let deadlines: [UInt64]
    let deadlinesOfReadded: [UInt64]
    let cancelOrder: [Int]

    private init(count: Int, using random: inout SplitMix64) {
        deadlines = (0..<count).map { _ in random.next() % Self.hour }
        deadlinesOfReadded = (0..<count).map { _ in random.next() % Self.hour }
        cancelOrder = Array(0..<count).shuffled(using: &random)
    }

    /// The same workloads in every process, and different ones in a round: the processor would learn by heart the
    /// branches of a thousand timers that it sees again and again.
    static func ofARound(count: Int) -> [Workload] {
        var random = SplitMix64(seed: seed)
        return (0..<max(1, timersOfARound / count)).map { _ in Workload(count: count, using: &random) }
    }

    /// No owner can wake less often than once for each instant that has a timer.
    var distinctDeadlines: Int { Set(deadlines).count }
}
