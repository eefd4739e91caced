import SeededRandom
import TestServers
import Testing

/// Configuration files, schedules, zone files and conditions that are correct except for a few bytes: each is refused
/// with a reason or means what it says. Nothing crashes, hangs, takes more than 64 MB, or repeats a URL.
@Suite(.slow) struct ParserFuzzTests {
    /// - Parameter least: the least percentage of inputs to be accepted: invalid ones alone would prove nothing.
    @Test(arguments: [("configuration", 1), ("schedule", 3), ("zone", 3), ("condition", 10)])
    func refusesWithAReasonOrMeansWhatItSays(parser: String, least: Int) async throws {
        let (seed, count) = (SeededRandom.seed(for: "\(parser) fuzz"), 10 * Soak.factor)
        let result = try await Command.run(
            Command.built("parser-probe"), [parser, String(seed), String(count)], environment: [:])
        #expect(result.status == 0, "\(result.lines.suffix(30)) \(result.error.suffix(2000))")
        print("\(parser): \(result.lines.suffix(2).joined(separator: ", "))")
        let accepted = result.lines.dropLast().last?.split(separator: " ").last.flatMap { Int($0) } ?? 0
        #expect(accepted > count * 500 * least / 100, "\(accepted) of \(count * 500)")
    }
}
