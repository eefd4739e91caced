import Foundation
import Glibc
import TestServers
import Testing

/// libsystemd at run time: which commands load it, and what happens without it.
@Suite struct LibraryTests {
    private static let nowhere = "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable"

    /// True if the process has the library mapped.
    private func hasLibrary(_ daemon: RunningDaemon) async throws -> Bool {
        try await Command.run("/bin/grep", ["libsystemd", "/proc/\(daemon.processIdentifier)/maps"]).status == 0
    }

    private func daemon(_ environment: [String: String]) throws -> RunningDaemon {
        try RunningDaemon(
            url: Self.nowhere, environment: environment.merging(["MCP_CLEANUP_HISTORY_MODE": "off"]) { $1 })
    }

    @Test func isLoadedByAServiceOfSystemdOnly() async throws {
        let manager = try ManagerSocket()
        let supervised = try daemon(["NOTIFY_SOCKET": manager.address])
        #expect(await manager.receive(containing: "READY=1") != nil)
        #expect(try await hasLibrary(supervised))
        let alone = try daemon([:])
        try await alone.wait("an attempt") { try alone.log.contains("NOTIFY") || alone.log.contains("attempt") }
        #expect(try await !hasLibrary(alone))
    }

    /// Checks which files the program opens: a library that is loaded and closed again would count too.
    @Test(
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/strace"), "strace is missing"),
        arguments: [["--once"], ["--once", "--json"], ["--once", "--log-format", "json"]])
    func isNotOpenedByOnce(arguments: [String]) async throws {
        let result = try await Command.run(
            "/usr/bin/strace", ["-f", "-e", "trace=openat", "-o", "/dev/stdout", try Command.daemon] + arguments,
            environment: ["NEON_DATABASE_URL": Self.nowhere, "PATH": "/usr/bin:/bin"])
        #expect(result.output.contains("libpq"), "strace shows what it opens: \(result)")
        #expect(!result.output.contains("libsystemd"))
    }

    @Test func servesWithoutItAndSaysOnceWhatItLacks() async throws {
        let folder = try TemporaryDirectory.make()
        // The loader finds this file first, and cannot load it.
        try Data().write(to: URL(fileURLWithPath: folder + "/libsystemd.so.0"))
        let manager = try ManagerSocket()
        let daemon = try daemon([
            "LD_LIBRARY_PATH": folder, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000", "LISTEN_FDS": "1",
        ])
        try await daemon.wait("an attempt") { try daemon.log.contains("attempt") }
        let complaints = try daemon.log.split(separator: "\n").filter { $0.contains("libsystemd") }
        #expect(complaints.count == 1, "\(complaints)")
        #expect(complaints.first?.contains("(NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS)") ?? false, "\(complaints)")
        #expect(complaints.first?.contains("libsystemd.so.0: file too short") ?? false, "\(complaints)")
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/gcc"), "gcc is missing"))
    func worksAsFarAsAnOlderOneGoes() async throws {
        let folder = try TemporaryDirectory.make()
        // A library like that of systemd 209, with the two of its functions that matter here, and none of later ones.
        try await Command.check(
            "/usr/bin/gcc", ["-shared", "-fPIC", "-x", "c", "-", "-o", folder + "/libsystemd.so.0"],
            environment: ["PATH": "/usr/bin:/bin"],
            input: """
                #include <stdio.h>
                #include <stdlib.h>
                int sd_notify(int unset, const char *state) {
                    FILE *file = fopen(getenv("SENT"), "a");
                    fprintf(file, "%s\\n", state);
                    return fclose(file) ? -1 : 1;
                }
                int sd_watchdog_enabled(int unset, unsigned long *time) { return 0; }
                """)
        let daemon = try daemon(["LD_LIBRARY_PATH": folder, "NOTIFY_SOCKET": "/nowhere", "SENT": folder + "/sent"])
        let sent = { (try? String(contentsOfFile: folder + "/sent", encoding: .utf8)) ?? "" }
        try await daemon.wait("readiness") { sent().contains("READY=1") }
        let complaints = try daemon.log.split(separator: "\n").filter { $0.contains("libsystemd") }
        #expect(complaints.count == 1, "\(complaints)")
        for words in ["sd_notify_barrier, which came with systemd 246", "sd_listen_fds_with_names", "Type=exec"] {
            #expect(complaints.first?.contains(words) ?? false, "\(complaints)")
        }
        daemon.signal(SIGTERM)
        #expect(try await daemon.exitStatus() == 0)
        #expect(sent().contains("STOPPING=1"))
    }
}

/// The journal's socket, where this test listens: only the command sees it, in a mount namespace of its own.
@Suite(.enabled(if: geteuid() == 0, "mounting needs root")) struct JournalTests {
    /// Runs a command whose standard error is the journal's stream, and returns the entries that it sent as well.
    private func entries(
        of arguments: [String], _ environment: [String: String]
    ) async throws -> (result: CommandResult, entries: [String]) {
        let folder = try TemporaryDirectory.make()
        let journald = try ManagerSocket(folder + "/socket")
        let script = """
            mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal || exit
            exec 2>"$0/stream"
            JOURNAL_STREAM=$(stat -L --format %d:%i /proc/self/fd/2) exec "$@"
            """
        let result = try await Command.run(
            "/usr/bin/unshare", ["--mount", "/bin/sh", "-c", script, folder, try Command.daemon] + arguments,
            environment: ["PATH": "/usr/bin:/bin"].merging(environment) { $1 })
        var entries: [String] = []
        while let entry = await journald.receive(limit: .milliseconds(100)) { entries.append(entry) }
        return (result, entries)
    }

    @Test func getsTheFailuresOfOnceWithTheirFields() async throws {
        let (result, entries) = try await entries(
            of: ["--once", "--job", "transient"],
            ["NEON_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable"])
        #expect(result.status == 69)
        let entry = try #require(entries.first { $0.contains("MCP_CLEANUP_JOB=") }, "\(entries)")
        for field in [
            "PRIORITY=3", "SYSLOG_IDENTIFIER=mcp-cleanupd", "MCP_CLEANUP_JOB=mcp-cleanup-transient-sessions",
        ] {
            #expect(entry.split(separator: "\n").contains { $0 == field }, "\(field) is not in \(entry)")
        }
    }
}
