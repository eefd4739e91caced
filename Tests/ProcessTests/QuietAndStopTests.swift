import Foundation
import Glibc
import TestServers
import Testing

@Suite struct QuietAndStopTests {
    /// A wait that is longer than a moment must not start anything that ticks for ever.
    @Test(.enabled(if: Command.sanitizerOptions.isEmpty, "the sanitizer has a thread that wakes ten times a second"))
    func sleepsAfterARunWithASlowCommit() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END' LANGUAGE plpgsql;
            CREATE CONSTRAINT TRIGGER slow AFTER DELETE ON mcp_sessions DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION linger();
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            VALUES ('s', 'u', 'x', 'sse', 'x', now() - interval '1 hour');
            """)
        // One run a minute, so that there is a quiet half of a minute after it.
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: database.url, schedules: ("* * * * *", "0 0 1 1 *"),
            environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"])
        try await daemon.wait("a removal", limit: .seconds(90)) { try !daemon.runs.isEmpty }
        #expect(try daemon.runs.first?["rows_deleted"] == "1")
        // Answers have been given, and nobody asks any more.
        for path in ["/", "/metrics", "/livez", "/readyz"] {
            #expect(try await LoopbackHTTP.get(path, port: port).status == 200)
        }
        // Dispatch lets idle threads go after 5 s.
        try await Task.sleep(for: .seconds(12))
        let before = try daemon.contextSwitches
        try await Task.sleep(for: .seconds(10))
        // One wake-up is two: the thread that waits for all of Dispatch's events, and the one that it wakes.
        #expect(try daemon.contextSwitches - before <= 1)
        let memory = try daemon.privateMemory
        #expect((1...8192).contains(memory), "\(memory) KiB of private memory")
    }

    @Test func endsInTimeWhenNobodyReadsItsLog() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let pipe = Pipe()
        let writing = pipe.fileHandleForWriting.fileDescriptor
        // A full pipe: the next line blocks.
        #expect(fcntl(writing, F_SETFL, O_NONBLOCK) == 0)
        let filler = [UInt8](repeating: 46, count: 4096)
        while write(writing, filler, filler.count) > 0 {}
        #expect(fcntl(writing, F_SETFL, 0) == 0)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try Command.daemon)
        process.environment = [
            "NEON_DATABASE_URL": database.url, "MCP_CLEANUP_SHUTDOWN_TIMEOUT": "1s", "MCP_CLEANUP_HTTP_LISTEN": "off",
        ].merging(Command.sanitizerOptions) { $1 }
        process.standardError = pipe
        try process.run()
        defer { kill(process.processIdentifier, SIGKILL) }
        // Long enough to reach the line that blocks; the signal is heard before that as well.
        try await Task.sleep(for: .seconds(1))
        kill(process.processIdentifier, SIGTERM)
        let deadline = ContinuousClock.now + .seconds(10)
        while process.isRunning, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        #expect(!process.isRunning)
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
    }

    @Test func hearsASignalHoweverEarlyItComes() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        for milliseconds in stride(from: 0, to: 60, by: 3) {
            let daemon = try RunningDaemon(url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"))
            try await Task.sleep(for: .milliseconds(milliseconds))
            daemon.signal(SIGTERM)
            // 143 where the program had not begun yet.
            #expect([0, 128 + SIGTERM].contains(try await daemon.exitStatus()), "after \(milliseconds) ms")
        }
    }

    @Test func aCommandIgnoresWhatItWasToldToIgnore() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END' LANGUAGE plpgsql;
            CREATE TRIGGER slow BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION linger();
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n::text, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 5) AS n;
            """)
        // As nohup does; a shell lets what it puts into the background ignore SIGINT as well.
        let script = #"trap '' HUP; "$0" --once --json & sleep 0.5; kill -HUP $!; kill -INT $!; wait $!"#
        let result = try await Command.run(
            "/bin/sh", ["-c", script, Command.daemon],
            environment: ["NEON_DATABASE_URL": database.url, "PATH": "/usr/bin:/bin"])
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":5,"#), "\(result)")
    }

    @Test func livesOnWhenItsTerminalGoesAway() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let daemon = try RunningDaemon(url: database.url)
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        let before = try daemon.runs.count
        daemon.signal(SIGHUP)
        try await daemon.wait("another run") { try daemon.runs.count > before }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }
}
