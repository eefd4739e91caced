import Dispatch
import Glibc
import TestServers
import Testing

@testable import Postgres

/// The two ways of waiting that every deadline relies on: for a socket, and for a blocking call.
@Suite struct WaitingTests {
    private static let queue = DispatchQueue(label: "test")

    private func withSockets<Result>(_ body: (Int32, Int32) async throws -> Result) async rethrows -> Result {
        var pair: [Int32] = [-1, -1]
        socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair)
        let result = try await body(pair[0], pair[1])
        close(pair[0])
        close(pair[1])
        return result
    }

    @Test func endsWhenTheSocketIsReady() async throws {
        await withSockets { ours, theirs in
            let now = ContinuousClock.now
            #expect(await SocketWait.wait(for: .write, of: ours, until: now + patience, on: Self.queue) == .ready)
            write(theirs, "x", 1)
            #expect(await SocketWait.wait(for: .read, of: ours, until: now + patience, on: Self.queue) == .ready)
        }
    }

    @Test func endsAtTheDeadline() async throws {
        await withSockets { ours, _ in
            let start = ContinuousClock.now
            let deadline = start + .milliseconds(200)
            #expect(await SocketWait.wait(for: .read, of: ours, until: deadline, on: Self.queue) == .deadlinePassed)
            #expect(ContinuousClock.now >= deadline && start.duration(to: .now) < patience)
        }
    }

    /// Otherwise a server that never pauses would win the race against the timer again and again.
    @Test func preferADeadlineThatHasPassedToASocketThatIsReady() async throws {
        await withSockets { ours, _ in
            for _ in 0..<200 {
                #expect(await SocketWait.wait(for: .write, of: ours, until: .now, on: Self.queue) == .deadlinePassed)
            }
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                for _ in 0..<200 {
                    #expect(
                        await SocketWait.wait(for: .write, of: ours, until: .now + patience, on: Self.queue)
                            == .canceled)
                }
            }
            await task.value
        }
    }

    @Test func asksLibpqAboutASocketThatIsGone() async {
        #expect(await SocketWait.wait(for: .read, of: -1, until: .now + patience, on: Self.queue) == .ready)
    }

    @Test(.timeLimit(.minutes(1))) func endsOnceWhateverComesTogether() async throws {
        await withTaskGroup { group in
            for _ in 0..<4 {
                group.addTask {
                    let queue = DispatchQueue(label: "test")
                    for round in 0..<250 {
                        await withSockets { ours, theirs in
                            let task = Task {
                                await SocketWait.wait(
                                    for: .read, of: ours, until: .now + .microseconds(round % 7 * 100), on: queue)
                            }
                            DispatchQueue(label: "writer").async { _ = send(theirs, "x", 1, Int32(MSG_NOSIGNAL)) }
                            if round % 3 == 0 { task.cancel() }
                            _ = await task.value
                            // The writer may be late: its socket is closed only when it has written.
                            var byte: UInt8 = 0
                            _ = recv(ours, &byte, 1, 0)
                        }
                    }
                }
            }
        }
    }

    @Test func waitsForABlockingCallOnlySoLong() async {
        let calls = BlockingCalls(most: 8)
        let start = ContinuousClock.now
        // More calls than there are cores: neither their limits nor any other task may wait for a thread.
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    #expect(await calls.run(limit: .milliseconds(200)) { sleep(20) } == nil)
                }
            }
        }
        await Task { await Task.yield() }.value
        // No call has returned, so there is no room for another.
        #expect(await calls.run(limit: patience) { 42 } == nil)
        #expect(start.duration(to: .now) < .seconds(15))
    }

    @Test func endsABlockingCallWithItsTask() async {
        let calls = BlockingCalls(most: 2)
        let start = ContinuousClock.now
        let task = Task { await calls.run(limit: patience) { sleep(20) } }
        task.cancel()
        #expect(await task.value == nil)
        #expect(start.duration(to: .now) < .seconds(15))
        #expect(await calls.run(limit: patience) { 42 } == 42)
    }

    @Test func saysThatTheNameServerIsSilentWhenItIsOutOfTime() async throws {
        let host = HostCandidate(host: "silent.invalid")
        let (error, _) = await failure { try await host.resolved(deadline: .now) }
        // Or the name server was fast enough to answer that there is no such name.
        #expect(error?.cause == .unresolved && error?.description.contains("silent.invalid") == true)
    }

    @Test func keepsNumericAddressesAndResolvesNames() async throws {
        func resolved(_ host: String) async throws -> [HostCandidate] {
            try await HostCandidate(host: host, port: "1").resolved(deadline: .now + patience)
        }
        #expect(try await resolved("127.0.0.1") == [HostCandidate(host: "127.0.0.1", address: "127.0.0.1", port: "1")])
        #expect(try await resolved("::1") == [HostCandidate(host: "::1", address: "::1", port: "1")])
        #expect(
            try await resolved("localhost").contains(HostCandidate(host: "localhost", address: "127.0.0.1", port: "1")))
        #expect(try await resolved("/run/p") == [HostCandidate(host: "/run/p", port: "1")])
        #expect(try await resolved("@p") == [HostCandidate(host: "@p", port: "1")])
    }
}
