import Foundation
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// What a claim, and a look back after a start, learn from the history.
extension HistoryTests {
    private static let lookBack = RunRequest(scheduledAt: fireTime, origin: .catchUp, isLookBack: true)

    @Test func aJobWithoutHistoryHasMissedNothing() async throws {
        let database = try await Self.database()
        #expect(await Self.run(database, Self.lookBack).skip == .nothingMissed)
        try await database.run("DROP SCHEMA mcp_cleanup CASCADE")
        #expect(await Self.run(database, Self.lookBack, history: History()).skip == .nothingMissed)
        #expect(try await database.count() == 5)
    }

    @Test func theLatestMissedFireTimeIsAnsweredOnce() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "failed", scheduledAt: Self.fireTime - .seconds(900))
        let run = await Self.run(database, Self.lookBack)
        #expect(run.outcome == .succeeded && run.missedSince == Self.fireTime - .seconds(900))
        let second = await Self.run(database, Self.lookBack)
        #expect(second.skip == .answered && second.missedSince == nil)
        #expect(try await Self.rows(database) == ["schedule failed 1 3 0 1", "catch-up succeeded 1 5 0 1"])
    }

    @Test func onceRunsAndRowsOfTheFutureAreNoAnswers() async throws {
        let database = try await Self.database()
        try await Self.insertRun(
            database, status: "succeeded", scheduledAt: Self.fireTime + .seconds(1), origin: "once")
        #expect(await Self.run(database, Self.lookBack).skip == .nothingMissed)
        try await Self.insertRun(database, status: "succeeded", scheduledAt: Self.fireTime + .seconds(86_400))
        #expect(await Self.run(database, Self.lookBack).skip == .nothingMissed)
        try await Self.insertRun(database, status: "succeeded", scheduledAt: Self.fireTime - .seconds(600))
        #expect(await Self.run(database, Self.lookBack).outcome == .succeeded)
    }

    @Test func aJobThatCatchesUpWithNothingOnlyLooks() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "failed", scheduledAt: Self.fireTime - .seconds(900))
        var job = Job.transientSessions
        job.catchUp = .skip
        let look = await Self.run(database, Self.lookBack, job: job)
        #expect(look.skip == .nothingMissed)
        #expect(look.earlierRuns?.lastEnd != nil && look.earlierRuns?.lastSuccess == nil)
        #expect(look.missedSince == Self.fireTime - .seconds(900))
        // Nor does it go on with a run that was cut short.
        try await Self.insertRun(database, status: "canceled")
        let second = await Self.run(database, Self.lookBack, job: job)
        #expect(second.skip == .nothingMissed && second.missedSince == nil)
        #expect(try await Self.rows(database) == ["schedule failed 1 3 0 1", "schedule canceled 1 3 0 1"])
    }

    @Test func aCappedRunIsASuccess() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "capped", scheduledAt: Self.fireTime - .seconds(300))
        try await Self.insertRun(database, status: "failed")
        try await database.run(
            "UPDATE mcp_cleanup.runs SET finished_at = now() - interval '5 minutes' WHERE run_id = 1")
        let report = await Self.run(database)
        let success = try #require(report.earlierRuns?.lastSuccess)
        #expect(success.age >= .seconds(300) && success.age < .seconds(360))
        #expect(try #require(report.earlierRuns?.lastEnd) > success.at)
    }
}
