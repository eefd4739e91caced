import Foundation
import Heartbeats
import Synchronization
import TestServers
import Testing

@Suite struct HeartbeatTests {
    /// Calls the URL, and returns the failure that was reported; `nil` if there was none.
    private func call(
        _ url: HeartbeatURL, limit: Duration = .seconds(5), authorities: [String] = []
    ) async throws -> HTTPFailure? {
        let failures = Locked<[HTTPFailure]>([])
        let heartbeats = Heartbeats(limit: limit, authorities: authorities) { _, failure in
            failures.withLock { $0.append(failure) }
        }
        heartbeats.send(to: url)
        #expect(await heartbeats.finish(within: .seconds(60)))
        return failures.withLock { $0.first }
    }

    private func url(_ port: Int, isTLS: Bool = false, host: String = "127.0.0.1") throws -> HeartbeatURL {
        try #require(HeartbeatURL(parsing: "\(isTLS ? "https" : "http")://\(host):\(port)/t0ken?t0ken"))
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
        #expect(try await call(url(Loopback.freePort())) == .unreachable(ECONNREFUSED))
        guard case .unresolved = try await call(url(80, host: "no-such-host.invalid")) else {
            Issue.record("a name that cannot exist was resolved")
            return
        }
        let url = try url(1)
        #expect(!"\(url)\(String(reflecting: url))".contains("t0ken"))
    }

    @Test func waitsNoLongerThanItsLimit() async throws {
        // Without a limit none of these would end within the minute that `call` waits: a server that never answers,
        let silent = try Listener.silent()
        #expect(try await call(url(silent.port), limit: .seconds(1)) == .unanswered)
        // one that cannot be reached, on which the kernel gives up after two minutes,
        let swallowing = try Listener(swallowing: ())
        #expect(try await call(url(swallowing.port), limit: .seconds(1)) == .unreachable(ETIMEDOUT))
        // and one that takes half an hour for its first record of TLS, of 16 KiB. The TLS library then writes to a
        // socket that is shut down: the program ignores SIGPIPE, the test has a handler, which no child inherits.
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

    @Test func makesOneCallAtATimeAndKeepsTheLatestThatWaitsForEachURL() async throws {
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
        let heartbeats = Heartbeats(limit: .seconds(60), authorities: []) { _, _ in }
        func tell(_ path: String) throws {
            heartbeats.send(to: try #require(HeartbeatURL(parsing: "http://127.0.0.1:\(listener.port)\(path)")))
        }
        try tell("/first")
        for _ in 0..<2400 where paths.withLock(\.isEmpty) { try await Task.sleep(for: .milliseconds(25)) }
        // A job that fails, among many that succeed: neither may hide the other.
        try tell("/failure")
        for _ in 1...1000 { try tell("/success") }
        let isEarly = await heartbeats.finish(within: .milliseconds(50))
        #expect(!isEarly)
        mayAnswer.withLock { $0 = true }
        #expect(await heartbeats.finish(within: .seconds(60)))
        #expect(paths.withLock(\.self) == ["/first", "/failure", "/success"])
    }

    /// RFC 9525: only the alternative names of a certificate count. Here the common name alone is the host's.
    @Test func doesNotTakeACommonNameForTheHostsName() async throws {
        let directory = try TemporaryDirectory.make()
        let port = try Loopback.freePort()
        try await Command.check(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout",
                directory + "/key", "-out", directory + "/crt",
            ])
        let server = try SupervisedProcess(
            [
                "/usr/bin/openssl", "s_server", "-accept", "127.0.0.1:\(port)", "-cert", directory + "/crt", "-key",
                directory + "/key", "-www",
            ], logPath: directory + "/log")
        defer { server.stop() }
        var failure: HTTPFailure?
        for _ in 0..<1200 {
            failure = try await call(url(port, isTLS: true, host: "localhost"), authorities: [directory + "/crt"])
            guard failure == .unreachable(ECONNREFUSED) else { break }
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(failure == .tls("hostname mismatch"))
    }

    @Test func trustsTheSystemsAuthoritiesAndTheHostsOwnNameOnly() async throws {
        let server = try await PostgresServer.packaged()
        let https = try await HTTPSServer(like: server)
        defer { https.stop() }
        let port = https.port
        // As in an image, where the library's default paths do not exist.
        let named = try url(port, isTLS: true, host: "localhost")
        let trusted = try await call(named, authorities: ["/nonexistent", server.authority])
        #expect(trusted == nil, "\(trusted?.description ?? "")")
        guard case .tls = try await call(named) else {
            Issue.record("an unknown authority was trusted")
            return
        }
        let database = try await SessionsDatabase(on: server)
        for host in ["localhost", "127.0.0.1"] {
            let trusting = try RunningDaemon(
                url: database.url,
                environment: [
                    "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "https://\(host):\(port)/?\(host)",
                    "SSL_CERT_FILE": server.authority,
                ])
            try await trusting.wait("a heartbeat over TLS", limit: .seconds(60)) {
                try https.log.contains("GET /?\(host) HTTP/1.1\" 200")
            }
        }
        let daemon = try RunningDaemon(
            url: database.url,
            environment: [
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "https://localhost:\(port)/t0ken",
                "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            ])
        try await daemon.wait("a refusal of an unknown authority", limit: .seconds(60)) {
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

    /// A call is under way when SIGTERM comes, and answered half a second later.
    @Test func aStopLetsTheCallUnderWayEnd() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let (asked, isStopping) = (Locked(false), Locked(false))
        let callers = Locked<[Bool]>([])
        let listener = try Listener { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            guard read(visitor, &request, request.count) > 0 else { return }
            asked.withLock { $0 = true }
            for _ in 0..<3000 where !isStopping.withLock(\.self) { usleep(10_000) }
            usleep(500_000)
            // Nothing to read, and no end of the stream: the caller is there, and waits.
            let isThere = recv(visitor, &request, 1, Int32(MSG_DONTWAIT)) < 0
            callers.withLock { $0.append(isThere) }
            let answer = Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        let daemon = try RunningDaemon(
            url: database.url,
            environment: ["MCP_CLEANUP_NOTIFY_SUCCESS_URL": "http://127.0.0.1:\(listener.port)/"])
        try await daemon.wait("a call") { asked.withLock(\.self) }
        daemon.signal(SIGTERM)
        try await daemon.wait("the stop") { try daemon.log.contains("Stopping.") }
        isStopping.withLock { $0 = true }
        #expect(try await daemon.exitStatus() == 0)
        let log = try daemon.log
        #expect(callers.withLock(\.self).first == true, "\(log)")
        #expect(!log.contains("A heartbeat did not end") && !log.contains("The heartbeat to"), "\(log)")
    }

    @Test func onceCallsToo() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let asked = Locked<[String]>([])
        let serve: @Sendable (Int32) -> Void = { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            let count = read(visitor, &request, request.count)
            asked.withLock { $0.append(String(decoding: request[..<max(0, count)], as: UTF8.self)) }
            let answer = Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        let listener = try Listener(serve: serve)
        let urls = ["SUCCESS": "good", "FAILURE": "bad"].map {
            ("MCP_CLEANUP_NOTIFY_\($0)_URL", "http://127.0.0.1:\(listener.port)/\($1)")
        }
        func once(_ arguments: [String] = []) async throws -> CommandResult {
            try await database.daemon(
                ["--once"] + arguments, environment: Dictionary(uniqueKeysWithValues: urls))
        }
        #expect(try await once().status == 0)
        // One call for each of the two jobs, or one for both.
        #expect(asked.withLock { $0.allSatisfy { $0.hasPrefix("GET /good ") } && (1...2).contains($0.count) })
        asked.withLock { $0 = [] }
        #expect(try await once(["--dry-run"]).status == 0)
        #expect(asked.withLock { $0.isEmpty })
        try await database.run("DROP TABLE mcp_sessions")
        #expect(try await once().status == 78)
        #expect(asked.withLock { $0.allSatisfy { $0.hasPrefix("GET /bad ") } && (1...2).contains($0.count) })
        // No answer to a heartbeat changes a run's outcome.
        let silent = try Listener.silent()
        let path = try TemporaryDirectory.make() + "/metrics.prom"
        let result = try await database.daemon(
            ["--once", "--job", "transient", "--metrics-textfile", path],
            environment: ["MCP_CLEANUP_NOTIFY_FAILURE_URL": "http://127.0.0.1:\(silent.port)/bad"])
        #expect(result.status == 78 && result.error.contains("no answer came in time"), "\(result)")
        #expect(try String(contentsOfFile: path, encoding: .utf8).contains("notify_failures_total 1\n"))
    }

    @Test(.enabled(if: geteuid() == 0, "needs root for names of its own"))
    func aNameWhoseFirstAddressLosesPacketsIsCalledAtItsSecond() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        // RFC 6724 puts the addresses in this order, regardless of their order in the file: see `getent ahosts`.
        let swallowing = try Listener(swallowing: ())
        let answering = try Listener(on: 0x7F00_0002, port: swallowing.port) { visitor in
            let answer = Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
            _ = send(visitor, answer, answer.count, Int32(MSG_NOSIGNAL))
        }
        let hosts = try TemporaryDirectory.make() + "/hosts"
        try "127.0.0.1 localhost two-places.test\n127.0.0.2 two-places.test\n"
            .write(toFile: hosts, atomically: true, encoding: .utf8)
        let result = try await Command.run(
            "/usr/bin/unshare",
            ["-m", "/bin/sh", "-c", "mount --bind \"$1\" /etc/hosts && exec \"$0\" --once", Command.daemon, hosts],
            environment: [
                "NEON_DATABASE_URL": database.url, "PATH": "/usr/bin:/bin",
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "http://two-places.test:\(swallowing.port)/",
            ])
        #expect(result.status == 0 && !result.error.contains("heartbeat"), "\(result)")
        #expect(answering.hasVisitor)
    }

    @Test(.slow) func aServiceThatDoesNotAnswerDelaysNoRun() async throws {
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
        // Less than the ten seconds of a call: the stop waits three for the one under way.
        #expect(try await daemon.exitStatus(limit: .seconds(9)) == 0)
        #expect(try daemon.log.contains("A heartbeat did not end in 3 s, and is left behind."))
    }
}
