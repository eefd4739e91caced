import Glibc
import SeededRandom
import TestServers
import Testing

/// Requests that are correct except for a few bytes, or are no requests at all.
@Suite struct RequestFuzzTests {
    private static let secret = "CANARY"

    private static let requests = [
        "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer CANARY\r\n\r\n",
        "GET /status.json?token=CANARY HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: a=CANARY\r\nAccept: */*\r\n\r\n",
        "HEAD /metrics HTTP/1.0\r\n\r\n", "GET http://user:CANARY@localhost/readyz HTTP/1.1\r\nHost: CANARY\r\n\r\n",
        "POST /livez HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nCANARY\r\n0\r\n\r\n",
        "GET /CANARY HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\nCANARY",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ].map { Array($0.utf8) }

    private static let pieces = [
        "\r\n", "\n", "\r", "\0", " ", ": ", "HTTP/1.1", "HTTP/9", "Host: evil\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "%00", "%2e%2e/", "//", "\u{FEFF}", "\u{9B}31m", "é",
        "FFFFFFFFFFFFFFFF\r\n",
        "X: \(String(repeating: "y", count: 9000))\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0",
    ]

    @Test(.slow) func areAnsweredOrCutOffAndNothingOfThemIsRepeated() async throws {
        let served = try ServedDaemon(
            url: "postgresql://nobody@127.0.0.1:1/nothing", schedules: ("0 0 1 1 *", "0 0 1 1 *"), arguments: [])
        try await served.waitForAnswer()
        let count = 400 * Soak.factor
        var random = SeededRandom(seed: SeededRandom.seed(for: "RequestFuzzTests"))
        var statuses: Set<Int> = []
        for number in 0..<count {
            let answer = try Self.answer(to: random.mutated(Self.requests, Self.pieces), port: served.port)
            #expect(!answer.contains(Self.secret), "\(answer)")
            if answer.hasPrefix("HTTP/1.1 "), let status = Int(answer.dropFirst(9).prefix(3)) {
                statuses.insert(status)
            }
            if number % 100 == 99 {
                #expect(try await served.get("/livez").status == 200, "after \(number) requests")
                #expect(try served.daemon.privateMemory < 64 << 10)
            }
        }
        // Some were right, and some were understood and refused.
        #expect(statuses.isSuperset(of: [200, 400, 404, 405, 421]), "\(statuses)")
        #expect(try !served.daemon.log.contains(Self.secret))
        served.daemon.signal(SIGTERM)
        #expect(try await served.daemon.exitStatus(limit: .seconds(10)) == 0)
    }

    /// Reads until the server closes the connection or sends nothing for 20 ms: an unfinished request has no answer.
    private static func answer(to request: [UInt8], port: Int) throws -> String {
        let descriptor = try LoopbackHTTP.connected(port: port)
        defer { close(descriptor) }
        _ = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while answer.count < 1 << 20 {
            var readable = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&readable, 1, 20) == 1 else { break }
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }
}
