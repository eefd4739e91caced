import Foundation
import Glibc
package import Postgres

/// A throwaway PostgreSQL server with TLS, in a directory of its own, shared by all tests that ask for its release.
package final class PostgresServer: Sendable {
    package let binaries: String
    package let directory: String
    package let port: Int
    package let majorVersion: Int
    private let process: SupervisedProcess

    /// The server of Debian's package, which has TLS.
    package static func packaged() async throws -> PostgresServer {
        try await sharedPackaged.value
    }

    /// The newest release of PostgreSQL, or `nil` if it is not installed; then the tests that need it are skipped with a reason.
    package static func newest() async throws -> PostgresServer? {
        try await sharedNewest.value
    }

    private static func packagedBinaries() throws -> String {
        let root = "/usr/lib/postgresql"
        let versions = try FileManager.default.contentsOfDirectory(atPath: root).compactMap { Int($0) }.sorted()
        guard
            let path = versions.map({ "\(root)/\($0)/bin" }).last(where: {
                FileManager.default.isExecutableFile(atPath: $0 + "/postgres")
            })
        else { throw TestServerError("no PostgreSQL server under \(root); scripts/install-tools test installs it") }
        return path
    }

    private static let sharedPackaged = StartedOnce { try await PostgresServer(binaries: packagedBinaries()) }

    private static let sharedNewest = StartedOnce<PostgresServer?> {
        guard let path = ProcessInfo.processInfo.environment["MCP_CLEANUPD_TEST_NEWEST_POSTGRES"],
            FileManager.default.isExecutableFile(atPath: path + "/postgres")
        else { return nil }
        return try await PostgresServer(binaries: path)
    }

    /// Makes a cluster and starts it.
    ///
    /// - Parameters:
    ///   - settings: more lines for `postgresql.conf`.
    ///   - wrapper: a command to start the server under, as the server's user.
    ///   - privilegedWrapper: a command around that one, as the tests' user.
    ///   - address: the directory and port of its socket; new ones unless given.
    package init(
        binaries: String, settings: [String] = [], wrapper: [String] = [], privilegedWrapper: [String] = [],
        address: (directory: String, port: Int)? = nil
    ) async throws {
        self.binaries = binaries
        directory = try address?.directory ?? TemporaryDirectory.make(ownedByServerUser: true)
        port = try address?.port ?? Loopback.freePort()
        let version = try await Command.check(binaries + "/postgres", ["--version"]).output
        majorVersion =
            Int(version.split(separator: " ").last(where: { $0.first?.isNumber == true })?.prefix { $0.isNumber } ?? "")
            ?? 0
        let data = directory + "/data"
        try await ServerUser.run([
            binaries + "/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
            "--no-sync",
        ])
        // The newest server's binaries are built without TLS.
        let hasTLS = try await Command.run("/usr/bin/ldd", [binaries + "/postgres"]).output.contains("libssl")
        if hasTLS { try await Certificates.make(in: directory) }
        var lines = [
            "listen_addresses = '127.0.0.1'", "port = \(port)", "unix_socket_directories = '\(directory)'",
            "fsync = off", "max_connections = 1000", "shared_buffers = 64MB", "log_statement = 'none'",
            "timezone = 'Asia/Kolkata'",
        ]
        if hasTLS {
            lines += [
                "ssl = on", "ssl_cert_file = '\(directory)/server.crt'", "ssl_key_file = '\(directory)/server.key'",
            ]
        }
        try (lines + settings).joined(separator: "\n").appendLine(to: data + "/postgresql.conf")
        // No password on the socket; over TCP a password, and TLS if the server has it.
        try """
        local all all trust
        local replication all trust
        \(hasTLS ? "hostssl" : "host") all all 127.0.0.1/32 scram-sha-256

        """.write(toFile: data + "/pg_hba.conf", atomically: false, encoding: .utf8)
        process = try SupervisedProcess(
            privilegedWrapper + ServerUser.command + wrapper + [binaries + "/postgres", "-D", data],
            logPath: directory + "/log",
            stopSignal: "INT")
        try await waitUntilReady()
    }

    /// A hot standby that streams from a running server, and follows it as long as both live.
    package init(standbyOf primary: PostgresServer) async throws {
        binaries = primary.binaries
        majorVersion = primary.majorVersion
        directory = try TemporaryDirectory.make(ownedByServerUser: true)
        port = try Loopback.freePort()
        let data = directory + "/data"
        try await ServerUser.run([
            binaries + "/pg_basebackup", "--host=\(primary.directory)", "--port=\(primary.port)", "--username=postgres",
            "--pgdata=\(data)", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        ])
        try "port = \(port)\nunix_socket_directories = '\(directory)'\nssl = off".appendLine(
            to: data + "/postgresql.conf")
        process = try SupervisedProcess(
            ServerUser.command + [binaries + "/postgres", "-D", data], logPath: directory + "/log", stopSignal: "INT")
        try await waitUntilReady()
    }

    /// Ends the server, which closes its connections.
    package func stop() { process.stop() }

    private func waitUntilReady() async throws {
        try await eventually(
            "the server starts", details: { try String(contentsOfFile: directory + "/log", encoding: .utf8) }
        ) {
            // Every error means "not yet": the reason of a server that never starts is in its log.
            let connection = try? await connect("postgres")
            await connection?.close()
            return connection != nil
        }
    }

    /// A URL over the Unix socket, which asks for no password.
    package func url(_ database: String, user: String = "postgres", query: String = "") -> String {
        "postgresql://\(user)@/\(database)?host=\(directory)&port=\(port)\(query)"
    }

    /// A URL over TCP and TLS.
    package func secureURL(_ database: String, user: String, password: String, query: String = "") -> String {
        "postgresql://\(user):\(password)@localhost:\(port)/\(database)?sslmode=verify-full&channel_binding=require&hostaddr=127.0.0.1\(query)"
    }

    /// The path of the certificate of the authority that signed the server's.
    package var authority: String { directory + "/ca.crt" }

    package func connect(_ database: String, user: String = "postgres") async throws -> Connection {
        try await Connection.open(
            DatabaseURL(url(database, user: user)), deadline: .now + .seconds(10), environment: [:], onNotice: { _ in })
    }

    /// Runs statements in a database, as superuser unless another role is given, and returns the rows of the last one.
    @discardableResult
    package func query(
        _ sql: String, in database: String = "postgres", as user: String = "postgres"
    ) async throws -> QueryResult {
        let connection = try await connect(database, user: user)
        let results = try await connection.script(sql, deadline: .now + .seconds(120))
        await connection.close()
        guard let last = results.last else { throw TestServerError("no statement in \(sql)") }
        return last
    }

    /// Returns the value of an SQL expression as text.
    package func value(_ sql: String, in database: String) async throws -> String? {
        try await query("SELECT (\(sql))::text AS value", in: database).onlyRow().textIfPresent("value")
    }

    /// Creates an empty database with a new name.
    package func makeDatabase() async throws -> String {
        let name = "test_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await query("CREATE DATABASE \(name) TEMPLATE template0")
        return name
    }
}

/// The user that servers run as. If the tests run as root it is postgres: PostgreSQL and PgBouncer refuse to run as root.
package enum ServerUser {
    package static var command: [String] {
        geteuid() == 0 ? ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []
    }

    /// Runs a program as the server's user.
    ///
    /// - Throws: `TestServerError` if it does not end with 0.
    static func run(_ arguments: [String]) async throws {
        let command = command + arguments
        try await Command.check(command[0], Array(command.dropFirst()))
    }

    package static func giveFile(_ path: String) async throws {
        if geteuid() == 0 { try await Command.check("/bin/chown", ["postgres:postgres", path]) }
    }
}

package enum TemporaryDirectory {
    /// Makes a directory, which is deleted when the tests end.
    package static func make(ownedByServerUser: Bool = false) throws -> String {
        var template = Array("/tmp/mcp-cleanupd-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestServerError("mkdtemp: \(String(cString: strerror(errno)))") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if ownedByServerUser, geteuid() == 0, let user = getpwnam("postgres") {
            chown(path, user.pointee.pw_uid, user.pointee.pw_gid)
        }
        _ = removal
        paths.withLock { $0.append(path) }
        return path
    }

    private static let paths = Locked<[String]>([])
    /// Registers the removal once.
    private static let removal: Void = {
        atexit {
            for path in TemporaryDirectory.paths.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
        }
    }()
}

package final class Locked<Value: Sendable>: @unchecked Sendable {
    // Sendable: the lock guards the only mutable member.
    private var value: Value
    private let lock = NSLock()
    package init(_ value: Value) { self.value = value }
    package func withLock<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        try lock.withLock { try body(&value) }
    }
}

extension String {
    func appendLine(to path: String) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(("\n" + self + "\n").utf8))
        try handle.close()
    }
}
