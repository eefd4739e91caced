import Foundation
import Glibc
import TestServers
import Testing

/// The package, on a Debian with a systemd of its own.
@Suite(
    .slow, .serialized,
    .enabled(
        if: DebianMachine.obstacle == nil, "NOT TESTED with a real systemd: \(DebianMachine.obstacle ?? "")"))
struct MachineTests {
    let machine: DebianMachine

    /// Installs the package, with settings for tests in a drop-in.
    init() async throws {
        machine = try await DebianMachine.booted()
        try await machine.check("apt-get install -qq -y /root/mcp-cleanupd.deb")
        try await machine.check("systemctl stop mcp-cleanupd; systemctl reset-failed mcp-cleanupd || true")
        try await machine.check("rm -rf /run/systemd/system/mcp-cleanupd.service.d /etc/mcp-cleanupd/config.yaml")
        try await machine.check("journalctl --quiet --rotate --vacuum-time=1s")
        try await configure()
    }

    func configure(_ lines: String = "", schedule: String = "1 seconds") async throws {
        try await machine.check(
            "mkdir -p /run/systemd/system/mcp-cleanupd.service.d; cat >/run/systemd/system/mcp-cleanupd.service.d/test.conf; systemctl daemon-reload",
            input: """
                [Service]
                Environment="MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE=\(schedule)"
                Environment="MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_SCHEDULE=0 0 1 1 *"
                Environment=MCP_CLEANUP_HTTP_LISTEN=off
                Environment=SSL_CERT_FILE=/etc/mcp-cleanupd/test-authority.crt
                \(lines)
                """)
    }

    /// A database for the machine's service, over TCP and TLS, as a role with a password.
    func makeDatabase() async throws -> SessionsDatabase {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        try await machine.put(database.server.authority, at: "/etc/mcp-cleanupd/test-authority.crt")
        try await machine.check("chmod 644 /etc/mcp-cleanupd/test-authority.crt")
        try await putURL(database.server.secureURL(database.name, user: role, password: "correct-horse-battery"))
        return database
    }

    /// The history's table, with all rights on it for the role that `makeDatabase` made.
    func makeHistory(in database: SessionsDatabase) async throws {
        try await database.run(SessionsDatabase.migration("20260513030000_install_mcp_cleanup_runs"))
        let role = try #require(
            try await database.value(
                "SELECT grantee FROM information_schema.role_table_grants WHERE table_name = 'mcp_sessions' AND grantee LIKE 'role_%' LIMIT 1"
            ))
        try await database.run(
            "GRANT USAGE ON SCHEMA mcp_cleanup TO \(role); GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO \(role)"
        )
    }

    func putURL(_ url: String) async throws {
        try await machine.check("cat >/etc/mcp-cleanupd/database-url", input: url + "\n")
    }

    static let due = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        SELECT 's' || i, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 20) i;
        """

    /// A trigger makes each row take half a second.
    private static let slowDeletion = """
        CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(0.5); RETURN OLD; END' LANGUAGE plpgsql;
        CREATE TRIGGER slow BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION linger();
        """

    private static func isDeleting(in database: SessionsDatabase) async throws -> Bool {
        try await database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
            != "0"
    }

    // MARK: Start and stop

    @Test func isReadyBeforeItsDatabaseExistsAndSaysWhatIsWrong() async throws {
        try await putURL("postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable")
        let began = ContinuousClock.now
        try await machine.check("systemctl start mcp-cleanupd")
        let start = began.duration(to: .now)
        #expect(start < .seconds(15), "it took \(start)")
        print("systemctl start took \(start)")
        #expect(try await machine.property("ActiveState") == "active")
        try await machine.wait("a status with the trouble") {
            try await machine.property("StatusText").contains("; wrong: transient: ")
        }
        #expect(try await machine.property("StatusText").contains("next: transient "))
        #expect(try await machine.property("NRestarts") == "0")
        let stopping = ContinuousClock.now
        try await machine.check("systemctl stop mcp-cleanupd")
        print("systemctl stop took \(stopping.duration(to: .now))")
        #expect(stopping.duration(to: .now) < .seconds(15))
        #expect(try await machine.property("Result") == "success")
    }

    @Test func cleansAndLeavesEntriesWithFieldsInTheJournal() async throws {
        let database = try await makeDatabase()
        try await database.run(Self.due)
        try await machine.check("systemctl start mcp-cleanupd")
        try await machine.wait("a removal") { try await database.count() == 0 }
        try await machine.wait("its entry") {
            try await machine.journal().contains { $0["MCP_CLEANUP_ROWS_DELETED"] == "20" }
        }
        let entry = try #require(try await machine.journal().first { $0["MCP_CLEANUP_ROWS_DELETED"] == "20" })
        #expect(entry["MCP_CLEANUP_JOB"] == "mcp-cleanup-transient-sessions")
        #expect(entry["MCP_CLEANUP_OUTCOME"] == "succeeded")
        #expect(Int(entry["MCP_CLEANUP_DURATION_USEC"] ?? "") ?? 0 > 0)
        #expect(entry["PRIORITY"] == "6" && entry["SYSLOG_IDENTIFIER"] == "mcp-cleanupd")
        let id = try #require(entry["MESSAGE_ID"])
        #expect(try await machine.check("journalctl --catalog MESSAGE_ID=\(id)").contains("A run removed sessions"))
        let journal = try await machine.check("journalctl --output verbose")
        #expect(!journal.contains("correct-horse-battery"))
    }

    @Test func endsALongRunCleanlyWithoutHalfABatch() async throws {
        let database = try await makeDatabase()
        try await database.run(Self.due + Self.slowDeletion)
        try await machine.check("systemctl start mcp-cleanupd")
        try await machine.wait("a batch under way") { try await Self.isDeleting(in: database) }
        try await machine.check("systemctl stop mcp-cleanupd")
        #expect(try await machine.property("Result") == "success")
        #expect(try await database.count() == 20)
    }

    @Test func asksForMoreTimeWhereStoppingMayTakeLonger() async throws {
        let database = try await makeDatabase()
        try await configure("TimeoutStopSec=1s")
        try await database.run(Self.due + Self.slowDeletion)
        try await machine.check("systemctl start mcp-cleanupd")
        try await machine.wait("a batch under way") { try await Self.isDeleting(in: database) }
        // A frozen backend: the run ends by its own time limits, later than the unit's TimeoutStopSec of 1 s.
        let backend = try #require(
            try await database.value(
                "SELECT max(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
            ).flatMap { Int32($0) })
        kill(backend, SIGSTOP)
        defer { kill(backend, SIGCONT) }
        let began = ContinuousClock.now
        try await machine.check("systemctl stop mcp-cleanupd")
        #expect(try await machine.property("Result") == "success")
        #expect(began.duration(to: .now) > .seconds(1))
    }

    // MARK: Reload

    private func putConfiguration(schedule: String) async throws {
        try await machine.check(
            "cat >/etc/mcp-cleanupd/config.yaml",
            input: """
                history: { mode: "off" }
                http: { listen: "off" }
                jobs:
                  mcp-cleanup-transient-sessions: { schedule: "\(schedule)" }
                  mcp-cleanup-dormant-sessions: { enabled: false }
                """)
    }

    @Test func hasANewConfigurationInForceOrRefusedWhenReloadReturns() async throws {
        try await putURL("postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable")
        // The environment would take precedence over the file.
        try await machine.check("rm -r /run/systemd/system/mcp-cleanupd.service.d; systemctl daemon-reload")
        try await putConfiguration(schedule: "0 3 * * *")
        try await machine.check("systemctl start mcp-cleanupd")
        let process = try await machine.property("MainPID")
        #expect(try await machine.property("StatusText") == "next: transient 03:00:00Z")
        try await putConfiguration(schedule: "0 4 * * *")
        try await machine.check("systemctl reload mcp-cleanupd")
        #expect(try await machine.property("StatusText") == "next: transient 04:00:00Z")
        try await putConfiguration(schedule: "0 61 * * *")
        let refused = try await machine.run("systemctl reload mcp-cleanupd")
        #expect(refused.status != 0, "the file is checked first")
        #expect(try await machine.property("ActiveState") == "active")
        #expect(try await machine.property("StatusText") == "next: transient 04:00:00Z", "nothing has changed")
        #expect(try await machine.check("journalctl --unit mcp-cleanupd").contains("0 61 * * *"))
        try await putConfiguration(schedule: "0 5 * * *")
        try await machine.check("systemctl reload mcp-cleanupd")
        #expect(try await machine.property("StatusText") == "next: transient 05:00:00Z")
        // Without the file all defaults would be in force: both jobs, at their own times.
        try await machine.check("rm /etc/mcp-cleanupd/config.yaml; systemctl reload mcp-cleanupd")
        let gone = try await machine.property("StatusText")
        #expect(gone.hasPrefix("next: transient 05:00:00Z; wrong: configuration, the old one is in force: "), "\(gone)")
        #expect(gone.contains("config.yaml cannot be read"), "\(gone)")
        // A file without any key puts the defaults in force.
        try await machine.check("touch /etc/mcp-cleanupd/config.yaml; systemctl reload mcp-cleanupd")
        #expect(try await machine.property("StatusText").contains("dormant 00:00:00Z"))
        #expect(try await machine.property("ActiveState") == "active")
        #expect(try await machine.property("MainPID") == process)
    }

    // MARK: Failures

    @Test func isRestartedByTheWatchdogWhenItsLoopIsStuck() async throws {
        let database = try await makeDatabase()
        // A log without a reader: the next line blocks the loop that also feeds the watchdog.
        try await configure(
            """
            WatchdogSec=2s
            RestartSec=100ms
            RuntimeDirectory=mcp-cleanupd
            RuntimeDirectoryPreserve=yes
            ExecStart=
            ExecStart=/bin/sh -c 'rm -f /run/mcp-cleanupd/log; mkfifo /run/mcp-cleanupd/log; sleep infinity <>/run/mcp-cleanupd/log & exec /usr/bin/mcp-cleanupd --log-level debug --log-format text 2>/run/mcp-cleanupd/log'
            """)
        try await machine.check("systemctl start mcp-cleanupd")
        // Longer than WatchdogSec: there is no restart, because the service pings the watchdog.
        try await Task.sleep(for: .seconds(5))
        #expect(try await machine.property("NRestarts") == "0")
        let before = try await machine.property("MainPID")
        try await machine.run("timeout 5 dd if=/dev/zero of=/run/mcp-cleanupd/log bs=4096 oflag=nonblock")
        try await machine.wait("a restart") { try await machine.property("NRestarts") != "0" }
        let journal = try await machine.check("journalctl --unit mcp-cleanupd")
        #expect(journal.contains("Watchdog timeout"))
        try await machine.wait("another process that works") {
            let process = try await machine.property("MainPID")
            return try await machine.property("ActiveState") == "active" && process != before
        }
        try await database.run(Self.due)
        try await machine.wait("a removal") { try await database.count() == 0 }
    }

    @Test func isStartedAgainAfterItWasKilledAndAccountsForEachRow() async throws {
        let database = try await makeDatabase()
        try await makeHistory(in: database)
        // Two rows a batch: some are committed when it is killed.
        try await configure(
            "RestartSec=100ms\nEnvironment=MCP_CLEANUP_CLAIM_LEASE=3s MCP_CLEANUP_BATCH_MAX_ROWS=2")
        try await database.run(Self.due + Self.slowDeletion)
        try await machine.check("systemctl start mcp-cleanupd")
        try await machine.wait("a first batch") { try await database.count() < 20 }
        try await machine.check("systemctl kill --signal KILL mcp-cleanupd")
        try await machine.wait("a restart") { try await machine.property("NRestarts") == "1" }
        try await database.run("DROP FUNCTION linger CASCADE")
        try await machine.wait("a removal") { try await database.count() == 0 }
        try await machine.check("systemctl stop mcp-cleanupd")
        #expect(try await database.value("SELECT sum(rows_deleted) FROM mcp_cleanup.runs") == "20")
        #expect(try await database.value("SELECT count(*) FROM mcp_cleanup.runs WHERE status = 'running'") == "0")
        let ids = try await machine.journal().compactMap { $0["MCP_CLEANUP_RUN_ID"] }
        #expect(!ids.isEmpty)
    }

    @Test(arguments: [
        ("Environment=MCP_CLEANUP_BATCH_MAX_ROWS=many", "MCP_CLEANUP_BATCH_MAX_ROWS"), ("", "no database URL"),
        (
            "ExecStart=\nExecStart=/usr/bin/mcp-cleanupd --database-url-file /etc/mcp-cleanupd/database-url",
            "Permission denied"
        ),
    ])
    func failsOnceAndForGoodWhenItIsConfiguredWrongly(lines: String, words: String) async throws {
        try await putURL(lines.isEmpty ? "" : "postgresql://nobody@127.0.0.1:1/nothing")
        try await configure("RestartSec=100ms\n\(lines)")
        #expect(try await machine.run("systemctl start mcp-cleanupd").status != 0)
        #expect(try await machine.property("ExecMainStatus") == "78")
        try await Task.sleep(for: .seconds(1))
        #expect(try await machine.property("ActiveState") == "failed")
        #expect(try await machine.property("NRestarts") == "0")
        #expect(try await machine.property("StatusText").contains(words))
        #expect(try await machine.property("StatusErrno") == "22")
        #expect(try await machine.check("journalctl --unit mcp-cleanupd").contains(words))
    }

    @Test func failsOnceAndForGoodWithoutItsCredentialFile() async throws {
        try await configure("RestartSec=100ms")
        try await machine.check("rm /etc/mcp-cleanupd/database-url")
        #expect(try await machine.run("systemctl start mcp-cleanupd").status != 0)
        try await Task.sleep(for: .seconds(1))
        #expect(try await machine.property("ActiveState") == "failed")
        #expect(try await machine.property("NRestarts") == "0")
        #expect(try await machine.check("systemctl status mcp-cleanupd || true").contains("status=243/CREDENTIALS"))
        try await machine.check("install -m 600 /dev/null /etc/mcp-cleanupd/database-url")
    }

    // MARK: The sandbox

    @Test func hasNothingThatItDoesNotNeed() async throws {
        try await putURL("postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable")
        try await machine.check("systemctl start mcp-cleanupd")
        let process = try await machine.property("MainPID")
        let status = try await machine.check("cat /proc/\(process)/status").split(separator: "\n").map {
            $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        }
        for line in ["NoNewPrivs: 1", "Seccomp: 2", "CapEff: 0000000000000000", "CapBnd: 0000000000000000"] {
            #expect(status.contains(line), "\(line) is not in \(status)")
        }
        #expect(!status.contains { $0.hasPrefix("Uid: 0 ") })
        let limits = try await machine.check("cat /proc/\(process)/limits")
        #expect(
            limits.contains { _ in true }
                && limits.split(separator: "\n").contains { $0.hasPrefix("Max core file size        0 ") })
        let inside = "nsenter -t \(process) -m"
        for path in ["/etc/x", "/usr/x", "/var/lib/x", "/root/x"] {
            #expect(try await machine.run("\(inside) touch \(path)").status != 0, "\(path) can be written")
        }
        #expect(try await machine.check("\(inside) ls /dev").contains("null"))
        #expect(try await !machine.check("\(inside) ls /dev").contains("console\n"))
    }

    /// Other programs in the service's place, which try what it never does.
    @Test(arguments: [
        ("/usr/bin/touch /etc/x", "Read-only file system"), ("/usr/bin/unshare --user /bin/true", "not permitted"),
        ("/usr/bin/unshare --mount /bin/true", "not permitted"), ("/usr/bin/chrt --rr 1 /bin/true", "not permitted"),
        ("/bin/ls /root/", "Permission denied"), ("/usr/bin/setarch --addr-no-randomize /bin/true", "not permitted"),
    ])
    func refusesWhatTheServiceDoesNotDo(command: String, words: String) async throws {
        let folder = "/run/systemd/system/mcp-cleanupd-once@probe.service.d"
        try await machine.check(
            "mkdir -p \(folder); cat >\(folder)/probe.conf; systemctl daemon-reload",
            input: "[Service]\nExecStart=\nExecStart=\(command)\n")
        #expect(try await machine.run("systemctl start mcp-cleanupd-once@probe.service").status != 0)
        let journal = try await machine.check("journalctl --unit mcp-cleanupd-once@probe.service; rm -r \(folder)")
        #expect(journal.contains(words), "\(journal)")
    }

    /// Dispatch asks for a priority for each of its threads, and would log a line where that is refused.
    @Test func asksForNoPriorityInVainAndGetsNone() async throws {
        let database = try await makeDatabase()
        try await database.run(Self.due)
        try await machine.check("systemctl start mcp-cleanupd")
        try await machine.wait("a removal") { try await database.count() == 0 }
        try await machine.check("systemctl stop mcp-cleanupd")
        let journal = try await machine.check("journalctl --unit mcp-cleanupd")
        #expect(journal.contains("next at") && !journal.contains("thread priority"), "\(journal)")
        let folder = "/run/systemd/system/mcp-cleanupd-once@probe.service.d"
        try await machine.check(
            "mkdir -p \(folder); cat >\(folder)/probe.conf; systemctl daemon-reload",
            input: "[Service]\nExecStart=\nStandardOutput=journal\nExecStart=/bin/sh -c 'renice 5 $$$$ && nice'\n")
        try await machine.check("systemctl start mcp-cleanupd-once@probe.service")
        let probe = try await machine.check("journalctl -o cat --unit mcp-cleanupd-once@probe.service; rm -r \(folder)")
        #expect(probe.contains("new priority 0\n0\n"), "\(probe)")
    }

    @Test func hasUnitsThatSystemdFindsNothingWrongWith() async throws {
        let units =
            "mcp-cleanupd.service mcp-cleanupd.socket mcp-cleanupd@x.service mcp-cleanupd@x.socket mcp-cleanupd-once@transient.timer mcp-cleanupd-once@dormant.timer"
        try await machine.check("rm -r /run/systemd/system/mcp-cleanupd.service.d; systemctl daemon-reload")
        let verified = try await machine.run("systemd-analyze verify \(units) mcp-cleanupd-once@transient.service")
        #expect(verified.status == 0 && verified.output.isEmpty && verified.error.isEmpty, "\(verified)")
        for unit in ["mcp-cleanupd.service", "mcp-cleanupd@.service", "mcp-cleanupd-once@.service"] {
            // 11: an exposure of 1.1.
            let security = try await machine.run(
                "systemd-analyze security --offline=true --threshold=11 /usr/lib/systemd/system/\(unit)")
            #expect(security.status == 0, "\(security.output.suffix(200))")
        }
    }

    // MARK: The timers

    @Test func runsByATimerToo() async throws {
        let database = try await makeDatabase()
        try await database.run(Self.due)
        try await machine.check(
            "mkdir -p /run/systemd/system/mcp-cleanupd-once@.service.d; cp /run/systemd/system/mcp-cleanupd.service.d/test.conf /run/systemd/system/mcp-cleanupd-once@.service.d/; systemctl daemon-reload"
        )
        try await machine.check("systemctl start mcp-cleanupd-once@transient.timer")
        let timers = try await machine.check("systemctl list-timers --no-legend mcp-cleanupd-once@transient.timer")
        #expect(timers.contains("mcp-cleanupd-once@transient.service"))
        try await machine.check("systemctl start mcp-cleanupd-once@transient.service")
        #expect(try await database.count() == 0)
        let entries = try await machine.check(
            "journalctl --output json --unit mcp-cleanupd-once@transient.service MCP_CLEANUP_ROWS_DELETED=20")
        #expect(entries.contains(#""MCP_CLEANUP_JOB":"mcp-cleanup-transient-sessions""#), "\(entries)")
        try await machine.check(
            "systemctl stop mcp-cleanupd-once@transient.timer; rm -r /run/systemd/system/mcp-cleanupd-once@.service.d")
    }
}
