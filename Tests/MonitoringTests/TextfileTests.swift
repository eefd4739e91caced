import Foundation
import Glibc
import TestServers
import Testing

/// `--once --metrics-textfile`.
@Suite struct TextfileTests {
    private static let due = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        SELECT gen_random_uuid()::text, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 20);
        """
    private static let job = #"{job_name="mcp-cleanup-transient-sessions"}"#

    private func once(_ database: SessionsDatabase, _ path: String, url: String? = nil) async throws -> CommandResult {
        try await database.daemon(["--once", "--metrics-textfile", path], url: url)
    }

    @Test func countersGoOnFromProcessToProcess() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let directory = try TemporaryDirectory.make()
        let path = directory + "/mcp-cleanupd.prom"
        for number in 1...3 {
            try await database.run(Self.due)
            #expect(try await once(database, path).status == 0)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(text.contains("mcp_cleanup_rows_deleted_total\(Self.job) \(number * 20)\n"), "\(text)")
            #expect(text.contains("mcp_cleanup_run_duration_seconds_count\(Self.job) \(number)\n"))
            // How many batches it takes depends on what they cost.
            let batches = try #require(
                text.firstMatch(of: /batch_duration_seconds_count\{job_name="mcp-cleanup-transient-sessions"\} (\d+)/))
            #expect(try #require(Int(batches.1)) >= number, "\(text)")
            #expect(text.contains("mcp_cleanup_interval_seconds\(Self.job) 300\n"))
            #expect(text.contains("mcp_cleanup_run_in_progress\(Self.job) 0\n"))
            #expect(text.contains("mcp_cleanup_connect_duration_seconds_count \(number)\n"))
        }
        let before = try String(contentsOfFile: path, encoding: .utf8)
        #expect(try await once(database, path, url: "postgresql://127.0.0.1:1/d").status == 69)
        let after = try String(contentsOfFile: path, encoding: .utf8)
        #expect(after.contains(#"outcome="failed"} 1"#) && after.contains(#"{cause="refused"} 1"#), "\(after)")
        let success = try #require(before.firstMatch(of: /last_success_timestamp_seconds\{[^}]*\} [0-9.]+/))
        #expect(after.contains(success.0), "a failure does not take the last success away")
        // 0644 under any umask, and nothing else is left.
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o644)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["mcp-cleanupd.prom"])
        if let promtool = Tool.promtool {
            let result = try await Command.run(promtool, ["check", "metrics"], input: after)
            #expect(result.status == 0 && result.error.isEmpty, "\(result)")
        }
    }

    /// Each job has a cron line of its own, and the nightly one takes long.
    @Test func losesNothingThatOthersCountMeanwhile() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let path = try TemporaryDirectory.make() + "/m.prom"
        try await database.run(
            """
            INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, updated_at, active)
            VALUES ('s', 'u', 'x', 'sse', 'x', now() + interval '1 day', now() - interval '99 days', true);
            CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(2); RETURN OLD; END' LANGUAGE plpgsql;
            CREATE TRIGGER slow BEFORE DELETE ON mcp_sessions FOR EACH ROW WHEN (OLD.active) EXECUTE FUNCTION linger();
            """)
        async let nightly = database.daemon(["--once", "--job", "dormant", "--metrics-textfile", path])
        for _ in 0..<1200 {
            let sleeping = try await database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
            if sleeping != "0" { break }
            try await Task.sleep(for: .milliseconds(25))
        }
        try await database.run(Self.due)
        // Several runs at the same instant, too.
        try await withThrowingTaskGroup(of: Int32.self) { group in
            for _ in 1...4 {
                group.addTask {
                    try await database.daemon(["--once", "--job", "transient", "--metrics-textfile", path]).status
                }
            }
            for try await status in group { #expect(status == 0) }
        }
        let before = try String(contentsOfFile: path, encoding: .utf8)
        #expect(before.contains(#"outcome="succeeded"} 4"#), "\(before)")
        #expect(try await nightly.status == 0)
        let after = try String(contentsOfFile: path, encoding: .utf8)
        let dormant = #"{job_name="mcp-cleanup-dormant-sessions"}"#
        for line in [
            "mcp_cleanup_run_duration_seconds_count\(Self.job) 4", "mcp_cleanup_rows_deleted_total\(Self.job) 20",
            "mcp_cleanup_run_duration_seconds_count\(dormant) 1", "mcp_cleanup_rows_deleted_total\(dormant) 1",
            "mcp_cleanup_connect_duration_seconds_count 5",
        ] { #expect(after.contains("\n\(line)\n"), "\(line): \(after)") }
        let success = try #require(before.firstMatch(of: /last_success[^}]*transient[^}]*\} [1-9][0-9.]+\n/))
        #expect(after.contains(success.0), "the other job's gauges stay")
    }

    @Test func replacesNothingThatIsNoRegularFile() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let path = try TemporaryDirectory.make() + "/stdout"
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/proc/self/fd/1")
        let result = try await once(database, path)
        #expect(result.status == 74 && result.error.contains("no regular file"), "\(result)")
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: path) == "/proc/self/fd/1")
    }

    @Test func hasMode0644UnderAStrictUmask() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let path = try TemporaryDirectory.make() + "/m.prom"
        try await Command.check(
            "/bin/sh", ["-c", "umask 077; exec \"$0\" --once --metrics-textfile \"$1\"", Command.daemon, path],
            environment: ["NEON_DATABASE_URL": database.url])
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o644)
    }

    @Test(.enabled(if: geteuid() == 0, "needs root to mount a small file system"))
    func aFullDiskIsAnErrorAndLeavesTheOldFile() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let directory = try TemporaryDirectory.make()
        // In a mount namespace of its own, so that nothing is left mounted. 24 KiB hold one such file, but no second.
        let script = """
            mount -t tmpfs -o size=24k none "$1" || exit 99
            "$0" --once --metrics-textfile "$1/m.prom" >/dev/null || exit 98
            cp "$1/m.prom" "$2"; head -c 1M /dev/zero >"$1/filler" 2>/dev/null
            "$0" --once --json --metrics-textfile "$1/m.prom"; echo "status $?"
            cmp "$1/m.prom" "$2" && echo intact; ls -A "$1"
            """
        let result = try await Command.run(
            "/usr/bin/unshare", ["-m", "/bin/sh", "-c", script, Command.daemon, directory, directory + ".copy"],
            environment: ["NEON_DATABASE_URL": database.url, "PATH": "/usr/bin:/bin"])
        try #require(result.status != 99, "cannot mount a file system here: \(result.error)")
        #expect(result.output.contains("status 74\nintact\nfiller\nm.prom\n"), "\(result)")
        #expect(result.output.contains(#""outcome":"succeeded""#), "the runs are not to blame")
        #expect(result.error.contains("No space left"), "\(result.error)")
    }

    @Test func makesNoSenseWithoutOnceNorWithADryRun() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        for arguments in [[], ["--once", "--dry-run"], ["status"]] {
            let result = try await database.daemon(arguments + ["--metrics-textfile", "/tmp/never"])
            #expect(result.status == 64, "\(result)")
        }
    }

    @Test func aDirectoryThatIsNotThereIsReportedAfterTheRuns() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.due)
        let result = try await once(database, "/nonexistent/m.prom")
        #expect(result.status == 74)
        #expect(
            result.error.contains("/nonexistent/m.prom") && result.error.contains("No such file"), "\(result.error)")
        #expect(try await database.count() == 0)
    }
}
