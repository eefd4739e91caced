import Foundation
import Glibc
import TestServers
import Testing

/// The image, built from the Containerfile and run as a careful platform runs it.
@Suite(
    .slow, .serialized,
    .enabled(if: Podman.obstacle == nil, "NOT TESTED in a container: \(Podman.obstacle ?? "")"))
struct ImageTests {
    private let podman: Podman

    init() async throws { podman = try await Podman.ready() }

    /// A database over TCP and TLS, and the podman options that give a container its URL and its authority.
    private struct Prepared {
        let database: SessionsDatabase
        /// Mounts the URL, which is a secret of podman's, as a file that belongs to the service's user.
        let secret: [String]
        /// Mounts our throwaway authority, which is trusted in place of the image's.
        let authority: [String]
        let url: String
    }

    private func prepared(user: Int = 65532) async throws -> Prepared {
        let database = try await SessionsDatabase(on: .packaged())
        let role = try await database.makeServiceRole()
        let url = database.server.secureURL(database.name, user: role, password: "correct-horse-battery")
        try await podman.check(["secret", "create", database.name, "-"], input: url + "\n")
        let authority = try TemporaryDirectory.make() + "/authority.crt"
        try FileManager.default.copyItem(atPath: database.server.authority, toPath: authority)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: authority)
        return Prepared(
            database: database,
            secret: ["--secret=\(database.name),target=/etc/mcp-cleanupd/database-url,mode=0400,uid=\(user)"],
            authority: ["--volume=\(authority):/authority.crt:ro", "--env=SSL_CERT_FILE=/authority.crt"], url: url)
    }

    private static let due = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at)
        SELECT 's' || i, 'u', 'x', 'sse', 'x', now() - interval '1 hour' FROM generate_series(1, 20) i;
        """

    /// Each row takes half a second.
    private static let slowDeletion = """
        CREATE FUNCTION linger() RETURNS TRIGGER AS 'BEGIN PERFORM pg_sleep(0.5); RETURN OLD; END' LANGUAGE plpgsql;
        CREATE TRIGGER slow BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION linger();
        """

    private static func settings(schedule: String, port: Int) -> [String] {
        [
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_TRANSIENT_SESSIONS_SCHEDULE=\(schedule)",
            "MCP_CLEANUP_JOBS_MCP_CLEANUP_DORMANT_SESSIONS_SCHEDULE=0 0 1 1 *",
            "MCP_CLEANUP_HTTP_LISTEN=127.0.0.1:\(port)", "MCP_CLEANUP_HISTORY_MODE=off",
        ].map { "--env=\($0)" }
    }

    private static func sleepingBackend(of database: SessionsDatabase) async throws -> Int32? {
        try await database.value(
            "SELECT max(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        ).flatMap { Int32($0) }
    }

    // MARK: What it is made of

    @Test func isSmall() async throws {
        print("the image, compressed: \(podman.compressedSize) bytes")
        #expect(podman.compressedSize < 60_000_000)
    }

    @Test func startsTheProgramItselfAsAUserWithANumber() async throws {
        func configured(_ key: String) async throws -> String {
            try await podman.check(["image", "inspect", "--format", "{{json .\(key)}}", Podman.image])
        }
        #expect(try await configured("Config.Entrypoint") == #"["/usr/bin/mcp-cleanupd"]"#)
        #expect(try await configured("Config.Cmd") == "null")
        #expect(try await configured("Config.User") == #""65532:65532""#)
        #expect(try await configured("Config.ExposedPorts") == #"{"9764/tcp":{}}"#)
        #expect(try await configured("Config.Labels").contains(#""org.opencontainers.image.licenses":"Apache-2.0""#))
        #expect(try await configured("HealthCheck.Test") == #"["CMD","/usr/bin/mcp-cleanupd","health"]"#)
    }

    @Test func holdsNoShellAndNothingThatAnybodyMayWriteTo() async throws {
        let path = try await podman.check(["image", "mount", Podman.image])
        let names = try await Command.check(
            "/usr/bin/find", [path, "!", "-type", "l", "(", "-perm", "/6022", "-o", "-path", "*/bin/*", ")"])
        #expect(names.lines == [path + "/usr/bin/mcp-cleanupd"])
        // Scanners for known vulnerabilities read these files.
        let packages = try FileManager.default.contentsOfDirectory(atPath: path + "/var/lib/dpkg/status.d")
        #expect(Set(packages).isSuperset(of: ["ca-certificates", "libc6", "libpq5", "libssl3", "tzdata"]))
        for package in packages {
            #expect(FileManager.default.fileExists(atPath: "\(path)/usr/share/doc/\(package)/copyright"))
        }
        try await podman.check(["image", "umount", Podman.image])
    }

    @Test func knowsTimeZonesAndTheirClockChanges() async throws {
        let result = try await podman.once(
            [],
            [
                "schedule", "30 2 * * *", "--time-zone", "Europe/Berlin", "--from", "2026-03-27T12:00:00Z", "--count",
                "3",
            ])
        #expect(result.lines == ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"], "\(result)")
    }

    @Test func knowsTheAuthoritiesOfTheWorldAndNotOurs() async throws {
        let prepared = try await prepared()
        let result = try await podman.once(prepared.secret, ["--once"])
        #expect(result.status == 69 || result.status == 77, "\(result)")
        #expect(result.error.contains("certificate verify failed"), "\(result)")
        #expect(!result.error.contains("correct-horse-battery"))
    }

    // MARK: The service

    @Test(arguments: [65532, 999, 0])
    func cleansIsHealthyAndEndsAtOnce(user: Int) async throws {
        let prepared = try await prepared(user: user)
        try await prepared.database.run(Self.due)
        let port = try Loopback.freePort()
        let starting = ContinuousClock.now
        let container = try await Container(
            podman,
            ["--user=\(user):\(user)"] + prepared.secret + prepared.authority
                + Self.settings(schedule: "1 seconds", port: port))
        try await container.wait("readiness") {
            // An error means that it does not listen yet.
            ((try? await LoopbackHTTP.get("/readyz", port: port))?.status ?? 0) == 200
        }
        print("ready \(starting.duration(to: .now)) after podman was asked to start it")
        #expect(starting.duration(to: .now) < .seconds(15))
        try await container.wait("a removal") { try await prepared.database.count() == 0 }
        // The image's HEALTHCHECK; then commands in the container, as Kubernetes runs its probes.
        try await podman.check(["healthcheck", "run", container.name])
        for command in [["health"], ["health", "--ready"], ["check"], ["config"]] {
            try await podman.check(["exec", container.name, "mcp-cleanupd"] + command)
        }
        let stopping = ContinuousClock.now
        try await container.signal("TERM")
        #expect(try await container.exitStatus() == 0)
        print("SIGTERM took \(stopping.duration(to: .now)), podman included")
        #expect(stopping.duration(to: .now) < .seconds(15))
        let log = try await container.log()
        // Lines for a collector, since there is no terminal.
        #expect(log.split(separator: "\n").allSatisfy { $0.hasPrefix("{") }, "\(log)")
        #expect(!log.contains("correct-horse-battery"))
    }

    @Test func isUnhealthyWhereNobodyCanAskIt() async throws {
        let prepared = try await prepared()
        let container = try await Container(
            podman,
            prepared.secret + prepared.authority + Self.settings(schedule: "0 0 1 1 *", port: try Loopback.freePort())
                + ["--env=MCP_CLEANUP_HTTP_LISTEN=off"])
        #expect(try await podman.run(["healthcheck", "run", container.name]).status == 1)
        try await container.signal("INT")
        #expect(try await container.exitStatus() == 0)
    }

    @Test func takesBackABatchWhenItIsToldToEnd() async throws {
        let prepared = try await prepared()
        try await prepared.database.run(Self.due + Self.slowDeletion)
        let container = try await Container(
            podman,
            prepared.secret + prepared.authority + Self.settings(schedule: "1 seconds", port: try Loopback.freePort()))
        try await container.wait("a batch under way") { try await Self.sleepingBackend(of: prepared.database) != nil }
        try await container.signal("TERM")
        #expect(try await container.exitStatus() == 0)
        #expect(try await prepared.database.count() == 20)
    }

    /// The kernel drops signals to process 1 that have no handler, so the second signal needs one too.
    @Test func endsAtASecondSignalThoughTheServerIsFrozen() async throws {
        let prepared = try await prepared()
        try await prepared.database.run(Self.due + Self.slowDeletion)
        let container = try await Container(
            podman,
            prepared.secret + prepared.authority + Self.settings(schedule: "1 seconds", port: try Loopback.freePort()))
        try await container.wait("a batch under way") { try await Self.sleepingBackend(of: prepared.database) != nil }
        let backend = try #require(try await Self.sleepingBackend(of: prepared.database))
        kill(backend, SIGSTOP)
        defer { kill(backend, SIGCONT) }
        try await container.signal("TERM")
        #expect(try await container.state("Status") == "running")
        try await container.signal("TERM")
        #expect(try await container.exitStatus() == 128 + SIGTERM)
    }

    @Test func endsForGoodWithoutADatabaseURL() async throws {
        let container = try await Container(podman, [])
        #expect(try await container.exitStatus() == 78)
        #expect(try await container.log().contains("no database URL"))
    }

    // MARK: A platform's cron

    @Test func cleansOnceWithTheSecretInTheEnvironment() async throws {
        let prepared = try await prepared()
        try await prepared.database.run(Self.due)
        let result = try await podman.once(
            ["--env=NEON_DATABASE_URL=\(prepared.url)"] + prepared.authority, ["--once", "--json"])
        #expect(result.status == 0, "\(result)")
        #expect(result.lines.first?.contains(#""rows_deleted":20,"#) ?? false, "\(result)")
        #expect(try await prepared.database.count() == 0)
    }

    /// With the manifest's arguments, and the secret as the kubelet mounts it: links into a folder that is replaced.
    @Test func cleansAsTheCronJobsOfKubernetesDo() async throws {
        let manifest = try String(
            contentsOf: Repository.root.appendingPathComponent("config/kubernetes/cronjob.yaml"), encoding: .utf8)
        let arguments = manifest.matches(of: /args: \[(.*)\]/).map { $0.1.components(separatedBy: ", ") }
        #expect(arguments.count == 2)
        let prepared = try await prepared()
        try await prepared.database.run(
            Self.due
                + """
                INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, expires_at, updated_at, active)
                VALUES ('old', 'u', 'x', 'sse', 'x', now() + interval '1 hour', now() - interval '31 days', true)
                """)
        let secret = try TemporaryDirectory.make()
        let files = FileManager.default
        try files.createDirectory(atPath: secret + "/..1", withIntermediateDirectories: false)
        try prepared.url.write(toFile: secret + "/..1/database-url", atomically: true, encoding: .utf8)
        try files.createSymbolicLink(atPath: secret + "/..data", withDestinationPath: "..1")
        try files.createSymbolicLink(atPath: secret + "/database-url", withDestinationPath: "..data/database-url")
        for (path, mode) in [("", 0o755), ("/..1", 0o755), ("/..1/database-url", 0o444)] {
            try files.setAttributes([.posixPermissions: mode], ofItemAtPath: secret + path)
        }
        for (arguments, deleted) in zip(arguments, [20, 1]) {
            let result = try await podman.once(
                ["--volume=\(secret):/etc/mcp-cleanupd:ro"] + prepared.authority, arguments)
            #expect(result.status == 0 && result.lines.count == 1, "\(result)")
            #expect(result.output.contains(#""outcome":"succeeded""#), "\(result)")
            #expect(result.output.contains("\"rows_deleted\":\(deleted),"), "\(result)")
        }
        #expect(try await prepared.database.count() == 0)
    }

    /// Without SSL_CERT_FILE the heartbeat and the database connection find their authorities where the image has them.
    @Test func callsAHeartbeatOverTLSByTheImagesAuthorities() async throws {
        let prepared = try await prepared()
        let https = try await HTTPSServer(like: prepared.database.server)
        defer { https.stop() }
        let authority = try #require(prepared.authority.first?.split(separator: ":").first)
        let result = try await podman.once(
            prepared.secret + [
                "\(authority):/etc/ssl/certs/ca-certificates.crt:ro",
                "--env=MCP_CLEANUP_NOTIFY_SUCCESS_URL=https://localhost:\(https.port)/done",
            ], ["--once"])
        #expect(result.status == 0 && !result.error.contains("heartbeat"), "\(result)")
        #expect(try https.log.contains("GET /done HTTP/1.1\" 200"))
    }

    @Test func saysWhichSignalEndedItsOnlyRun() async throws {
        let prepared = try await prepared()
        try await prepared.database.run(Self.due + Self.slowDeletion)
        let container = try await Container(podman, prepared.secret + prepared.authority, ["--once"])
        try await container.wait("a batch under way") { try await Self.sleepingBackend(of: prepared.database) != nil }
        try await container.signal("TERM")
        #expect(try await container.exitStatus() == 128 + SIGTERM)
        #expect(try await prepared.database.count() == 20)
    }
}
