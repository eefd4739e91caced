import Foundation
import Postgres

/// PgBouncer in transaction mode in front of a server, with `poolSize` server connections for each database and role. Listens on
/// a Unix socket, and on 127.0.0.1.
package final class PgBouncer: Sendable {
    package let port: Int
    package let directory: String
    private let process: SupervisedProcess

    /// - Parameters:
    ///   - databases: lines of the section `[databases]`; any database of the server unless given.
    ///   - passwords: by role; unless given, `postgres` and `mcp_service_role` may log in without one.
    ///   - settings: more lines of the section `[pgbouncer]`.
    package init(
        for server: PostgresServer, poolSize: Int = 1, databases: [String]? = nil, passwords: [String: String] = [:],
        settings extra: [String] = []
    ) async throws {
        directory = try TemporaryDirectory.make(ownedByServerUser: true)
        port = try Loopback.freePort()
        let settings = """
            [databases]
            \(databases?.joined(separator: "\n") ?? "* = host=\(server.directory) port=\(server.port)")
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = \(port)
            unix_socket_dir = \(directory)
            pool_mode = transaction
            default_pool_size = \(poolSize)
            auth_type = \(passwords.isEmpty ? "trust" : "scram-sha-256")
            auth_file = \(directory)/users
            max_client_conn = 200
            admin_users = postgres
            \(extra.joined(separator: "\n"))

            """
        try settings.write(toFile: directory + "/pgbouncer.ini", atomically: false, encoding: .utf8)
        let users = passwords.isEmpty ? ["postgres": "", "mcp_service_role": ""] : passwords
        try users.map { "\"\($0)\" \"\($1)\"\n" }.joined().write(
            toFile: directory + "/users", atomically: false, encoding: .utf8)
        // INT waits for all clients and servers, forever if a server has ended before; QUIT ends PgBouncer at once.
        process = try SupervisedProcess(
            ServerUser.command + ["/usr/sbin/pgbouncer", directory + "/pgbouncer.ini"], logPath: directory + "/log",
            stopSignal: "QUIT")
        try await eventually(
            "PgBouncer starts", details: { try String(contentsOfFile: directory + "/log", encoding: .utf8) }
        ) {
            do {
                let connection = try await Connection.open(
                    DatabaseURL(url("postgres")), deadline: .now + .seconds(5), environment: [:], onNotice: { _ in })
                await connection.close()
                return true
            } catch {
                // The socket exists before PgBouncer listens on it. With passwords, a refusal is an answer too.
                return !passwords.isEmpty && (error as? PostgresError)?.sqlState != nil
            }
        }
    }

    /// Connects all clients to another server from their next transaction on, as a failover does.
    package func lead(to server: PostgresServer) async throws {
        let path = directory + "/pgbouncer.ini"
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { line in
            line.hasPrefix("* = ") ? "* = host=\(server.directory) port=\(server.port)" : String(line)
        }
        try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: false, encoding: .utf8)
        for command in ["RELOAD", "RECONNECT"] { try await console(command) }
    }

    /// Runs a command in the administrator's console.
    package func console(_ command: String, password: String = "") async throws {
        let console = try await Connection.open(
            DatabaseURL(url("pgbouncer", user: "postgres:\(password)")), deadline: .now + .seconds(10),
            environment: [:],
            onNotice: { _ in })
        _ = try await console.script(command, deadline: .now + .seconds(10))
        await console.close()
    }

    package func url(_ database: String, user: String = "postgres") -> String {
        "postgresql://\(user)@/\(database)?host=\(directory)&port=\(port)"
    }
}
