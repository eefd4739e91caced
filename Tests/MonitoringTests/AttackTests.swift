import Dispatch
import Foundation
import Glibc
import TestServers
import Testing

/// Clients that are broken or mean: runs, memory and health checks are unaffected by ten thousand of them.
@Suite struct AttackTests {
    /// The bytes that a client sends before it falls silent.
    private static let requests: [String] = [
        "", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX: ",
        "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n", "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
        "\r\n\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n", "GET http://[::1 HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        String(repeating: "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", count: 50),
        "GET /\(String(repeating: "a", count: 30_000)) HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\(String(repeating: "X: y\r\n", count: 2000))\r\n",
        "GET / HTTP/1.1\r\nX: \(String(repeating: "y", count: 30_000))\r\n\r\n",
    ]

    @Test(.slow, .enabled(if: Command.sanitizerOptions.isEmpty, "the sanitizer keeps memory of its own"))
    func tenThousandBrokenRequestsLeaveRunsMemoryAndHealthAsTheyAre() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let served = try ServedDaemon(url: database.url)
        try await served.daemon.wait("runs") { try served.daemon.runs.count >= 2 }
        for path in ["/", "/metrics", "/readyz"] { _ = try await served.get(path) }
        let before = try served.daemon.privateMemory
        let runs = try served.daemon.runs.count
        var held: [Int32] = []
        defer { for descriptor in held { close(descriptor) } }
        for number in 0..<10_000 {
            let descriptor = try LoopbackHTTP.connected(port: served.port)
            let request = Array(Self.requests[number % Self.requests.count].utf8)
            _ = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            // 200 connections stay open, and send nothing more.
            held.append(descriptor)
            if held.count > 200 { close(held.removeFirst()) }
            if number % 500 == 499 {
                for path in ["/readyz", "/livez"] {
                    let answer = try await served.get(path)
                    #expect(answer.status == 200, "\(path) after \(number) requests: \(answer)")
                }
            }
        }
        let metrics = try await served.get("/metrics")
        #expect(metrics.status == 200)
        let after = try served.daemon.privateMemory
        print("10,000 broken requests: from \(before) to \(after) KiB of private memory")
        // Sixty-four connections and their buffers; 2 KiB kept of each request would be 20 MiB.
        #expect(after - before < 6 * 1024, "from \(before) to \(after) KiB")
        try await served.daemon.wait("runs as before") { try served.daemon.runs.count > runs + 1 }
        #expect(try served.daemon.runs.allSatisfy { $0["outcome"] == "succeeded" })
        #expect(metrics.body.contains(#"coalesced_fires_total{job_name="mcp-cleanup-transient-sessions"} 0"#))
    }

    @Test(.slow) func aSlowClientIsCutOffAndOthersAreServedMeanwhile() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let served = try ServedDaemon(url: database.url)
        try await served.waitForAnswer()
        let slow = try LoopbackHTTP.connected(port: served.port)
        defer { close(slow) }
        let began = ContinuousClock.now
        var isOpen = true
        // A byte every 200 ms, without end.
        while isOpen, began.duration(to: .now) < .seconds(20) {
            isOpen = send(slow, "X", 1, Int32(MSG_NOSIGNAL)) == 1
            #expect(try await served.get("/livez").status == 200)
            try await Task.sleep(for: .milliseconds(200))
        }
        #expect(!isOpen)
        #expect(began.duration(to: .now) > .seconds(2))
    }

    @Test func aHugeBodyIsNotRead() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        // Only the HTTP server allocates memory between the two measurements: there is no run, and no history to read.
        let served = try ServedDaemon(
            url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"), environment: ["MCP_CLEANUP_HISTORY_MODE": "off"])
        try await served.waitForAnswer()
        let before = try served.daemon.privateMemory
        let descriptor = try LoopbackHTTP.connected(port: served.port)
        defer { close(descriptor) }
        let head = Array("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n".utf8)
        _ = send(descriptor, head, head.count, Int32(MSG_NOSIGNAL))
        let body = [UInt8](repeating: 120, count: 1 << 16)
        var sent = 0
        while sent < 1_000_000_000 {
            let count = send(descriptor, body, body.count, Int32(MSG_NOSIGNAL))
            if count <= 0 { break }
            sent += count
        }
        // The capacity of both sockets' buffers, and a little more.
        #expect(sent < 32 << 20)
        #expect(try served.daemon.privateMemory - before < 2048)
        #expect(try await served.get("/livez").status == 200)
    }

    /// Runs twice: a connection that arrives at the moment of the stop may be accepted or not.
    @Test(arguments: 1...2) func endsInTimeAlthoughClientsHoldOn(attempt: Int) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let served = try ServedDaemon(url: database.url)
        try await served.waitForAnswer()
        let held = try (0..<40).map { _ in try LoopbackHTTP.connected(port: served.port) }
        defer { for descriptor in held { close(descriptor) } }
        for descriptor in held { _ = send(descriptor, "GET", 3, Int32(MSG_NOSIGNAL)) }
        served.daemon.signal(SIGTERM)
        // Less than the ten seconds after which the server closes a connection in any case.
        #expect(try await served.daemon.exitStatus(limit: .seconds(9)) == 0)
    }
}
