import Glibc
import HostileServer
import Postgres
import SeededRandom

/// Connects to a server, sends a query and prints the result: a process that a hostile server may crash.
@main struct Probe {
    /// The longest that each of the three steps may take.
    static let limit = Duration.seconds(1)

    /// `connection-probe URL`, `connection-probe URL SQL`, or `connection-probe --fuzz SEED COUNT`.
    static func main() async {
        PrivateMemory.start()
        let arguments = CommandLine.arguments
        if arguments.count == 2 || arguments.count == 3 {
            await visit(arguments[1], asking: arguments.count == 3 ? arguments[2] : "SELECT 1 AS one")
            print("memory \(PrivateMemory.peak())")
        } else if arguments.count == 4, let seed = UInt64(arguments[2]), let count = UInt64(arguments[3]) {
            for number in 0..<count {
                print("seed \(seed &+ number)")
                // The seed must be known after a crash too.
                fflush(nil)
                let server = MutatedAnswers.server(seed: seed &+ number)
                let started = ContinuousClock.now
                await visit(server.url, limit: .milliseconds(300))
                let took = started.duration(to: .now)
                // Three steps, and a request to cancel that takes twice its limit.
                guard took < .seconds(6), PrivateMemory.peak() < 64 << 10 else {
                    print("failed: \(took), \(PrivateMemory.peak()) KiB")
                    fflush(nil)
                    exit(1)
                }
            }
        }
        fflush(nil)
        // A thread may still be in libpq.
        _exit(0)
    }

    private static func visit(_ text: String, asking sql: String = "SELECT 1 AS one", limit: Duration = limit) async {
        do {
            let url = try DatabaseURL(text)
            let connection = try await Connection.open(
                url, deadline: .now + limit, environment: ["HOME": "/nonexistent"]
            ) { print("notice \($0)") }
            PrivateMemory.sample()
            await connection.limitCancellation(to: .milliseconds(200))
            for _ in 0..<2 { await report { try await ask(connection, sql, .now + limit) } }
            print("warnings", await connection.warnings.count)
            await connection.close()
        } catch {
            print("not connected: \(error)")
        }
        // A step that was just returning from libpq at its deadline has a second to do so.
        for _ in 0..<100 where Connection.isAbandonedThreadRunning { usleep(10_000) }
        if Connection.isAbandonedThreadRunning { print("abandoned") }
        PrivateMemory.sample()
    }

    private static func report(_ ask: () async throws -> String) async {
        do {
            print("answer", try await ask())
        } catch {
            print("failed: \(error)")
        }
        PrivateMemory.sample()
    }

    private static func ask(
        _ connection: Connection, _ sql: String, _ deadline: ContinuousClock.Instant
    ) async throws -> String {
        let results = try await connection.script(sql, deadline: deadline)
        guard let first = results.first else { return "none" }
        return try first.onlyRow().text("one")
    }
}
