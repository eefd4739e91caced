import Foundation
import Postgres
import TestServers
import Testing

@Suite struct CancellationTests {
    @Test(arguments: Place.available) func cancelsTheStatementOnTheServerWithItsTask(place: Place) async throws {
        let connection = try await place.open()
        let backend = try await connection.processIdentifier
        let server = try await place == .newest ? #require(PostgresServer.newest()) : PostgresServer.packaged()
        let task = Task {
            await failure {
                try await connection.script("BEGIN; SELECT pg_sleep(120); COMMIT", deadline: .now + .seconds(60))
            }
        }
        #expect(try await eventually { try await server.isRunning(backend) })
        let start = ContinuousClock.now
        task.cancel()
        let (error, _) = await task.value
        #expect(error == .canceled(during: .querying))
        #expect(start.duration(to: .now) < .seconds(5))
        // The server has confirmed the cancellation: the open transaction can be left, and the connection used again.
        #expect(await connection.isAlive())
        await connection.close()
        // A pooler keeps its connection to the server, with another statement on it or none.
        #expect(try await eventually(within: .seconds(15)) { try await !server.isRunning(backend) })
        if place == .pooler {
            let next = try await place.open()
            #expect(try await next.value("1") == "1")
            await next.close()
        }
    }

    /// The canceled statement would have written a row after the cancellation.
    @Test func undoesWhatTheStatementDid() async throws {
        let server = try await PostgresServer.packaged()
        let database = try await server.makeDatabase()
        try await server.query("CREATE TABLE t (i int)", in: database)
        let connection = try await open(server.url(database))
        let backend = try await connection.processIdentifier
        let task = Task { await failure { try await connection.run("INSERT INTO t SELECT 1 FROM pg_sleep(20)") } }
        #expect(try await eventually { try await server.isRunning(backend) })
        task.cancel()
        #expect(await task.value.error == .canceled(during: .querying))
        #expect(try await connection.value("1") == "1")
        #expect(try await eventually { try await !server.isRunning(backend) })
        await connection.close()
        #expect(try await server.value("SELECT count(*) FROM t", in: database) == "0")
    }

    /// Where a request to cancel has ended no statement, all results are returned.
    @Test func tellsWhatWasDoneWhenNothingWasCanceled() async throws {
        let server = try await PostgresServer.packaged()
        let connection = try await open(server.url("postgres"))
        let backend = try await connection.processIdentifier
        let task = Task {
            try await connection.script(
                "DO $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END $$; SELECT 'done' AS word",
                deadline: .now + .seconds(60))
        }
        #expect(try await eventually { try await server.isRunning(backend) })
        task.cancel()
        let results = try await task.value
        #expect(results.count == 2)
        #expect(try results.last?.onlyRow().text("word") == "done")
        #expect(await connection.isAlive())
        await connection.close()
    }

    @Test func sendsNothingForATaskThatIsCanceledAlready() async throws {
        let server = try await PostgresServer.packaged()
        let database = try await server.makeDatabase()
        try await server.query("CREATE TABLE t (i int)", in: database)
        let connection = try await open(server.url(database))
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await failure { try await connection.run("INSERT INTO t VALUES (1)") }
        }
        #expect(await task.value.error == .canceled(during: .querying))
        await connection.close()
        #expect(try await server.value("SELECT count(*) FROM t", in: database) == "0")
    }

    @Test(arguments: ["127.0.0.1", "absent.invalid"]) func endsConnectingWithItsTask(host: String) async throws {
        let listener = try Listener.silent()
        for delay in [0, 1, 50] {
            let task = Task {
                await failure { try await open("postgresql://u@\(host):\(listener.port)/d", limit: .seconds(60)) }
            }
            try await Task.sleep(for: .milliseconds(delay))
            task.cancel()
            let (error, time) = await task.value
            // The name server may have answered before the cancellation.
            #expect(error == .canceled(during: .connecting) || host != "127.0.0.1" && error?.cause == .unresolved)
            #expect(time < .seconds(5))
        }
    }

    /// Libpq may be in the middle of a step, such as SCRAM's rounds, when its task is canceled: the next attempt waits for that.
    @Test func aCanceledAttemptDoesNotFailTheNext() async throws {
        let server = try await PostgresServer.packaged()
        let url = try await server.secureURL("postgres", user: server.makeRole(), password: "right")
        for round in 0..<40 {
            let task = Task {
                await failure { try await open(url, environment: ["SSL_CERT_FILE": server.authority]).close() }
            }
            usleep(UInt32(round * 400))
            task.cancel()
            try await open(server.url("postgres")).close()
            _ = await task.value
        }
    }

    /// Cancellations at every moment of an exchange: a call ends once, and the connection is either usable or closed.
    @Test(.timeLimit(.minutes(1))) func survivesCancellationAtAnyMoment() async throws {
        let server = try await PostgresServer.packaged()
        let url = server.url("postgres", query: "&application_name=any_moment")
        await withTaskGroup { group in
            for worker in 0..<4 {
                group.addTask {
                    for round in 0..<40 {
                        let task = Task {
                            try await open(url).run(
                                "SELECT pg_sleep(0.002)", limit: .milliseconds(round % 5 == 0 ? 3 : 10_000))
                        }
                        try? await Task.sleep(for: .microseconds((worker * 40 + round) * 60))
                        task.cancel()
                        do {
                            _ = try await task.value
                        } catch PostgresError.canceled {
                        } catch PostgresError.timedOut {
                        } catch PostgresError.unreachable(.silent, _) {
                        } catch {
                            Issue.record(error)
                        }
                    }
                }
            }
        }
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'any_moment'"
        #expect(try await eventually { try await server.value(left, in: "postgres") == "0" })
    }

    private static func descriptors() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
    }

    /// 200 failures of each kind; other tests open a few dozen descriptors meanwhile.
    @Test(.slow, .timeLimit(.minutes(2))) func leavesNothingOpenAfterFailures() async throws {
        let server = try await PostgresServer.packaged()
        let database = try await server.makeDatabase()
        let absent = try Loopback.freePort()
        let silent = try Listener.silent()
        let name = "&application_name=\(database)"
        let kinds: [(String, @Sendable () async throws -> Void)] = [
            ("refused", { try await open("postgresql://u@127.0.0.1:\(absent)/d").close() }),
            (
                "silent",
                { try await open("postgresql://u@127.0.0.1:\(silent.port)/d", limit: .milliseconds(3)).close() }
            ),
            ("no database", { try await open(server.url("absent", query: name)).close() }),
            ("no TLS", { try await open("postgresql://nobody@127.0.0.1:\(server.port)/d").close() }),
            (
                "timed out",
                {
                    _ = try await open(server.url(database, query: name)).run(
                        "SELECT pg_sleep(60)", limit: .milliseconds(3))
                }
            ),
            (
                "canceled",
                {
                    let connection = try await open(server.url(database, query: name))
                    let task = Task { try await connection.run("SELECT pg_sleep(60)") }
                    task.cancel()
                    _ = try await task.value
                }
            ),
            (
                "terminated",
                {
                    _ = try await open(server.url(database, query: name)).run(
                        "SELECT pg_terminate_backend(pg_backend_pid())")
                }
            ),
            (
                "no result",
                {
                    _ = try await open(server.url(database, query: name)).script(
                        "COPY pg_class TO STDOUT", deadline: .now + patience)
                }
            ),
        ]
        for (kind, body) in kinds {
            let before = try Self.descriptors()
            for _ in 0..<200 { #expect(await failure(body).error != nil, "\(kind)") }
            // The listener's sockets of the silent connections do not count.
            let ours = kind == "silent" ? 200 : 0
            #expect(try await eventually { try Self.descriptors() - ours < before + 60 }, "\(kind)")
        }
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '\(database)'"
        #expect(try await eventually { try await server.value(left, in: "postgres") == "0" })
    }
}
