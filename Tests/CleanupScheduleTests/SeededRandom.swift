import Foundation

/// splitmix64, so that a printed seed brings back the same test on any machine.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &self) == 0 }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements.randomElement(using: &self)! }

    /// The seed of this run, or the one in `CLEANUP_SCHEDULE_SEED`; printed, so that a failure can be replayed.
    static func seed(for test: String = #function) -> UInt64 {
        let given = ProcessInfo.processInfo.environment["CLEANUP_SCHEDULE_SEED"]
        let seed = given.map { UInt64($0)! } ?? UInt64.random(in: 0...UInt64.max)
        print("\(test): CLEANUP_SCHEDULE_SEED=\(seed)")
        return seed
    }
}
