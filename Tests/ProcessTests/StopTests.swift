import Foundation
import Glibc
import TestServers
import Testing

@Suite struct StopTests {
    @Test func endsInTimeWhenItsLogIsNotRead() async throws {
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
        // Time to reach the line that blocks; the signal works before that too.
        try await Task.sleep(for: .seconds(1))
        kill(process.processIdentifier, SIGTERM)
        // shutdown.timeout, and some time for a busy machine.
        #expect(try await eventually(within: .seconds(20)) { !process.isRunning })
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
    }

    @Test func endsOnASignalHoweverEarlyItComes() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        for milliseconds in stride(from: 0, to: 60, by: 3) {
            let daemon = try RunningDaemon(url: database.url, schedules: ("0 0 1 1 *", "0 0 1 1 *"))
            try await Task.sleep(for: .milliseconds(milliseconds))
            daemon.signal(SIGTERM)
            // 143 if the program had not installed its handler yet.
            #expect([0, 128 + SIGTERM].contains(try await daemon.exitStatus()), "after \(milliseconds) ms")
        }
    }

    @Test func aCommandIgnoresSignalsThatItsParentIgnores() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(0.3); RETURN OLD; END' LANGUAGE plpgsql;
            CREATE TRIGGER slow BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION linger();
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
            SELECT n::text, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 5) AS n;
            """)
        // SIGHUP is ignored as under nohup; a shell makes background commands ignore SIGINT as well.
        let script = #"trap '' HUP; "$0" --once --json & sleep 0.5; kill -HUP $!; kill -INT $!; wait $!"#
        let result = try await Command.run(
            "/bin/sh", ["-c", script, Command.daemon],
            environment: ["NEON_DATABASE_URL": database.url, "PATH": "/usr/bin:/bin"])
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains(#""rows_deleted":5,"#), "\(result)")
    }

    @Test func keepsRunningWhenItsTerminalCloses() async throws {
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
