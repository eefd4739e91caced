import Foundation
package import Testing

extension Trait where Self == ConditionTrait {
    /// Leaves the test out of `make test`: it takes more than a few seconds, or it needs tools that only `make check` installs.
    ///
    /// Each test left out is printed with the reason below, and `scripts/run-tests` prints how many there were.
    package static var slow: Self {
        .enabled(
            if: ProcessInfo.processInfo.environment["MCP_CLEANUPD_SLOW_TESTS"] == "1",
            "slow: runs with MCP_CLEANUPD_SLOW_TESTS=1, as in make check")
    }
}

/// The length of tests that repeat random faults.
package enum Soak {
    /// How many times longer than in `make check` such tests run: `MCP_CLEANUPD_TEST_SOAK`, or 1.
    package static let factor = Int(ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_SOAK"] ?? "") ?? 1
}
