import Foundation
import Postgres
import TestServers
import Testing

/// Longer than any call takes that does not hang, even on a loaded machine.
let patience = Duration.seconds(10)

func open(
    _ url: String, limit: Duration = patience, environment: [String: String] = [:],
    onNotice: @escaping @Sendable (ServerMessage) -> Void = { _ in }
) async throws -> Connection {
    try await Connection.open(DatabaseURL(url), deadline: .now + limit, environment: environment, onNotice: onNotice)
}

extension Connection {
    /// The last result of a script.
    func run(_ sql: String, limit: Duration = patience) async throws -> QueryResult {
        try #require(try await script(sql, deadline: .now + limit).last)
    }

    func value(_ sql: String) async throws -> String? {
        try await run("SELECT (\(sql))::text AS value").onlyRow().textIfPresent("value")
    }

    var processIdentifier: Int32 {
        get async throws { Int32(try await run("SELECT pg_backend_pid() AS pid").onlyRow().integer("pid")) }
    }
}

extension PostgresServer {
    func isAlive(_ backend: Int32) async throws -> Bool {
        try await value("SELECT count(*) FROM pg_stat_activity WHERE pid = \(backend)", in: "postgres") != "0"
    }

    func isRunning(_ backend: Int32) async throws -> Bool {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE pid = \(backend) AND state = 'active' AND query LIKE '%pg_sleep%'"
        return try await value(sql, in: "postgres") != "0"
    }
}

/// Returns the error that a call throws, `nil` if it throws none, and how long the call took.
func failure<Value>(_ body: () async throws -> Value) async -> (error: PostgresError?, after: Duration) {
    let start = ContinuousClock.now
    do {
        _ = try await body()
        return (nil, start.duration(to: .now))
    } catch {
        return (error as? PostgresError, start.duration(to: .now))
    }
}

extension PostgresError {
    var cause: Unreachability? {
        if case .unreachable(let cause, _) = self { cause } else { nil }
    }

    var serverMessage: ServerMessage? {
        if case .server(let message, _) = self { message } else { nil }
    }
}
