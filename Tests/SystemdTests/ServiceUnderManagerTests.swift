import Foundation
import Glibc
import TestServers
import Testing

/// The service as a process whose manager is this test.
@Suite struct ServiceUnderManagerTests {
    /// No server listens there: the service has to be ready all the same.
    private static let nowhere = "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable"

    private func daemon(_ environment: [String: String], schedule: String = "0 0 1 1 *") throws -> RunningDaemon {
        // Without history it does not look for missed fire times at its start.
        try RunningDaemon(
            url: Self.nowhere, schedules: (schedule, "0 0 1 1 *"),
            environment: environment.merging(["MCP_CLEANUP_HISTORY_MODE": "off"]) { $1 })
    }

    @Test func tellsThatItIsReadyHowItIsAndThatItStops() async throws {
        let manager = try ManagerSocket()
        let daemon = try daemon(["NOTIFY_SOCKET": manager.address], schedule: "1 seconds")
        let ready = try #require(await manager.receive())
        #expect(ready.hasPrefix("READY=1\nSTATUS=next: transient "))
        #expect(await manager.receive(containing: "; wrong: transient: ") != nil)
        daemon.signal(SIGTERM)
        let stopping = try #require(await manager.receive(containing: "STOPPING=1"))
        // shutdown.timeout, and a second.
        #expect(stopping.contains("EXTEND_TIMEOUT_USEC=21000000"))
        // Reads until the service ends, because its end waits for the manager.
        while await manager.receive(limit: .milliseconds(500)) != nil {}
        #expect(try await daemon.exitStatus() == 0)
        while await manager.receive(limit: .zero) != nil {}
        #expect(try daemon.log.contains("NOTIFY_SOCKET") == false)
        #expect(manager.barriers == 2, "after READY=1 and before the end")
    }

    @Test func saysNothingNewWhereNothingIsNew() async throws {
        let manager = try ManagerSocket()
        let daemon = try daemon(["NOTIFY_SOCKET": manager.address])
        #expect(await manager.receive(containing: "READY=1") != nil)
        #expect(await manager.receive(limit: .seconds(2)) == nil)
        withExtendedLifetime(daemon) {}
    }

    @Test func feedsTheWatchdogAtHalfItsTime() async throws {
        let manager = try ManagerSocket()
        let daemon = try daemon(["NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"])
        #expect(await manager.receive(containing: "READY=1") != nil)
        let began = ContinuousClock.now
        for _ in 0..<4 { #expect(await manager.receive() == "WATCHDOG=1") }
        let took = began.duration(to: .now)
        // A quarter of the time would be one second.
        #expect(took > .milliseconds(1400) && took < .seconds(5), "\(took)")
        withExtendedLifetime(daemon) {}
    }

    @Test(
        .slow,
        arguments: [
            ["WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"], ["WATCHDOG_USEC": "7"], ["WATCHDOG_USEC": "nonsense"],
            ["WATCHDOG_USEC": "18446744073709551615"], ["WATCHDOG_USEC": "31536000000001"],
            ["WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "me"],
        ])
    func feedsNoWatchdogThatIsAnothersOrAbsurd(watchdog: [String: String]) async throws {
        let manager = try ManagerSocket()
        let daemon = try daemon(watchdog.merging(["NOTIFY_SOCKET": manager.address]) { $1 })
        #expect(await manager.receive(containing: "READY=1") != nil)
        #expect(await manager.receive(limit: .milliseconds(1500)) == nil)
        #expect(try daemon.log.contains("WATCHDOG_USEC") == (watchdog["WATCHDOG_PID"] != "1"))
        #expect(daemon.isRunning)
    }

    @Test(arguments: [
        "/nowhere/at/all", "relative", "@", "@mcp-cleanupd-test-unused", "vsock:2:1234",
        "/" + String(repeating: "x", count: 108),
    ])
    func servesWithoutAManagerThatListens(address: String) async throws {
        let daemon = try daemon(["NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"], schedule: "1 seconds")
        try await daemon.wait("a complaint") { try daemon.log.contains("NOTIFY_SOCKET") }
        try await daemon.wait("an attempt") { try daemon.log.contains("retrying in") }
        #expect(try daemon.log.split(separator: "\n").filter { $0.contains("NOTIFY_SOCKET") }.count == 1)
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    @Test func worksAndStopsWhileItsManagerDoesNotRead() async throws {
        let manager = try ManagerSocket()
        try manager.fill()
        let daemon = try daemon(
            ["NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"], schedule: "1 seconds")
        try await daemon.wait("an attempt") { try daemon.log.contains("retrying in") }
        daemon.signal(SIGTERM)
        // Well before shutdown.timeout, which would end it in any case; all this takes a second on a quiet machine.
        #expect(try await daemon.exitStatus(limit: .seconds(15)) == 0)
    }

    @Test func saysWhyItCannotStart() async throws {
        let manager = try ManagerSocket()
        let result = try await Command.run(
            Command.daemon, [],
            environment: [
                "NOTIFY_SOCKET": manager.address, "NEON_DATABASE_URL": Self.nowhere,
                "MCP_CLEANUP_BATCH_MAX_ROWS": "many",
            ])
        #expect(result.status == 78)
        let message = try #require(await manager.receive())
        #expect(message.hasPrefix("STATUS=failed: ") && message.contains("MCP_CLEANUP_BATCH_MAX_ROWS"))
        #expect(message.hasSuffix("\nERRNO=22"))
    }

    // MARK: The credential

    private func run(credential: (String) throws -> Void) async throws -> CommandResult {
        let directory = try TemporaryDirectory.make()
        try credential(directory + "/database-url")
        return try await Command.run(
            Command.daemon, ["--once"],
            environment: ["CREDENTIALS_DIRECTORY": directory])
    }

    @Test(arguments: ["", "\n", " \n\n"])
    func countsAnEmptyCredentialAsNone(text: String) async throws {
        let result = try await run { try text.write(toFile: $0, atomically: false, encoding: .utf8) }
        #expect(result.status == 78)
        #expect(result.error.contains("$CREDENTIALS_DIRECTORY/database-url"))
    }

    @Test func readsACredentialWithALineBreakAtItsEnd() async throws {
        let result = try await run { try (Self.nowhere + "\n").write(toFile: $0, atomically: false, encoding: .utf8) }
        #expect(result.status == 69, "\(result.error)")
    }

    @Test func refusesADirectoryInTheCredentialsPlace() async throws {
        let result = try await run {
            try FileManager.default.createDirectory(atPath: $0, withIntermediateDirectories: false)
        }
        #expect(result.status == 78)
        #expect(result.error.contains("/database-url with the database URL cannot be read: Is a directory"))
    }

    // MARK: Where messages go

    /// A warning, and then exit code 78.
    private static let faulty = ["MCP_CLEANUP_NONSENSE": "1"]

    @Test func theServiceWritesJSONWhereNobodyWatches() async throws {
        let result = try await Command.run(Command.daemon, ["run"], environment: Self.faulty)
        #expect(result.error.hasPrefix(#"{"time":""#))
        #expect(result.error.contains(#""level":"warning","message":"The environment variable “MCP_CLEANUP_NONSENSE”"#))
    }

    @Test func aOneShotCommandWritesText() async throws {
        let result = try await Command.run(Command.daemon, ["--once"], environment: Self.faulty)
        #expect(result.error.contains("Z warning: The environment variable “MCP_CLEANUP_NONSENSE”"))
    }

    @Test(
        .enabled(
            if: !FileManager.default.fileExists(atPath: "/run/systemd/journal/socket"),
            "this machine has a journal; nothing is written to it"), arguments: ["auto", "journal"])
    func aJournalThatIsGoneIsReplacedByText(format: String) async throws {
        let log = try TemporaryDirectory.make() + "/log"
        let result = try await Command.run(
            "/bin/sh",
            [
                "-c",
                #"touch "$1"; JOURNAL_STREAM=$(stat --format %d:%i "$1") exec "$0" run --log-format "$2" 2>"$1""#,
                Command.daemon, log, format,
            ], environment: ["PATH": "/usr/bin:/bin"].merging(Self.faulty) { $1 })
        #expect(result.status == 78)
        let text = try String(contentsOfFile: log, encoding: .utf8)
        #expect(text.contains("Z warning: The environment variable “MCP_CLEANUP_NONSENSE”"), "\(text)")
    }
}
