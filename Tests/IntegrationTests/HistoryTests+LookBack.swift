import Foundation
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// The read of the history after a start, and claims of runs that another process left.
extension HistoryTests {
    private static let name = Job.transientSessions.name

    private static func lookBack(_ database: SessionsDatabase, as user: String = "postgres") async throws -> JobHistory
    {
        let histories = try await database.access(as: user).lookBack(
            at: [name, Job.dormantSessions().name], beside: .sessions)
        #expect(histories.count == 2)
        return try #require(histories[name])
    }

    @Test func nothingIsKnownWithoutTheTable() async throws {
        let database = try await Self.database()
        try await database.run("DROP TABLE mcp_cleanup.runs")
        #expect(try await database.access().lookBack(at: [Self.name], beside: .sessions).isEmpty)
        try await database.run("DROP SCHEMA mcp_cleanup")
        #expect(try await database.access().lookBack(at: [Self.name], beside: .sessions).isEmpty)
    }

    @Test func aJobWithoutRowsIsNotKnown() async throws {
        let database = try await Self.database()
        let history = try await Self.lookBack(database)
        #expect(history.latest == nil)
        #expect(history.earlierRuns.lastEnd == nil && history.earlierRuns.lastSuccess == nil)
    }

    @Test func theLatestFireTimeThatHasComeCountsWhicheverRunEndedLast() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "failed", scheduledAt: Self.fireTime - .seconds(900))
        try await Self.insertRun(database, status: "succeeded", scheduledAt: Self.fireTime - .seconds(1200))
        try await Self.insertRun(database, status: "canceled", job: .dormantSessions())
        let history = try await Self.lookBack(database)
        #expect(history.latest == .init(scheduledAt: Self.fireTime - .seconds(900)))
    }

    @Test func onceRunsAndRowsOfTheFutureAreNoAnswers() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "succeeded", origin: "once")
        try await Self.insertRun(database, status: "succeeded", scheduledAt: Self.fireTime + .seconds(86_400))
        #expect(try await Self.lookBack(database).latest == nil)
        try await Self.insertRun(database, status: "succeeded", scheduledAt: Self.fireTime - .seconds(600))
        #expect(
            try await Self.lookBack(database).latest
                == .init(scheduledAt: Self.fireTime - .seconds(600)))
    }

    @Test(arguments: [
        ("running", Duration?.some(.zero)), ("canceled", .zero), ("abandoned", .zero), ("succeeded", nil),
        ("capped", nil),
        ("failed", nil), ("timed_out", nil),
    ])
    func theStateOfTheRowSaysIfItIsToBeResumed(status: String, wait: Duration?) async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: status)
        #expect(
            try await Self.lookBack(database).latest
                == .init(scheduledAt: Self.fireTime, isRunning: status == "running", wait: wait))
    }

    @Test(arguments: ["failed", "timed_out"])
    func theWaitForTheNextAttemptIsReadByTheDatabasesClock(status: String) async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: status)
        for (seconds, range) in [(100, 50.0...100.0), (-100, 0.0...0.0)] {
            try await database.run(
                "UPDATE mcp_cleanup.runs SET next_attempt_at = clock_timestamp() + interval '\(seconds) seconds'")
            guard let wait = try await Self.lookBack(database).latest?.wait else {
                Issue.record("\(status)")
                return
            }
            #expect(wait >= .seconds(range.lowerBound) && wait <= .seconds(range.upperBound), "\(wait)")
        }
    }

    /// A host with a fast clock made the run before its fire time: its row must not answer the fire time.
    @Test func aRunThatWasMadeBeforeItsTimeIsToBeRepeated() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "succeeded", started: "now() - interval '1 day'")
        #expect(try await Self.lookBack(database).latest == .init(scheduledAt: Self.fireTime, wait: .zero))
    }

    @Test func theLastEndAndTheLastSuccessAreTold() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "capped", scheduledAt: Self.fireTime - .seconds(300))
        try await Self.insertRun(database, status: "failed")
        try await database.run(
            "UPDATE mcp_cleanup.runs SET finished_at = now() - interval '5 minutes' WHERE run_id = 1")
        for earlier in [try await Self.lookBack(database).earlierRuns, await Self.run(database).earlierRuns] {
            let success = try #require(earlier?.lastSuccess)
            #expect(success.age >= .seconds(300) && success.age < .seconds(360))
            #expect(try #require(earlier?.lastEnd) > success.at)
        }
    }

    @Test func theReadNeedsNoMoreThanSelect() async throws {
        let database = try await Self.database()
        let role = try await database.makeServiceRole()
        try await Self.insertRun(database, status: "succeeded")
        await #expect(throws: RunFailure.self) { _ = try await Self.lookBack(database, as: role) }
        try await database.run(
            "GRANT USAGE ON SCHEMA mcp_cleanup TO \(role); GRANT SELECT ON mcp_cleanup.runs TO \(role)")
        #expect(try #require(try await Self.lookBack(database, as: role).latest).wait == nil)
    }

    /// A schema of others precedes `pg_catalog` in the search path.
    @Test func theReadUsesNoFunctionOrOperatorOfOthers() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, status: "succeeded")
        try await database.run(
            """
            CREATE SCHEMA evil;
            CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''2001-01-01''';
            CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''2001-01-01''';
            CREATE FUNCTION evil.to_json(timestamp) RETURNS json LANGUAGE sql AS 'SELECT NULL::json';
            """)
        for (left, right) in [("timestamptz", "timestamptz"), ("text", "text")] {
            for symbol in ["<", "<=", "=", "<>"] {
                try await database.run(
                    """
                    CREATE OR REPLACE FUNCTION evil.never(\(left), \(right)) RETURNS boolean LANGUAGE sql AS 'SELECT NULL::boolean';
                    CREATE OPERATOR evil.\(symbol) (LEFTARG = \(left), RIGHTARG = \(right), FUNCTION = evil.never);
                    """)
            }
        }
        try await database.run("ALTER DATABASE \(database.name) SET search_path = evil, pg_catalog")
        #expect(try await Self.lookBack(database).latest == .init(scheduledAt: Self.fireTime))
    }

    // MARK: Claims of a run that is to be resumed

    /// A failed run's row has the time of the next attempt; from then on, any process resumes the run.
    @Test func aRunBetweenTwoAttemptsIsResumedByAnotherProcess() async throws {
        let database = try await Self.database()
        let holder = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN SHARE MODE")
        var job = Job.transientSessions
        job.deadline = .seconds(30)
        var request = RunRequest(scheduledAt: Self.fireTime, origin: .schedule)
        request.retry = (.seconds(2), .hostNow + .seconds(600))
        #expect(await Self.run(database, request, job: job).failure?.sqlState == "55P03")
        guard let wait = try await Self.lookBack(database).latest?.wait else {
            Issue.record("the row does not say that another attempt follows")
            return
        }
        #expect(wait <= .seconds(2))
        try await holder.rollBack()
        // Before `next_attempt_at` the run is held for the process that is to retry it.
        var resumed = await Self.run(database)
        if case .held(_, let rest) = resumed.skip {
            #expect(rest <= .seconds(2))
            try await Task.sleep(for: .seconds(2))
            resumed = await Self.run(database)
        }
        #expect(resumed.outcome == .succeeded && resumed.attempts == 2, "\(resumed)")
        #expect(
            try await database.value("SELECT concat_ws(' ', status, next_attempt_at) FROM mcp_cleanup.runs")
                == "succeeded")
    }

    /// No attempt follows that would begin after the end of retries, or after a failure that does not pass.
    @Test func aRunWithoutAnotherAttemptHasNoTimeOfOne() async throws {
        let database = try await Self.database()
        let holder = try await OtherTransaction(in: database, "LOCK TABLE mcp_sessions IN SHARE MODE")
        var job = Job.transientSessions
        job.deadline = .seconds(30)
        var request = RunRequest(scheduledAt: Self.fireTime, origin: .schedule)
        request.retry = (.seconds(20), .hostNow + .seconds(10))
        #expect(await Self.run(database, request, job: job).failure?.sqlState == "55P03")
        #expect(try #require(try await Self.lookBack(database).latest).wait == nil)
        try await holder.rollBack()
        #expect(await Self.run(database).skip == .answered)
    }

    /// The claim's INSERT meets a running row, its SELECT finds none: the claim is repeated, and no fire time is lost.
    @Test func aMissedFireTimeIsAnsweredThoughAnotherRunEndsDuringItsClaim() async throws {
        let database = try await Self.database()
        try await Self.insertRun(database, owner: "neighbor", scheduledAt: Self.fireTime - .seconds(300))
        try await database.run(
            """
            CREATE SEQUENCE openings;
            CREATE FUNCTION linger() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN
                -- The search before the claim has an INSERT too, with other words.
                IF current_query() LIKE '%ON CONFLICT DO NOTHING%' THEN
                    WHILE NOT (SELECT is_called FROM public.openings) LOOP PERFORM pg_sleep(0.005); END LOOP;
                END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER slow AFTER INSERT ON mcp_cleanup.runs FOR EACH STATEMENT EXECUTE FUNCTION linger();
            """)
        async let run = Self.run(database, RunRequest(scheduledAt: Self.fireTime, origin: .catchUp))
        try await Gate.wait(in: database)
        try await database.run("UPDATE mcp_cleanup.runs SET status = 'succeeded' WHERE claimed_by = 'neighbor'")
        try await Gate.open(in: database)
        #expect(await run.outcome == .succeeded)
        #expect(try await Self.lookBack(database).latest == .init(scheduledAt: Self.fireTime))
    }
}
