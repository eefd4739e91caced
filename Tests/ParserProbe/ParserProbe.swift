import Glibc
import SeededRandom

/// Feeds random texts to a parser in a process of its own: they may crash it, and its time and memory can be measured.
@main struct ParserProbe {
    /// The number of inputs that share a seed: few enough to repeat a failure quickly.
    private static let inputsPerSeed = 500
    /// The most CPU time that an input may take: a thousand times what one usually takes. Above it a configuration
    /// would hang the program.
    private static let limit = Duration.seconds(2)
    private static let mostMemory = 64 << 10

    /// `parser-probe configuration|schedule|zone|condition SEED COUNT`, with the count of seeds, which follow each other.
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 4, let parser = FuzzedParser(rawValue: arguments[1]), let seed = UInt64(arguments[2]),
            let count = UInt64(arguments[3])
        else {
            print("usage: parser-probe configuration|schedule|zone|condition SEED COUNT")
            exit(64)
        }
        PrivateMemory.start()
        var accepted = 0
        for number in 0..<count {
            print("seed \(seed &+ number)")
            // The seed must be known after a crash too.
            fflush(nil)
            var random = SeededRandom(seed: seed &+ number)
            for _ in 0..<inputsPerSeed {
                // A hang ends the process by a signal.
                alarm(60)
                let input = parser.input(&random)
                let started = Self.processorTime
                let problem: String?
                do {
                    problem = try parser.problem(with: input, &random)
                    accepted += 1
                } catch let refusal {
                    let said = "\(refusal)"
                    problem = said.isEmpty ? "refused without a reason" : parser.problem(inWords: said)
                }
                let took = Self.processorTime - started
                guard problem == nil, took < limit, PrivateMemory.peak() < mostMemory else {
                    print(
                        "failed: \(problem ?? "\(took), \(PrivateMemory.peak()) KiB")\n\(String(decoding: input, as: UTF8.self))"
                    )
                    fflush(nil)
                    exit(1)
                }
            }
        }
        // The test reads the lines that follow.
        print("accepted \(accepted)")
        print("memory \(PrivateMemory.peak())")
    }

    /// The CPU time of this thread: other programs of a busy machine do not count.
    private static var processorTime: Duration {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
}
