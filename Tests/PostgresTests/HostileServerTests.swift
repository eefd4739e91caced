import HostileServer
import SeededRandom
import TestServers
import Testing

/// For anything that a server sends: a call ends by its deadline, nothing crashes, memory is bounded, no password is
/// repeated.
///
/// A process of its own makes each connection: it may crash, and its memory can be measured.
@Suite(.slow) struct HostileServerTests {
    @Test func thereAreManyScenariosWithNamesOfTheirOwn() {
        #expect(Scenario.all.count >= 80)
        #expect(Set(Scenario.all.map(\.description)).count == Scenario.all.count)
    }

    @Test(arguments: Scenario.all) func survives(scenario: Scenario) async throws {
        await Turns.shared.begin()
        defer { Turns.shared.end() }
        let server = HostileServer(serve: scenario.serve)
        let started = ContinuousClock.now
        let result = try await Command.run(Command.built("connection-probe"), [server.url], environment: [:])
        let took = started.duration(to: .now)
        #expect(result.status == 0, "\(result)")
        // Three steps of a second each, 1 s for requests to cancel, and 5 s for a loaded machine.
        #expect(took < .seconds(3 + 1 + 5), "\(took): \(result.output)")
        let memory = try #require(result.lines.last?.firstMatch(of: /^memory ([0-9]+)$/).flatMap { Int($0.1) })
        #expect(memory < 64 << 10, "\(memory) KiB: \(result.output)")
        #expect(!result.output.contains(HostileServer.password), "\(result.output)")
        #expect(
            result.output.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 32 && !(127..<160).contains($0.value) })
        #expect(result.lines.contains("abandoned") == (scenario.description == Scenario.endlessComputation))
    }

    /// Each answer stays below the limit for one; together they are 170 MB, which libpq would keep.
    @Test func survivesAServerThatMakesTheConnectionKeepMoreAndMore() async throws {
        let server = HostileServer(serve: Scenario.keepingSettings(190))
        let result = try await Command.run(
            Command.built("connection-probe"), [server.url, "SELECT 1 AS one", "30"], environment: [:])
        let memory = try #require(result.lines.last?.firstMatch(of: /^memory ([0-9]+)$/).flatMap { Int($0.1) })
        #expect(result.status == 0 && memory < 64 << 10, "\(memory) KiB: \(result.output)")
        // The first answers are taken, then one ends the connection.
        #expect((3...20).contains(result.lines.count { $0 == "answer 1" }), "\(result.output)")
        let ends = result.lines.filter { $0.contains("the server makes the connection keep more and more") }
        #expect(ends.count == 1, "\(result.output)")
        #expect(result.lines.count { $0 == "alive false" } > 0)
    }

    /// The same number of bytes, of which libpq keeps none, ends no connection. Over TCP, where all bytes are counted.
    @Test func keepsAConnectionOverWhichManyNoticesCome() async throws {
        let server = HostileServer(serve: Scenario.sendingNotices(4))
        let result = try await Command.run(
            Command.built("connection-probe"), [server.url, "SELECT 1 AS one", "40"], environment: [:])
        #expect(result.lines.count { $0 == "answer 1" } == 40, "\(result.output.suffix(2000))")
        #expect(result.lines.count { $0 == "alive true" } == 40)
    }

    /// A hundred megabytes of notices leave nothing behind.
    @Test(arguments: [
        "SELECT 1 AS one", "SELECT 1 AS one; DO $$ BEGIN RAISE NOTICE '%', repeat('x', 1000000); END $$",
    ])
    func keepsAConnectionToARightServer(sql: String) async throws {
        let result = try await Command.run(
            Command.built("connection-probe"), [PostgresServer.packaged().url("postgres"), sql, "100"], environment: [:]
        )
        #expect(result.lines.count { $0 == "answer 1" } == 100, "\(result.output)")
        #expect(result.lines.count { $0 == "alive true" } == 100, "\(result.output)")
    }

    /// A correct server that an application's code makes send too much, over the Unix socket, which is faster than TCP.
    @Test(arguments: [
        "DO $$ BEGIN RAISE '%', repeat('x', 100000000); END $$", "SELECT repeat('x', 200000000) AS one",
        "DO $$ BEGIN RAISE WARNING '%', repeat('x', 100000000); END $$",
        "SELECT repeat('x', 300) AS one FROM generate_series(1, 10000000)",
        "SELECT NULL AS one FROM generate_series(1, 100000000)",
    ])
    func survivesWhatARightServerSends(sql: String) async throws {
        let result = try await Command.run(
            Command.built("connection-probe"), [PostgresServer.packaged().url("postgres"), sql], environment: [:])
        let memory = try #require(result.lines.last?.firstMatch(of: /^memory ([0-9]+)$/).flatMap { Int($0.1) })
        #expect(result.status == 0 && memory < 64 << 10, "\(memory) KiB: \(result.output)")
        #expect(!result.output.contains("xxx"))
    }
}

/// Servers whose answers are correct except for a few bytes.
@Suite(.slow) struct ServerFuzzTests {
    @Test func survivesMutatedAnswers() async throws {
        let (seed, count) = (SeededRandom.seed(), 200 * Soak.factor)
        let result = try await Command.run(
            Command.built("connection-probe"), ["--fuzz", String(seed), String(count)], environment: [:])
        #expect(result.status == 0, "\(result.lines.suffix(20))")
        #expect(
            result.lines.count { $0.hasPrefix("seed ") } == count && !result.output.contains(HostileServer.password))
    }
}

/// Lets four processes run at a time: one for each scenario at once would take the processor from the other tests.
private final class Turns: Sendable {
    static let shared = Turns()

    private struct State {
        var free = 4
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Locked(State())

    func begin() async {
        await withCheckedContinuation { continuation in
            let mayBegin = state.withLock { state in
                if state.free == 0 {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if mayBegin { continuation.resume() }
        }
    }

    func end() {
        let next = state.withLock { state in
            if state.waiting.isEmpty {
                state.free += 1
                return nil as CheckedContinuation<Void, Never>?
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
