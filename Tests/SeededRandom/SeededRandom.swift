import Foundation
import Pseudorandom

/// splitmix64, so that a printed seed brings back the same test on any machine.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var generator: SplitMix64

    package init(seed: UInt64) { generator = SplitMix64(seed: seed) }

    package mutating func next() -> UInt64 { generator.next() }

    package mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &self) == 0 }

    package mutating func pick<Element>(_ elements: [Element]) -> Element { elements.randomElement(using: &self)! }

    /// A new seed, or the one in `MCP_CLEANUPD_TEST_SEED`; printed, so that a failure can be replayed.
    package static func seed(for test: String = #function) -> UInt64 {
        seeds(1, for: test)[0]
    }

    /// So many new seeds, or the one in `MCP_CLEANUPD_TEST_SEED` alone; printed.
    package static func seeds(_ count: Int, for test: String = #function) -> [UInt64] {
        let given = ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_SEED"].flatMap { UInt64($0) }
        let seeds = given.map { [$0] } ?? (0..<count).map { _ in UInt64.random(in: 0...UInt64.max) }
        for seed in seeds { print("\(test): MCP_CLEANUPD_TEST_SEED=\(seed)") }
        return seeds
    }
}
