@testable import CleanupDaemon
import Postgres
@testable import SessionCleanup
import Synchronization
import Testing
import Time

/// The shell around `Scheduler`: real runs under a manual clock. No run gets further than its URL, which cannot be
/// read.
@Suite(.timeLimit(.minutes(5))) struct SchedulerServiceTests {
    /// A service, its clock, and the events that it told.
    private final class Steered: Sendable {
        let clock: ManualClock
        let service: SchedulerService
        private let told: EventList

        /// - Parameter failure: the failure of each run.
        init(
            _ jobs: [Job], at start: String, failure: RunFailure = .databaseURL("none"), looksBack: Bool = false,
            watchdogInterval: Duration? = nil
        ) {
            let (clock, told) = (ManualClock(at: start), EventList())
            (self.clock, self.told) = (clock, told)
            service = SchedulerService(
                jobs: jobs, access: Self.access(failure), makeRun: Self.run, looksBack: looksBack,
                watchdogInterval: watchdogInterval, clock: clock, onEvent: { told.append($0) })
        }

        /// - Parameter onURL: called in each attempt, before it fails.
        static func access(_ failure: RunFailure, onURL: @escaping @Sendable () -> Void = {}) -> DatabaseAccess {
            DatabaseAccess(
                url: { () throws(RunFailure) in
                    onURL()
                    throw failure
                }, connectTimeout: .seconds(1), environment: [:], onNotice: { _ in })
        }

        @Sendable static func run(_ job: Job) -> CleanupRun {
            CleanupRun(
                job: job, table: SessionTable(name: .sessions, schema: .auto),
                limits: RunLimits(maxClockSkew: .seconds(300), batchRows: 1), hostClock: { .now })
        }

        /// The events since the last call, in words.
        func events() -> [String] { told.take() }

        /// Asks the service to stop; does not wait for its end.
        func stop() { service.requestStop() }
    }

    private final class EventList: Sendable {
        private let texts = Mutex<[String]>([])

        func append(_ event: ServiceEvent) {
            let text: String
            switch event {
            case .started: text = "started"
            case .fireTimeArmed(_, let fireTime): text = "armed \(fireTime.map { "\($0)" } ?? "nothing")"
            case .attemptStarted(_, let scheduledAt, let origin, let number):
                text = "attempt \(number) \(origin.rawValue) \(scheduledAt)"
            case .attemptEnded: text = "attempt failed"
            case .runConcluded(let report): text = "\(report.outcome.rawValue) after \(report.attempts)"
            case .clockWasSet(let now): text = "clock set to \(now)"
            case .lookBackFailed: text = "look-back failed"
            case .foundWell: text = "ping"
            case .reloading: text = "reloading"
            case .reloaded(_, let waiting): text = "reloaded \(waiting)"
            case .reloadFailed(let why): text = "reload failed: \(why)"
            case .stopping: text = "stopping"
            default: text = "\(event)"
            }
            texts.withLock { $0.append(text) }
        }

        func take() -> [String] {
            texts.withLock { texts in
                defer { texts = [] }
                return texts
            }
        }
    }

    private func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: "2026-05-13T\(text)Z")! }

    private func job(_ name: String = "job", _ schedule: String = "*/5 * * * *") throws -> Job {
        try .named(name, schedule)
    }

    @Test func sleepsUntilTheNextFireTimeAndRunsAtIt() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:02:00Z")
        async let run: Void = steered.service.run()
        #expect(try await steered.clock.nextSleep() == WakeUp(wall: instant("12:05:00"), elapsed: nil))
        #expect(steered.events() == ["armed 2026-05-13T12:05:00Z", "started"])
        steered.clock.advance(by: .seconds(180))
        #expect(try await steered.clock.nextSleep().wall == instant("12:10:00"))
        // The end of the attempt is an event too, after which the loop sleeps again.
        #expect(try await steered.clock.nextSleep() == WakeUp(wall: instant("12:10:00"), elapsed: nil))
        #expect(
            steered.events() == [
                "armed 2026-05-13T12:10:00Z", "attempt 1 schedule 2026-05-13T12:05:00Z", "failed after 1",
            ])
        steered.stop()
        await run
        #expect(steered.events() == ["stopping"])
        #expect(try await steered.clock.nextSleep() == WakeUp())
    }

    @Test func repeatsAnAttemptWhenItsWaitEnds() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:04:59Z", failure: .serverReadOnly)
        async let run: Void = steered.service.run()
        _ = try await steered.clock.nextSleep()
        steered.clock.advance(by: .seconds(1))
        _ = try await steered.clock.nextSleep()
        let sleep = try await steered.clock.nextSleep()
        let retry = try #require(sleep.elapsed)
        #expect(RetryPolicy.delays(after: 1).contains(retry - .seconds(1)))
        _ = steered.events()
        steered.clock.advance(by: retry - .seconds(1))
        _ = try await steered.clock.nextSleep()
        _ = try await steered.clock.nextSleep()
        #expect(steered.events() == ["attempt 2 schedule 2026-05-13T12:05:00Z", "attempt failed"])
        // The run that waits for its next attempt is concluded at the end.
        steered.stop()
        await run
        #expect(steered.events() == ["stopping", "failed after 2"])
    }

    @Test func tellsASetClockAndNamesFireTimesByIt() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:02:00Z")
        async let run: Void = steered.service.run()
        _ = try await steered.clock.nextSleep()
        _ = steered.events()
        steered.clock.set(to: "2026-05-13T10:01:00Z")
        #expect(try await steered.clock.nextSleep().wall == instant("10:05:00"))
        #expect(steered.events() == ["clock set to 2026-05-13T10:01:00Z", "armed 2026-05-13T10:05:00Z"])
        steered.stop()
        await run
    }

    @Test func readsTheHistoryAfterTheStartAndAgainAfterAFailure() async throws {
        let steered = Steered(
            [try job("job", "0 0 * * *")], at: "2026-05-13T12:02:00Z", failure: .serverReadOnly, looksBack: true)
        async let run: Void = steered.service.run()
        #expect(try await steered.clock.nextSleep().elapsed == nil)
        let first = try #require(try await steered.clock.nextSleep().elapsed)
        #expect(RetryPolicy.delays(after: 1).contains(first))
        steered.clock.advance(by: first)
        #expect(try await steered.clock.nextSleep().elapsed == nil)
        let second = try #require(try await steered.clock.nextSleep().elapsed)
        #expect(RetryPolicy.delays(after: 2).contains(second - first))
        #expect(steered.events() == ["armed 2026-05-14T00:00:00Z", "started", "look-back failed"])
        steered.stop()
        await run
    }

    @Test func pingsTheWatchdogInTime() async throws {
        let steered = Steered(
            [try job("job", "0 0 1 1 *")], at: "2026-05-13T12:00:00Z", watchdogInterval: .seconds(10))
        async let run: Void = steered.service.run()
        for ping in 1...3 {
            let sleep = try await steered.clock.nextSleep()
            #expect(sleep.elapsed == .seconds(10 * ping))
            _ = steered.events()
            steered.clock.advance(by: .seconds(10))
        }
        _ = try await steered.clock.nextSleep()
        #expect(steered.events() == ["ping"])
        steered.stop()
        await run
    }

    @Test func putsANewConfigurationIntoForce() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:02:00Z")
        async let run: Void = steered.service.run()
        _ = try await steered.clock.nextSleep()
        _ = steered.events()
        steered.service.relay(.reloading)
        steered.service.relay(.reloadFailed("a word"))
        for _ in 1...2 { _ = try await steered.clock.nextSleep() }
        #expect(steered.events() == ["reloading", "reload failed: a word"])
        steered.service.reload(
            jobs: [try job("other", "0 * * * *")], access: Steered.access(.databaseURL("none")),
            waitingForRestart: ["http.listen"], makeRun: Steered.run)
        #expect(try await steered.clock.nextSleep().wall == instant("13:00:00"))
        #expect(
            steered.events() == [#"reloaded ["http.listen"]"#, "armed nothing", "armed 2026-05-13T13:00:00Z"])
        steered.stop()
        await run
    }

    /// SIGHUP after SIGTERM: an event of the reload would be the last word about a service that is stopping.
    @Test func tellsNothingOfAReloadOnceItStops() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:04:59Z")
        async let run: Void = steered.service.run()
        _ = try await steered.clock.nextSleep()
        // The attempt asks for the stop itself, so that it is under way when the reload comes.
        let access = Steered.access(.databaseURL("none")) {
            steered.stop()
            steered.service.relay(.reloading)
            steered.service.relay(.reloadFailed("late"))
        }
        steered.service.reload(
            jobs: [try job()], access: access, waitingForRestart: [], makeRun: Steered.run)
        _ = try await steered.clock.nextSleep()
        _ = steered.events()
        steered.clock.advance(by: .seconds(1))
        await run
        let events = steered.events()
        #expect(
            events.dropLast() == [
                "armed 2026-05-13T12:10:00Z", "attempt 1 schedule 2026-05-13T12:05:00Z", "stopping",
            ], "\(events)")
        #expect(["failed after 1", "canceled after 1"].contains(events.last), "\(events)")
    }

    @Test func endsAtARequestThatCameBeforeItRan() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:02:00Z")
        steered.service.requestStop()
        steered.service.requestStop()
        await steered.service.run()
        #expect(steered.events() == ["armed 2026-05-13T12:05:00Z", "started", "stopping"])
    }

    @Test func endsWithTheRunThatIsUnderWay() async throws {
        let steered = Steered([try job()], at: "2026-05-13T12:04:59Z")
        async let run: Void = steered.service.run()
        _ = try await steered.clock.nextSleep()
        // Both events are there before the attempt can end.
        steered.clock.advance(by: .seconds(1))
        steered.stop()
        await run
        let events = steered.events()
        #expect(
            events.last.map { ["failed after 1", "canceled after 1", "stopping"].contains($0) } ?? false, "\(events)")
        #expect(events.contains("attempt 1 schedule 2026-05-13T12:05:00Z"), "\(events)")
    }
}
