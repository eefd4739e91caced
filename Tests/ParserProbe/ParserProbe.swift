import Glibc
import SeededRandom

/// Feeds random texts to a parser: a process that they may crash, and whose time and memory are its own.
@main struct ParserProbe {
    /// Inputs that share a seed: a seed repeats them in no time.
    private static let inputsPerSeed = 500
    /// A thousand times what an input takes. Above it a configuration would hang the program.
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
            // It must be known after a crash too.
            fflush(nil)
            var random = SeededRandom(seed: seed &+ number)
            for _ in 0..<inputsPerSeed {
                // A hang ends the process by a signal.
                alarm(60)
                let input = parser.input(&random)
                let started = ContinuousClock.now
                let problem: String?
                do {
                    problem = try parser.problem(with: input, &random)
                    accepted += 1
                } catch let refusal {
                    let said = "\(refusal)"
                    problem = said.isEmpty ? "refused without a reason" : parser.problem(inWords: said)
                }
                let took = started.duration(to: .now)
                guard problem == nil, took < limit, PrivateMemory.peak() < mostMemory else {
                    print(
                        "failed: \(problem ?? "\(took), \(PrivateMemory.peak()) KiB")\n\(String(decoding: input, as: UTF8.self))"
                    )
                    fflush(nil)
                    exit(1)
                }
            }
        }
        print("accepted \(accepted)")
        print("memory \(PrivateMemory.peak())")
    }
}
