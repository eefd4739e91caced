import Foundation
import Pseudorandom

/// Random numbers from a printed seed, which repeats a test exactly, on any machine.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var generator: SplitMix64

    package init(seed: UInt64) { generator = SplitMix64(seed: seed) }

    package mutating func next() -> UInt64 { generator.next() }

    /// Returns true once in the given number of calls, on average.
    package mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &self) == 0 }

    /// Returns one of the elements, of which there must be at least one.
    package mutating func pick<Element>(_ elements: [Element]) -> Element { elements.randomElement(using: &self)! }

    /// Returns a new seed, or the one in `MCP_CLEANUPD_TEST_SEED`, and prints it, so that a failure can be repeated.
    package static func seed(for test: String = #function) -> UInt64 {
        seeds(1, for: test)[0]
    }

    /// Returns new seeds, or only the one in `MCP_CLEANUPD_TEST_SEED`, and prints them.
    ///
    /// - Parameter count: how many for `make check`; without the slow tests it is a fourth of them, and at least one.
    package static func seeds(_ count: Int, for test: String = #function) -> [UInt64] {
        let environment = ProcessInfo.processInfo.environment
        let given = environment["MCP_CLEANUPD_TEST_SEED"].flatMap { UInt64($0) }
        let count = environment["MCP_CLEANUPD_SLOW_TESTS"] == "1" ? count : max(1, count / 4)
        let seeds = given.map { [$0] } ?? (0..<count).map { _ in UInt64.random(in: 0...UInt64.max) }
        for seed in seeds { print("\(test): MCP_CLEANUPD_TEST_SEED=\(seed)") }
        return seeds
    }
}
