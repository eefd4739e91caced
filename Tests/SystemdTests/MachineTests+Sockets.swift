import Foundation
import TestServers
import Testing

/// A scrape by perl, which every Debian has, over the socket that the first argument names.
private let scrape = """
    use IO::Socket::UNIX;
    sub scrape {
        my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0], Timeout => 20) or die "cannot connect: $!\\n";
        print $socket "GET /metrics HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n";
        return join "", <$socket>;
    }
    """

extension MachineTests {
    private static let nowhere = "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable"
    private static let socket = "/run/mcp-cleanupd.sock"

    private func putScript(_ name: String, _ text: String) async throws {
        try await machine.check("cat >/root/\(name); chmod 644 /root/\(name); chmod 755 /root", input: scrape + text)
    }

    /// As docs/systemd.md has it, for the group "games", which every Debian has.
    private func startWithSocket() async throws {
        try await putURL(Self.nowhere)
        try await configure("Environment=MCP_CLEANUP_HTTP_LISTEN=unix:\(Self.socket)", schedule: "0 0 1 1 *")
        try await machine.check(
            "mkdir -p /run/systemd/system/mcp-cleanupd.socket.d; cat >/run/systemd/system/mcp-cleanupd.socket.d/test.conf; systemctl daemon-reload; systemctl start mcp-cleanupd.socket mcp-cleanupd",
            input: "[Socket]\nSocketGroup=games\n")
    }

    private func stopSocket() async throws {
        try await machine.check(
            "systemctl stop mcp-cleanupd.socket mcp-cleanupd; rm -r /run/systemd/system/mcp-cleanupd.socket.d; systemctl daemon-reload"
        )
    }

    @Test func servesPageAndMetricsOnASocketForItsGroupOnly() async throws {
        try await startWithSocket()
        try await putScript("scrape.pl", "print scrape();")
        let once = "perl /root/scrape.pl \(Self.socket)"
        #expect(try await machine.check("stat -c '%a %U:%G' \(Self.socket)") == "660 root:games")
        let member = try await machine.run("setpriv --reuid=65534 --regid=60 --clear-groups \(once)")
        #expect(member.output.contains("mcp_cleanup_build_info"), "\(member)")
        let stranger = try await machine.run("setpriv --reuid=65534 --regid=65534 --clear-groups \(once)")
        #expect(stranger.status != 0 && stranger.error.contains("Permission denied"), "\(stranger)")
        #expect(try await machine.run("ss -lnt 2>/dev/null | grep 9764").status != 0)
        #expect(try await machine.journal().allSatisfy { $0["MESSAGE"]?.contains("systemd passed") != true })
        let health = try await machine.run("MCP_CLEANUP_HTTP_LISTEN=unix:\(Self.socket) mcp-cleanupd health")
        #expect(health.status == 0, "\(health)")
        try await stopSocket()
    }

    /// Fifty scrapes a second for five seconds, each in a process of its own.
    @Test func losesNoScrapeOverARestart() async throws {
        try await startWithSocket()
        try await putScript(
            "scrapes.pl",
            """
            for (1 .. 250) {
                if (!defined(my $child = fork)) { die "fork: $!" } elsif (!$child) {
                    exit(scrape() =~ /mcp_cleanup_build_info/ ? 0 : 1);
                }
                select(undef, undef, undef, 0.02);
            }
            my $lost = 0;
            while (wait() > 0) { $lost++ if $? }
            print "lost $lost\\n";
            """)
        async let result = machine.check("perl /root/scrapes.pl \(Self.socket) 2>&1")
        let before = try await machine.property("MainPID")
        for _ in 0..<3 {
            try await Task.sleep(for: .seconds(1))
            try await machine.check("systemctl restart mcp-cleanupd")
        }
        #expect(try await result == "lost 0")
        #expect(try await machine.property("MainPID") != before)
        try await stopSocket()
    }

    @Test func runsAnInstanceForEachDatabase() async throws {
        let databases = [try await makeDatabase(), try await makeDatabase()]
        let authority = "SSL_CERT_FILE=/etc/mcp-cleanupd/test-authority.crt"
        let names = ["first", "a b/c"]
        for (name, database) in zip(names, databases) {
            try await database.run(Self.due)
            let role = try await database.makeServiceRole()
            let url = database.server.secureURL(database.name, user: role, password: "correct-horse-battery")
            let folder = "/etc/mcp-cleanupd/\(try await machine.check("systemd-escape '\(name)'"))"
            try await machine.check("install -D -m 600 /dev/stdin '\(folder)/database-url'", input: url)
            try await machine.check(
                "cat >'\(folder)/config.yaml'",
                input: "jobs: { mcp-cleanup-transient-sessions: { schedule: 1 seconds } }\n")
        }
        try await machine.check(
            "mkdir -p /run/systemd/system/mcp-cleanupd@.service.d; cat >/run/systemd/system/mcp-cleanupd@.service.d/test.conf; systemctl daemon-reload",
            input: "[Service]\nEnvironment=\(authority)\n")
        try await putScript("scrape.pl", "print scrape();")
        for (name, database) in zip(names, databases) {
            let escaped = try await machine.check("systemd-escape '\(name)'")
            try await machine.check("systemctl start 'mcp-cleanupd@\(escaped)'")
            try await machine.wait("a removal by \(name)") { try await database.count() == 0 }
            let metrics = try await machine.check("perl /root/scrape.pl '/run/mcp-cleanupd/\(escaped).sock'")
            #expect(metrics.contains("mcp_cleanup_build_info"))
            try await machine.check("systemctl reload 'mcp-cleanupd@\(escaped)'")
        }
        let memory = try await machine.check(
            "grep -lsx mcp-cleanupd /proc/[0-9]*/comm | while read -r name; do grep RssAnon ${name%comm}status; done")
        print("private memory of two instances: \(memory)")
        try await machine.check(
            "systemctl stop 'mcp-cleanupd@*.socket' 'mcp-cleanupd@*.service'; rm -r /run/systemd/system/mcp-cleanupd@.service.d /etc/mcp-cleanupd/first /etc/mcp-cleanupd/a*; systemctl daemon-reload"
        )
    }

    /// The indented blocks of a section of docs/systemd.md, as one script.
    private static func commands(of section: String) throws -> String {
        let document = try String(
            contentsOf: Repository.root.appendingPathComponent("docs/systemd.md"), encoding: .utf8)
        let text = try #require(document.components(separatedBy: "\n## ").first { $0.hasPrefix(section) })
        return text.split(separator: "\n").filter { $0.hasPrefix("    ") }.map { $0.dropFirst(4) }
            .joined(separator: "\n")
    }

    /// The commands for one database, and those for two. The small Debian has no curl: a script replaces it.
    @Test func theDocumentsCommandsWorkAsTheyStand() async throws {
        try await putScript("scrape.pl", "print scrape();")
        try await machine.check(
            "cat >/usr/bin/curl; chmod 755 /usr/bin/curl; groupadd --force --system prometheus",
            input:
                "#!/bin/sh\n[ \"$1 $3\" = '--unix-socket http://localhost/metrics' ] && perl /root/scrape.pl \"$2\"\n")
        try await machine.check("rm -r /run/systemd/system/mcp-cleanupd.service.d; systemctl daemon-reload")
        try await putURL(Self.nowhere)
        try await machine.check("systemctl start mcp-cleanupd")
        let one = try await machine.run("set -e\n" + Self.commands(of: "A socket with a mode"))
        #expect(one.status == 0 && one.output.contains("mcp_cleanup_build_info"), "\(one)")
        #expect(try await machine.check("stat -c '%a %U:%G' \(Self.socket)") == "660 root:prometheus")
        #expect(try await machine.check("mcp-cleanupd health").contains("alive"))
        let two = try await machine.run(
            "set -e\n"
                + Self.commands(of: "Several databases").split(separator: "\n").prefix(4).joined(separator: "\n"),
            input: Self.nowhere)
        #expect(two.status == 0 && two.output.contains("mcp_cleanup_build_info"), "\(two)")
        #expect(try await machine.property("ActiveState") == "active", "the first service goes on beside the instance")
        try await machine.check(
            """
            systemctl disable --now --quiet mcp-cleanupd@billing mcp-cleanupd@billing.socket mcp-cleanupd.socket mcp-cleanupd
            rm -r /etc/mcp-cleanupd/billing /etc/mcp-cleanupd/config.yaml /etc/systemd/system/mcp-cleanupd.socket.d /usr/bin/curl
            systemctl daemon-reload
            """)
    }

    @Test func cleansADirectoryOfURLsByOnceAndXargs() async throws {
        let recipe = try Self.commands(of: "Several databases").split(separator: "\n").suffix(2)
            .joined(separator: "\n")
        try await machine.check("rm -rf /etc/mcp-cleanupd/urls; mkdir /etc/mcp-cleanupd/urls")
        var databases: [SessionsDatabase] = []
        for number in 0..<6 {
            let database = try await makeDatabase()
            try await database.run(Self.due)
            try await machine.check("cp /etc/mcp-cleanupd/database-url '/etc/mcp-cleanupd/urls/database \(number)'")
            databases.append(database)
        }
        let authority = "export SSL_CERT_FILE=/etc/mcp-cleanupd/test-authority.crt\n"
        #expect(try await machine.run(authority + recipe).status == 0)
        for database in databases { #expect(try await database.count() == 0) }
        try await machine.check("echo '\(Self.nowhere)' >/etc/mcp-cleanupd/urls/bad")
        #expect(try await machine.run(authority + recipe).status == 123)
        try await machine.check("rm -r /etc/mcp-cleanupd/urls")
    }

    /// With the drop-in that docs/systemd.md shows.
    @Test func worksWithTheNarrowedNetwork() async throws {
        let lines = try Self.commands(of: "Less exposure").replacing("[Service]", with: "")
        let database = try await makeDatabase()
        try await configure(lines)
        try await database.run(Self.due)
        try await machine.check("systemctl start mcp-cleanupd")
        try await machine.wait("a removal") { try await database.count() == 0 }
        // 10: an exposure of 1.0.
        let exposure = try await machine.run("systemd-analyze security --threshold=10 mcp-cleanupd.service")
        #expect(exposure.status == 0, "\(exposure.output.suffix(200))")
    }
}
