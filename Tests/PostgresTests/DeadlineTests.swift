import Foundation
import Glibc
import Postgres
import TestServers
import Testing

/// A call ends by its deadline, plus at most 2 s to cancel on the server, also if server or network do not answer.
@Suite struct DeadlineTests {
    private static let limit = Duration.milliseconds(700)
    /// The extra time of a loaded machine; a call that hangs would exceed any.
    static let slack = Duration.seconds(8)

    private func url(_ listener: Listener, mode: String = "disable") -> String {
        "postgresql://postgres:SECRET@127.0.0.1:\(listener.port)/postgres?sslmode=\(mode)"
    }

    @Test(arguments: ["disable", "prefer", "require"]) func endsConnectingToAListenerThatSaysNothing(
        mode: String
    ) async throws {
        let listener = try Listener.silent()
        let (error, time) = await failure { try await open(url(listener, mode: mode), limit: Self.limit) }
        #expect(error?.cause == .silent, "\(String(describing: error))")
        #expect(time >= Self.limit && time < Self.limit + Self.slack)
    }

    @Test func endsConnectingToAPlaceThatSwallowsPackets() async throws {
        let listener = try Listener(swallowing: ())
        let (error, time) = await failure { try await open(url(listener), limit: Self.limit) }
        #expect(error?.cause == .silent, "\(String(describing: error))")
        #expect(time >= Self.limit && time < Self.limit + Self.slack)
    }

    @Test(arguments: ["disable", "prefer", "require"]) func reportsAListenerThatIsNoPostgreSQL(
        mode: String
    ) async throws {
        for bytes in [
            Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), [0, 1, 2, 3], [UInt8(ascii: "R"), 0xFF, 0xFF, 0xFF, 0xFF],
            [],
        ] {
            let listener = try Listener.saying(bytes)
            let (error, time) = await failure { try await open(url(listener, mode: mode)) }
            #expect(error?.cause == .broken, "\(bytes): \(String(describing: error))")
            #expect(time < Self.slack)
        }
    }

    /// A socket that is always readable must not keep the deadline from being checked.
    @Test func endsConnectingToAListenerThatNeverStops() async throws {
        // Authentication passed, then notices: the type, the length, and fields that end at once.
        let welcome: [UInt8] = [UInt8(ascii: "R"), 0, 0, 0, 8, 0, 0, 0, 0]
        let notice: [UInt8] = [UInt8(ascii: "N"), 0, 0, 0, 5, 0]
        let listener = try Listener.saying(welcome, forever: Array(repeatElement(notice, count: 1000).joined()))
        let (error, time) = await failure { try await open(url(listener), limit: Self.limit) }
        #expect(
            error?.cause == .silent || error?.description.contains("more than 1 MB") == true,
            "\(String(describing: error))")
        #expect(time < Self.limit + Self.slack)
    }

    /// The tests above rely on this: else a thread of a closed listener could accept the next listener's clients.
    @Test func noListenerServesTheClientsOfAnother() throws {
        for _ in 0..<500 {
            do {
                let noisy = try Listener.saying([UInt8(ascii: "N")], forever: [UInt8(ascii: "N")])
                close(try LoopbackHTTP.connected(port: noisy.port))
            }
            let silent = try Listener.silent()
            let client = try LoopbackHTTP.connected(port: silent.port)
            defer { close(client) }
            _ = send(client, "?", 1, Int32(MSG_NOSIGNAL))
            usleep(300)
            var byte: UInt8 = 0
            #expect(recv(client, &byte, 1, Int32(MSG_DONTWAIT)) == -1)
        }
    }

    @Test func reportsAPortWhereNobodyListens() async throws {
        let port = try Loopback.freePort()
        let (error, time) = await failure { try await open("postgresql://postgres@127.0.0.1:\(port)/postgres") }
        #expect(error?.cause == .refused && time < Self.slack)
    }

    /// This machine's name server may answer that there is no such name, or may not answer.
    @Test func reportsANameThatHasNoAddress() async throws {
        let (error, time) = await failure {
            try await open("postgresql://postgres@absent.invalid/postgres", limit: Self.limit)
        }
        #expect(
            error?.cause == .unresolved && error?.description.contains("absent.invalid") == true,
            "\(String(describing: error))")
        #expect(time < Self.limit + Self.slack)
    }

    @Test func leavesTimeForTheHostsAfterASilentOne() async throws {
        let server = try await PostgresServer.packaged()
        let (silent, swallowing) = (try Listener.silent(), try Listener(swallowing: ()))
        let start = ContinuousClock.now
        let connection = try await open(
            "postgresql://postgres@/postgres?host=127.0.0.1,127.0.0.1,absent.invalid,\(server.directory)&port=\(silent.port),\(swallowing.port),1,\(server.port)",
            // A loaded machine is late by a second now and then: the shares have to be longer than that.
            limit: .seconds(12))
        #expect(start.duration(to: .now) < .seconds(12) + Self.slack)
        #expect(try await connection.value("1") == "1")
        await connection.close()
    }

    @Test func cancelsAStatementOnTheServerAtItsDeadline() async throws {
        let server = try await PostgresServer.packaged()
        let connection = try await open(server.url("postgres"))
        let backend = try await connection.processIdentifier
        let (error, time) = await failure { try await connection.run("SELECT pg_sleep(120)", limit: Self.limit) }
        guard case .timedOut(.querying, let limit) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(limit <= Self.limit && time >= Self.limit - .milliseconds(1) && time < Self.limit + Self.slack)
        // A backend that lost its client sleeps on: only the cancellation ends it before 120 s are over.
        #expect(try await eventually { try await !server.isRunning(backend) })
        #expect(try await connection.value("1") == "1")
        await connection.close()
    }

    @Test func endsAResultThatNeverEnds() async throws {
        let server = try await PostgresServer.packaged()
        let connection = try await open(server.url("postgres"))
        let backend = try await connection.processIdentifier
        let (error, time) = await failure {
            try await connection.script(
                "SELECT repeat('x', 1000) FROM generate_series(1, 1000000000)", deadline: .now + .milliseconds(300))
        }
        guard case .timedOut = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(time < .seconds(2) + Self.slack)
        await connection.close()
        #expect(try await eventually { try await !server.isAlive(backend) })
    }

    @Test func endsWhenTheBackendIsFrozen() async throws {
        let server = try await PostgresServer.packaged()
        let connection = try await open(server.url("postgres"))
        let backend = try await connection.processIdentifier
        async let outcome = failure { try await connection.run("SELECT pg_sleep(120)", limit: .seconds(5)) }
        #expect(try await eventually { try await server.isRunning(backend) })
        kill(backend, SIGSTOP)
        let (error, time) = await outcome
        kill(backend, SIGCONT)
        guard case .timedOut = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(time < .seconds(5 + 2) + Self.slack)
        #expect(try await eventually { try await !server.isAlive(backend) })
    }

    @Test func reportsTheServersWordsWhenItEndsTheConnection() async throws {
        let server = try await PostgresServer.packaged()
        for _ in 0..<5 {
            let connection = try await open(server.url("postgres"))
            let backend = try await connection.processIdentifier
            async let outcome = failure { try await connection.run("SELECT pg_sleep(120)") }
            #expect(try await eventually { try await server.isRunning(backend) })
            try await server.query("SELECT pg_terminate_backend(\(backend))")
            let (error, time) = await outcome
            #expect(error?.sqlState == "57P01", "\(String(describing: error))")
            #expect(time < patience)
            #expect(await connection.isAlive() == false)
        }
    }

    @Test func reportsABackendThatIsKilledOrWasTerminatedBetweenStatements() async throws {
        let server = try await PostgresServer.packaged()
        let connection = try await open(server.url("postgres"))
        let backend = try await connection.processIdentifier
        try await server.query("SELECT pg_terminate_backend(\(backend), 10000)")
        let (error, _) = await failure { try await connection.run("SELECT 1") }
        switch error {
        case .server(let message, _): #expect(message.sqlState == "57P01")
        case .connectionLost: break
        default: Issue.record("\(String(describing: error))")
        }
        #expect(await connection.isAlive() == false)
    }
}

/// Faults that would break other tests' connections, on a server of their own.
@Suite(.serialized) struct ServerLossTests {
    private func server() async throws -> PostgresServer {
        try await PostgresServer(binaries: PostgresServer.packaged().binaries)
    }

    private func postmaster(of server: PostgresServer) throws -> Int32 {
        let file = try String(contentsOfFile: server.directory + "/data/postmaster.pid", encoding: .utf8)
        return try #require(file.split(separator: "\n").first.flatMap { Int32($0) })
    }

    @Test func endsWhenTheWholeServerIsFrozenAndWhenItShutsDown() async throws {
        let server = try await server()
        let postmaster = try postmaster(of: server)
        let connection = try await open(server.url("postgres"))
        let backend = try await connection.processIdentifier
        async let frozen = failure { try await connection.run("SELECT pg_sleep(120)", limit: .seconds(5)) }
        #expect(try await eventually { try await server.isRunning(backend) })
        kill(postmaster, SIGSTOP)
        kill(backend, SIGSTOP)
        let (lost, time) = await frozen
        let (silent, connectTime) = await failure { try await open(server.url("postgres"), limit: .milliseconds(500)) }
        kill(backend, SIGCONT)
        kill(postmaster, SIGCONT)
        guard case .timedOut = lost else {
            Issue.record("\(String(describing: lost))")
            return
        }
        #expect(time < .seconds(5 + 2) + DeadlineTests.slack)
        #expect(
            silent?.cause == .silent && connectTime < .milliseconds(500) + DeadlineTests.slack,
            "\(String(describing: silent))")

        let other = try await open(server.url("postgres"))
        let pid = try await other.processIdentifier
        async let shutDown = failure { try await other.run("SELECT pg_sleep(120)") }
        #expect(try await eventually { try await server.isRunning(pid) })
        // A fast shutdown.
        kill(postmaster, SIGINT)
        let (error, _) = await shutDown
        #expect(error?.sqlState == "57P01", "\(String(describing: error))")
        #expect(
            try await eventually { await failure { try await open(server.url("postgres")) }.error?.cause == .refused })
    }

    private static let canCutNetworks =
        geteuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/sbin/ip")

    /// The network begins to drop all packets while a connection is open.
    @Test(.enabled(if: canCutNetworks, "needs root and iproute2: no network is cut under an open connection"))
    func endsWhenTheNetworkGoesSilent() async throws {
        let name = "mcpt" + String(UInt32.random(in: 0...UInt32.max), radix: 36).suffix(6)
        func ip(_ arguments: String) async throws {
            try await Command.check("/usr/sbin/ip", arguments.split(separator: " ").map(String.init))
        }
        let net = "10.77.\(Int.random(in: 1...254))"
        try await ip("netns add \(name)")
        do {
            try await ip("link add \(name)a type veth peer name \(name)b")
            try await ip("link set \(name)b netns \(name)")
            try await ip("addr add \(net).1/24 dev \(name)a")
            try await ip("link set \(name)a up")
            try await ip("-n \(name) addr add \(net).2/24 dev \(name)b")
            try await ip("-n \(name) link set \(name)b up")
            try await ip("-n \(name) link set lo up")
            let server = try await PostgresServer(
                binaries: PostgresServer.packaged().binaries, settings: ["listen_addresses = '*'", "ssl = off"],
                privilegedWrapper: ["/usr/sbin/ip", "netns", "exec", name])
            try "local all all trust\nhost all all \(net).0/24 trust\n".write(
                toFile: server.directory + "/data/pg_hba.conf", atomically: false, encoding: .utf8)
            try await server.query("SELECT pg_reload_conf()")
            let url = "postgresql://postgres@\(net).2:\(server.port)/postgres"
            #expect(try await eventually { await failure { try await open(url).close() }.error == nil })
            let connection = try await open(url)
            let backend = try await connection.processIdentifier
            async let outcome = failure { try await connection.run("SELECT pg_sleep(120)", limit: .seconds(5)) }
            #expect(try await eventually { try await server.isRunning(backend) })
            // No packet comes through any more, and neither side gets an error.
            try await ip("-n \(name) link set \(name)b down")
            let (error, time) = await outcome
            let (unreachable, connectTime) = await failure { try await open(url, limit: .seconds(1)) }
            kill(backend, SIGTERM)
            guard case .timedOut = error else { throw TestServerError("\(String(describing: error))") }
            #expect(time >= .milliseconds(4900) && time < .seconds(5 + 2) + DeadlineTests.slack)
            #expect(
                unreachable?.cause != nil && connectTime < .seconds(1) + DeadlineTests.slack,
                "\(String(describing: unreachable))")
        } catch {
            Issue.record(error)
        }
        try await ip("netns delete \(name)")
    }
}
