import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Time

extension SessionsDatabase {
    /// Access for runs in this process.
    func access(as user: String = "postgres") -> DatabaseAccess {
        let url = server.url(name, user: user)
        return DatabaseAccess(
            url: { () throws(RunFailure) in
                do {
                    return try DatabaseURL(url)
                } catch {
                    throw .databaseURL("\(error)")
                }
            }, connectTimeout: .seconds(10), environment: [:], onNotice: { _ in })
    }

    /// Runs a job's deletion in this process, with a cutoff of the test's choice.
    ///
    /// - Parameter connection: a connection of the role that runs it; the superuser's unless given.
    func delete(
        _ job: Job, from table: TableName = .sessions, at cutoff: UTCInstant, limits: RunLimits = .test,
        deadline: Duration = .seconds(60), over given: Connection? = nil
    ) async throws -> RunProgress {
        let connection = if let given { given } else { try await server.connect(name) }
        let run = CleanupRun(
            job: job, table: SessionTable(name: table, schema: .auto), limits: limits, hostClock: { .hostNow })
        let session = DatabaseSession(connection: connection, budget: RunBudget(deadline: deadline))
        let survey = try await run.look(in: session)
        var target = try await run.target(survey, in: session)
        target.cutoff = cutoff
        target.parts = try await survey.parts(in: session)
        var deletion = Deletion(run, target, claim: nil, progress: RunProgress(), in: session)
        _ = try await deletion.execute()
        if given == nil { await connection.close() }
        return deletion.progress
    }

    /// The session IDs that are left, in order.
    func sessions(in table: String = "public.mcp_sessions") async throws -> [String] {
        try await run("SELECT session_id FROM \(table) ORDER BY session_id").rows.map { try $0.text("session_id") }
    }
}

extension RunLimits {
    static let test = RunLimits(maxClockSkew: .seconds(300), batchRows: 1000)
}

extension UTCInstant {
    static var hostNow: UTCInstant {
        UTCInstant(microsecondsSinceEpoch: Int64(Date().timeIntervalSince1970 * 1_000_000))
    }
}

/// An open transaction of another client, which holds the locks of its statements.
struct OtherTransaction: Sendable {
    private let connection: Connection

    init(in database: SessionsDatabase, _ sql: String) async throws {
        connection = try await database.server.connect(database.name)
        try await run("BEGIN; \(sql)")
    }

    func run(_ sql: String) async throws {
        _ = try await connection.script(sql, deadline: .now + .seconds(30))
    }

    func commit() async throws {
        try await run("COMMIT")
        await connection.close()
    }

    func rollBack() async throws {
        try await run("ROLLBACK")
        await connection.close()
    }
}
