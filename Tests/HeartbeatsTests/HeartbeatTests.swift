import Foundation
import Heartbeats
import Synchronization
import TestServers
import Testing

@Suite struct HeartbeatTests {
    /// What was said about a call, or that it went well.
    private func call(_ url: HeartbeatURL, limit: Duration = .seconds(5)) async throws -> HeartbeatFailure? {
        let failures = Locked<[HeartbeatFailure]>([])
        let heartbeats = Heartbeats(limit: limit) { _, failure in failures.withLock { $0.append(failure) } }
        let deadline = ContinuousClock.now + .seconds(60)
        heartbeats.send(to: url)
        while heartbeats.isCalling {
            guard ContinuousClock.now < deadline else { throw TestServerError("the call does not end") }
            try await Task.sleep(for: .milliseconds(25))
        }
        return failures.withLock { $0.first }
    }

    private func url(_ port: Int, isTLS: Bool = false, host: String = "127.0.0.1") -> HeartbeatURL {
        HeartbeatURL(isTLS: isTLS, host: host, port: port, target: "/t0ken?t0ken")
    }

    @Test func asksForThePathAndIsContentWithAnyAnswerThatSaysYes() async throws {
        let asked = Locked<[String]>([])
        let listener = try Listener { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            let count = read(visitor, &request, request.count)
            asked.withLock { $0.append(String(decoding: request[..<max(0, count)], as: UTF8.self)) }
            let answer = Array("HTTP/1.1 204 No Content\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        #expect(try await call(url(listener.port)) == nil)
        let request = try #require(asked.withLock { $0.first })
        #expect(request.hasPrefix("GET /t0ken?t0ken HTTP/1.1\r\nHost: 127.0.0.1:\(listener.port)\r\n"), "\(request)")
        #expect(request.hasSuffix("\r\nConnection: close\r\n\r\n"))
    }

    @Test func saysWhyACallFailedAndNothingOfThePath() async throws {
        let refusing = try Listener.saying(Array("HTTP/1.1 404 Not Found\r\n\r\n".utf8))
        #expect(try await call(url(refusing.port)) == .refused(status: 404))
        let other = try Listener.saying(Array("220 smtp.example ESMTP\r\n".utf8))
        #expect(try await call(url(other.port)) == .notHTTP)
        #expect(try await call(url(try Loopback.freePort())) == .unreachable(ECONNREFUSED))
        guard case .unresolved = try await call(url(80, host: "no-such-host.invalid")) else {
            Issue.record("a name that cannot exist was resolved")
            return
        }
        #expect(!"\(url(1))\(String(reflecting: url(1)))".contains("t0ken"))
    }

    @Test func waitsNoLongerThanItsLimit() async throws {
        // Without a limit none of these would end within the minute that `call` waits: a server that never answers,
        let silent = try Listener.silent()
        #expect(try await call(url(silent.port), limit: .seconds(1)) == .unanswered)
        // one that cannot be reached, on which the kernel gives up after two minutes,
        let swallowing = try Listener(swallowing: ())
        #expect(try await call(url(swallowing.port), limit: .seconds(1)) == .unreachable(ETIMEDOUT))
        // and one that takes half an hour for its first record of TLS, of 16 KiB. The TLS library then writes to a socket
        // that is shut down: the program ignores the signal, and a handler is what no process of another test inherits.
        signal(SIGPIPE) { _ in }
        let slow = try Listener { visitor in
            var record: [UInt8] = [22, 3, 3, 0x40, 0, 2]
            while send(visitor, record, record.count, Int32(MSG_NOSIGNAL)) > 0 {
                record = [0]
                usleep(100_000)
            }
        }
        #expect(try await call(url(slow.port, isTLS: true), limit: .seconds(1)) != nil)
    }

    @Test func makesOneCallAtATimeAndKeepsTheLatestThatWaits() async throws {
        let paths = Locked<[String]>([])
        let mayAnswer = Locked(false)
        let listener = try Listener { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            let count = read(visitor, &request, request.count)
            let path = String(decoding: request[..<max(0, count)], as: UTF8.self).split(separator: " ")[1]
            paths.withLock { $0.append(String(path)) }
            for _ in 0..<6000 where !mayAnswer.withLock(\.self) { usleep(10_000) }
            let answer = Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        let heartbeats = Heartbeats(limit: .seconds(60)) { _, _ in }
        heartbeats.send(to: HeartbeatURL(isTLS: false, host: "127.0.0.1", port: listener.port, target: "/first"))
        for _ in 0..<2400 where paths.withLock(\.isEmpty) { try await Task.sleep(for: .milliseconds(25)) }
        for number in 1...1000 {
            heartbeats.send(
                to: HeartbeatURL(isTLS: false, host: "127.0.0.1", port: listener.port, target: "/\(number)"))
        }
        mayAnswer.withLock { $0 = true }
        for _ in 0..<2400 where heartbeats.isCalling { try await Task.sleep(for: .milliseconds(25)) }
        #expect(paths.withLock(\.self) == ["/first", "/1000"])
    }

    @Test func trustsTheSystemsAuthoritiesAndTheHostsOwnNameOnly() async throws {
        let server = try await PostgresServer.packaged()
        let directory = (server.authority as NSString).deletingLastPathComponent
        let port = try Loopback.freePort()
        let copy = try TemporaryDirectory.make()
        for file in ["server.crt", "server.key"] {
            try FileManager.default.copyItem(atPath: "\(directory)/\(file)", toPath: "\(copy)/\(file)")
        }
        let program = """
            import http.server, ssl
            server = http.server.HTTPServer(("127.0.0.1", \(port)), http.server.SimpleHTTPRequestHandler)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("\(copy)/server.crt", "\(copy)/server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.serve_forever()
            """
        let https = try SupervisedProcess(["/usr/bin/env", "python3", "-u", "-c", program], logPath: copy + "/log")
        defer { https.stop() }
        let database = try await SessionsDatabase(on: server)
        for host in ["localhost", "127.0.0.1"] {
            let trusting = try RunningDaemon(
                url: database.url,
                environment: [
                    "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "https://\(host):\(port)/?\(host)",
                    "SSL_CERT_FILE": server.authority,
                ])
            try await trusting.wait("a heartbeat over TLS", limit: .seconds(60)) {
                try String(contentsOfFile: copy + "/log", encoding: .utf8).contains("GET /?\(host) HTTP/1.1\" 200")
            }
        }
        let daemon = try RunningDaemon(
            url: database.url,
            environment: [
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "https://localhost:\(port)/t0ken",
                "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            ])
        try await daemon.wait("a refusal of an authority that nobody trusts", limit: .seconds(60)) {
            try daemon.log.contains("The heartbeat to https://localhost:\(port)/… failed: TLS failed: ")
        }
        #expect(try !daemon.log.contains("t0ken"))
    }
}

/// Heartbeats of the real daemon.
@Suite struct NotificationTests {
    @Test func callsOneURLAfterSuccessAndTheOtherAfterFailure() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let paths = Locked<[String]>([])
        let listener = try Listener { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            let count = read(visitor, &request, request.count)
            let words = String(decoding: request[..<max(0, count)], as: UTF8.self).split(separator: " ")
            if words.count > 1 { paths.withLock { $0.append(String(words[1])) } }
            let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        let daemon = try RunningDaemon(
            url: database.url,
            environment: [
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "http://127.0.0.1:\(listener.port)/good",
                "MCP_CLEANUP_NOTIFY_FAILURE_URL": "http://127.0.0.1:\(listener.port)/bad",
            ])
        try await daemon.wait("a call after a success") { paths.withLock { $0.contains("/good") } }
        #expect(!paths.withLock { $0.contains("/bad") })
        try await database.run("DROP TABLE mcp_sessions")
        try await daemon.wait("a call after a failure") { paths.withLock { $0.contains("/bad") } }
    }

    @Test func aServiceThatDoesNotAnswerDelaysNoRun() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let silent = try Listener.silent()
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: database.url,
            environment: [
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "http://127.0.0.1:\(silent.port)/",
                "MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)",
            ])
        try await daemon.wait("many runs during one call") { try daemon.runs.count >= 5 }
        try await daemon.wait("a counted failure") {
            try await LoopbackHTTP.get("/metrics", port: port).body.contains(/notify_failures_total [1-9]/)
        }
        #expect(try daemon.log.contains("no answer came in time"))
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus(limit: .seconds(5)) == 0)
    }
}
