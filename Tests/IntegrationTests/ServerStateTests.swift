import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing

/// Servers that cannot be written to, or whose clock is wrong.
@Suite(.inTurn) struct ServerStateTests {
    @Test func aStandbyDeletesNothingAndMayPass() async throws {
        // The primary is this test's own: in the shared one, another test makes a tablespace.
        let primary = try await PostgresServer(binaries: PostgresServer.packaged().binaries)
        let database = try await SessionsDatabase(on: primary)
        try await database.run(PrivilegeTests.population)
        let standby = try await PostgresServer(standbyOf: primary)
        let url = standby.url(database.name)
        for arguments in [["--once", "--json"], ["--once", "--dry-run"], ["migrate", "--sessions"]] {
            let result = try await database.daemon(arguments, url: url)
            #expect(result.status == 75, "\(arguments): \(result)")
            #expect(result.error.contains("read-only standby"), "\(result.error)")
            #expect(result.error.contains("target_session_attrs=read-write"), "\(result.error)")
        }
        let listing = try await database.daemon(["sessions", "--user", "x", "--json"], url: url)
        #expect(listing.status == 0, "\(listing.error)")
        #expect(listing.lines.count == 3)
        // A server that became a standby since it was inspected, as behind a pooler.
        let connection = try await standby.connect(database.name)
        let run = CleanupRun(
            job: .transientSessions, table: SessionTable(name: .sessions, schema: .auto), limits: .test,
            hostClock: { .hostNow })
        let session = DatabaseSession(connection: connection, budget: RunBudget(deadline: .seconds(30)))
        let survey = try await Survey.make(of: run.table, for: .reading, in: session)
        await session.rollBack()
        let target = Target(
            table: .sessions, cutoff: .hostNow, rule: run.job.rule, survey: survey,
            parts: try await survey.parts(in: session))
        await #expect(throws: RunFailure.serverReadOnly) {
            var deletion = Deletion(run, target, claim: nil, progress: RunProgress(), in: session)
            _ = try await deletion.execute()
        }
        #expect(await connection.isAlive())
        await connection.close()
        #expect(try await database.count() == 6)
    }

    private static var timeLibrary: String? {
        let root = "/usr/lib"
        return try? FileManager.default.contentsOfDirectory(atPath: root)
            .map { "\(root)/\($0)/faketime/libfaketime.so.1" }.first(where: FileManager.default.fileExists)
    }

    private static func server(clockOff by: String) async throws -> PostgresServer {
        let library = try #require(timeLibrary)
        let packaged = try await PostgresServer.packaged()
        return try await PostgresServer(
            binaries: packaged.binaries,
            // Its timers stay right: only the time of day is wrong.
            wrapper: ["/usr/bin/env", "LD_PRELOAD=\(library)", "FAKETIME=\(by)", "FAKETIME_DONT_FAKE_MONOTONIC=1"])
    }

    @Test(.enabled(if: timeLibrary != nil, "faketime is not installed; scripts/install-tools test installs it"))
    func aDatabaseClockFarAheadDeletesNothing() async throws {
        let database = try await SessionsDatabase(on: Self.server(clockOff: "+3600"))
        // Due by the database's clock, and not by ours.
        try await database.run(PrivilegeTests.population)
        for arguments in [["--once", "--json"], ["--once", "--dry-run"]] {
            let result = try await database.daemon(arguments)
            #expect(result.status == 75, "\(result)")
            #expect(result.error.contains("more than 300 s ahead"), "\(result.error)")
            #expect(result.error.contains("database.max-clock-skew"), "\(result.error)")
        }
        let check = try await database.daemon(["check", "--json"])
        #expect(check.status == 75, "\(check)")
        let line = check.lines.first { $0.contains(#""check":"clock""#) }
        #expect(line?.contains(#""status":"fail""#) == true && line?.contains("ahead") == true, "\(check)")
        #expect(try await database.count() == 6)
        let tolerant = try await database.daemon(
            ["--once"], environment: ["MCP_CLEANUP_DATABASE_MAX_CLOCK_SKEW": "61m"])
        #expect(tolerant.status == 0, "\(tolerant.error)")
        #expect(try await database.count() == 2)
    }

    @Test(.enabled(if: timeLibrary != nil, "faketime is not installed; scripts/install-tools test installs it"))
    func aDatabaseClockFarBehindIsWorthAWarning() async throws {
        let database = try await SessionsDatabase(on: Self.server(clockOff: "-3600"))
        try await database.run(PrivilegeTests.population)
        let result = try await database.daemon(["--once", "--job", "transient"])
        #expect(result.status == 0, "\(result.error)")
        #expect(result.error.contains(/warning: The database.s clock is (3599|3600)/), "\(result.error)")
        #expect(try await database.count() == 4)
    }
}
