import Foundation
import Glibc
import TestServers
import Testing

/// The service with a socket that this test passes, as systemd does.
@Suite struct PassedSocketTests {
    /// Passes descriptors from 3 on, each made as one word says, and becomes the program: sd_listen_fds(3).
    private static let passing = """
        import os, signal, socket, sys
        made = []
        for word in sys.argv[1].split():
            kind, _, where = word.partition(":")
            if kind == "unix":
                made.append(socket.socket(socket.AF_UNIX)); made[-1].bind(where); made[-1].listen()
            elif kind == "tcp":
                made.append(socket.socket()); made[-1].bind(("127.0.0.1", int(where))); made[-1].listen()
            elif kind == "unbound":
                made.append(socket.socket())
            elif kind == "datagram":
                made.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)); made[-1].bind(where)
            elif kind == "file":
                made.append(open(where))
        if "SHUTDOWN" in os.environ and os.fork() == 0:
            # Keeps a copy, and shuts the socket down once the test has opened the pipe.
            signal.alarm(60)
            open(os.environ["SHUTDOWN"]).close()
            made[0].shutdown(socket.SHUT_RDWR)
            os._exit(0)
        for number, descriptor in enumerate([os.dup(one.fileno()) for one in made]):
            os.dup2(descriptor, 3 + number)
        os.environ.update(
            LISTEN_PID=str(os.getpid()), LISTEN_FDS=os.environ.get("COUNT") or str(len(made)),
            LISTEN_FDNAMES=":".join(word.split(":")[0] for word in sys.argv[1].split()))
        os.execv(sys.argv[2], sys.argv[2:])
        """

    private func daemon(
        _ sockets: String, listen: String, _ environment: [String: String] = [:]
    ) throws -> RunningDaemon {
        try RunningDaemon(
            url: "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable", schedules: ("0 0 1 1 *", "0 0 1 1 *"),
            environment: ["MCP_CLEANUP_HTTP_LISTEN": listen, "MCP_CLEANUP_HISTORY_MODE": "off"]
                .merging(environment) { $1 },
            wrapper: ["/usr/bin/python3", "-c", Self.passing, sockets])
    }

    @Test func servesOnAUnixSocketAndNamesItWhereTheConfigurationDoesNot() async throws {
        let path = try TemporaryDirectory.make() + "/socket"
        let daemon = try daemon("unix:\(path)", listen: "127.0.0.1:9764")
        try await daemon.wait("an answer") {
            try await UnixHTTP.get("/livez", at: path)?.hasPrefix("HTTP/1.1 200") ?? false
        }
        #expect(try await UnixHTTP.get("/metrics", at: path)?.contains("mcp_cleanup_build_info") ?? false)
        #expect(
            try daemon.log.contains("http.listen is 127.0.0.1:9764, and systemd passed unix:\(path), which is served."))
        #expect(try daemon.log.contains("Set http.listen to unix:\(path)"))
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        #expect(FileManager.default.fileExists(atPath: path), "the socket is systemd's to remove")
    }

    @Test func servesOnATCPSocketWithoutAWarningWhereBothAreTheSame() async throws {
        let port = try Loopback.freePort()
        let daemon = try daemon("tcp:\(port)", listen: "127.0.0.1:\(port)")
        try await daemon.wait("an answer") {
            // Refused until the wrapper has bound the port.
            (try? await LoopbackHTTP.get("/livez", port: port))?.status == 200
        }
        #expect(try await LoopbackHTTP.send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", port: port).status == 421)
        #expect(try !daemon.log.contains("systemd passed"))
    }

    @Test func servesNothingWhereHTTPIsOffAndSaysSo() async throws {
        let path = try TemporaryDirectory.make() + "/socket"
        let manager = try ManagerSocket()
        let daemon = try daemon("unix:\(path)", listen: "off", ["NOTIFY_SOCKET": manager.address])
        #expect(await manager.receive(containing: "READY=1") != nil)
        #expect(try daemon.log.contains("http.listen is off: nothing is served on the socket that systemd passed"))
        #expect(try await UnixHTTP.get("/livez", at: path, limit: 1)?.isEmpty ?? true)
    }

    @Test(arguments: [
        ("unix:%/a unix:%/b", "", "systemd passed 2 sockets (unix, unix)"),
        ("file:/dev/null", "", "what systemd passed as “file” is no listening stream socket"),
        ("datagram:%/a", "", "is no listening stream socket"), ("unbound:", "", "is no listening stream socket"),
        ("unix:%/a", "many", "LISTEN_FDS is “many”"), ("", "3", "Bad file descriptor"),
    ])
    func refusesWhatItCannotListenOn(sockets: String, count: String, words: String) async throws {
        let folder = try TemporaryDirectory.make()
        let daemon = try daemon(
            sockets.replacing("%", with: folder), listen: "127.0.0.1:9764", ["COUNT": count])
        #expect(try await daemon.exitStatus() == 78)
        let log = try daemon.log
        #expect(log.contains(words) && log.contains("hint: "), "\(log)")
    }

    /// A service without its listener would run on unseen: its unit starts it again.
    @Test func endsWhenTheSystemClosesItsListener() async throws {
        let port = try Loopback.freePort()
        let pipe = try TemporaryDirectory.make() + "/pipe"
        #expect(mkfifo(pipe, 0o600) == 0)
        let daemon = try daemon("tcp:\(port)", listen: "127.0.0.1:\(port)", ["SHUTDOWN": pipe])
        try await daemon.wait("an answer") {
            // Refused until the wrapper has bound the port.
            (try? await LoopbackHTTP.get("/livez", port: port))?.status == 200
        }
        // To read too: opening it waits for no reader then, and lets the reader's own opening return.
        let writer = open(pipe, O_RDWR | O_CLOEXEC)
        defer { close(writer) }
        try await daemon.wait("the end of the listener") {
            try daemon.log.contains("the system has closed the listener at 127.0.0.1:\(port)")
        }
        #expect(try await daemon.exitStatus() == 75)
        #expect(try daemon.log.contains("Start the service again, as its unit does."))
    }

    /// Connections that come while no process accepts wait in the queue; those that were accepted are answered.
    @Test func losesNoScrapeThatItHasAcceptedWhenItStops() async throws {
        let request = Array("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
        // The service waits for a request for a second, which a loaded machine may not leave to the test.
        for _ in 0..<10 {
            let port = try Loopback.freePort()
            let daemon = try daemon("tcp:\(port)", listen: "127.0.0.1:\(port)")
            try await daemon.wait("an answer") {
                // Refused until the wrapper has bound the port.
                (try? await LoopbackHTTP.get("/livez", port: port))?.status == 200
            }
            let accepted = try LoopbackHTTP.connected(port: port)
            defer { close(accepted) }
            // It is accepted before this later one; its request comes when the service is already stopping.
            #expect(try await LoopbackHTTP.get("/livez", port: port).status == 200)
            let signaled = ContinuousClock.now
            daemon.signal(SIGTERM)
            try await Task.sleep(for: .milliseconds(300))
            let sent = send(accepted, request, request.count, Int32(MSG_NOSIGNAL))
            guard signaled.duration(to: .now) < .milliseconds(900) else { continue }
            var answer = [UInt8](repeating: 0, count: 4096)
            let count = recv(accepted, &answer, answer.count, 0)
            #expect(sent == request.count && count > 0)
            #expect(String(decoding: answer.prefix(max(0, count)), as: UTF8.self).hasPrefix("HTTP/1.1 "))
            #expect(try await daemon.exitStatus() == 0)
            return
        }
        Issue.record("no request was sent within 900 ms after the signal")
    }
}

/// `http.listen: unix:/path`, without systemd.
@Suite struct UnixListenTests {
    private func daemon(_ path: String) throws -> RunningDaemon {
        try RunningDaemon(
            url: "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable", schedules: ("0 0 1 1 *", "0 0 1 1 *"),
            environment: ["MCP_CLEANUP_HTTP_LISTEN": "unix:\(path)", "MCP_CLEANUP_HISTORY_MODE": "off"])
    }

    @Test func servesThereAnswersHealthAndRemovesThePathAtItsEnd() async throws {
        let path = try TemporaryDirectory.make() + "/socket"
        let first = try daemon(path)
        try await first.wait("an answer") { try await UnixHTTP.get("/livez", at: path)?.contains("alive") ?? false }
        let health = try await Command.run(
            Command.daemon, ["health"], environment: ["MCP_CLEANUP_HTTP_LISTEN": "unix:\(path)"])
        #expect(health.status == 0, "\(health)")
        // The Host header may have any name here: no web page can reach the socket.
        #expect(try await UnixHTTP.get("/livez", at: path, host: "metrics.example")?.contains("alive") ?? false)
        let second = try daemon(path)
        #expect(try await second.exitStatus() == 75, "the first one listens there")
        first.signal(SIGTERM)
        #expect(try await first.exitStatus() == 0)
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func replacesTheSocketOfADeadProcess() async throws {
        let path = try TemporaryDirectory.make() + "/socket"
        let first = try daemon(path)
        try await first.wait("an answer") { try await UnixHTTP.get("/livez", at: path) != nil }
        first.signal(SIGKILL)
        #expect(try await first.exitStatus() == 128 + SIGKILL)
        #expect(FileManager.default.fileExists(atPath: path))
        let second = try daemon(path)
        try await second.wait("an answer") { try await UnixHTTP.get("/livez", at: path) != nil }
    }

    @Test(arguments: [
        ("file", "is no socket"), ("directory", "is no socket"), ("missing/socket", "Make the directory"),
    ])
    func refusesAPathThatIsSomethingElse(name: String, words: String) async throws {
        let folder = try TemporaryDirectory.make()
        try Data("keep".utf8).write(to: URL(fileURLWithPath: folder + "/file"))
        try FileManager.default.createDirectory(atPath: folder + "/directory", withIntermediateDirectories: false)
        let daemon = try daemon("\(folder)/\(name)")
        #expect(try await daemon.exitStatus() == 78)
        let log = try daemon.log
        #expect(log.contains(words) && log.contains("cannot listen on unix:\(folder)/\(name)"), "\(log)")
        #expect(try String(contentsOfFile: folder + "/file", encoding: .utf8) == "keep")
    }

    @Test func refusesAPathThatIsTooLong() async throws {
        let daemon = try daemon("/" + String(repeating: "x", count: 107))
        #expect(try await daemon.exitStatus() == 78)
        #expect(try daemon.log.contains("107 bytes"))
    }
}

/// Requests over a Unix socket.
enum UnixHTTP {
    /// The whole answer, or the part that came within the limit in seconds; `nil` if the socket does not accept.
    static func get(
        _ target: String, at path: String, host: String = "localhost", limit: Int = 15
    ) async throws -> String? {
        let result = try await Command.run(
            "/usr/bin/curl",
            ["--silent", "--include", "--max-time", "\(limit)", "--unix-socket", path, "http://\(host)\(target)"])
        // 7: could not connect.
        return result.status == 7 ? nil : result.output
    }
}
