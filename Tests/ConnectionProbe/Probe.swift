import Glibc
import HostileServer
import Postgres
import SeededRandom

/// Connects to a server, sends a query and prints the result: a process that a hostile server may crash.
@main struct Probe {
    /// The longest that each of the three steps may take.
    static let limit = Duration.seconds(1)
    /// The same where the number of queries is given: none of them is to reach its limit, on a loaded machine either.
    static let longLimit = Duration.seconds(10)

    /// `connection-probe URL [SQL [TIMES]]`, or `connection-probe --fuzz SEED COUNT`.
    static func main() async {
        PrivateMemory.start()
        let arguments = CommandLine.arguments
        if (2...4).contains(arguments.count), arguments[1] != "--fuzz" {
            await visit(
                arguments[1], asking: arguments.count > 2 ? arguments[2] : "SELECT 1 AS one",
                times: arguments.count > 3 ? Int(arguments[3]) ?? 0 : 2, limit: arguments.count > 3 ? longLimit : limit)
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

    private static func visit(
        _ text: String, asking sql: String = "SELECT 1 AS one", times: Int = 2, limit: Duration = limit
    ) async {
        do {
            let url = try DatabaseURL(text)
            let connection = try await Connection.open(
                url, deadline: .now + limit, environment: ["HOME": "/nonexistent"]
            ) { print("notice \($0)") }
            PrivateMemory.sample()
            await connection.limitCancellation(to: .milliseconds(200))
            for _ in 0..<times {
                await report { try await ask(connection, sql, .now + limit) }
                await rest(connection)
                print("alive", await connection.isAlive())
                PrivateMemory.sample()
            }
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

    /// Lets the connection look at what comes between two statements, a piece each time, until nothing more does.
    private static func rest(_ connection: Connection) async {
        let pause = Duration.milliseconds(20)
        var quiet = 0
        for _ in 0..<200 where quiet < 3 {
            let began = ContinuousClock.now
            await connection.rest(for: pause)
            guard await connection.isAlive() else { return }
            // A loaded machine is as slow now and then.
            quiet = began.duration(to: .now) < pause ? 0 : quiet + 1
        }
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
