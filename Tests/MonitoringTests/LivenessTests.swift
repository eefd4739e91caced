import CleanupDaemon
import CleanupSchedule
import Dispatch
import Glibc
@testable import Monitoring
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// The loop of the scheduler is itself asked whether it turns.
@Suite struct LivenessTests {
    private static let never = Job(
        name: "job", shortName: nil, isEnabled: false, schedule: Job.transientSessions.schedule, deadline: .seconds(60),
        rule: Job.transientSessions.rule)

    private func scheduler(
        onEvent: @escaping @Sendable (ServiceEvent) -> Void = { _ in }
    ) throws -> SchedulerService {
        let access = DatabaseAccess(
            url: { () throws(RunFailure) in throw .databaseURL("no connection here") }, connectTimeout: .seconds(1),
            environment: [:], onNotice: { _ in })
        return SchedulerService(
            jobs: [Self.never], access: access,
            makeRun: { job in
                CleanupRun(
                    job: job, table: SessionTable(name: .sessions, schema: .auto),
                    limits: RunLimits(maxClockSkew: .seconds(300), batchRows: 1), hostClock: { .now })
            }, looksBack: false, clock: try HostSchedulerClock(queue: DispatchQueue(label: "clock")), onEvent: onEvent)
    }

    private func endpoints(_ scheduler: SchedulerService, isConnectingStuck: Bool = false) -> Endpoints {
        Endpoints(
            record: ServiceRecord(jobs: [Self.never], version: "1"),
            isTurning: { await scheduler.isTurning(within: $0) }, isConnectingStuck: { isConnectingStuck })
    }

    @Test func answersWhileTheLoopTurnsAndNotBeforeOrAfter() async throws {
        let scheduler = try scheduler()
        let endpoints = endpoints(scheduler)
        let before = await endpoints.answer(method: "GET", target: "/livez")
        #expect(before.status == 503)
        #expect(before.body.contains("did not answer within 500 ms"))
        async let run: Void = scheduler.run()
        // The loop may begin late on a loaded machine.
        #expect(try await eventually { await endpoints.answer(method: "GET", target: "/livez").status == 200 })
        let stuck = self.endpoints(scheduler, isConnectingStuck: true)
        #expect(await stuck.answer(method: "GET", target: "/livez").status == 503)
        scheduler.requestStop()
        await run
        #expect(await endpoints.answer(method: "GET", target: "/livez").status == 503)
    }

    @Test func tellsALoopThatIsStuckAndRecoversWithIt() async throws {
        let gate = DispatchSemaphore(value: 0)
        let scheduler = try scheduler { event in
            // The receiver of the event does not return, which stops the loop.
            if case .started = event { gate.wait() }
        }
        async let run: Void = scheduler.run()
        #expect(await !scheduler.isTurning(within: .milliseconds(200)))
        #expect(await !scheduler.isTurning(within: .milliseconds(200)))
        gate.signal()
        #expect(await scheduler.isTurning(within: .seconds(10)))
        scheduler.requestStop()
        await run
    }

    /// shutdown(2) of a listening socket makes accept(2) fail in every process that has it.
    @Test(.timeLimit(.minutes(1))) func aServerWhoseListenerTheSystemClosesEndsWithAFailure() async throws {
        let (passed, port) = try Loopback.bound()
        let duplicate = dup(passed)
        defer { close(duplicate) }
        #expect(listen(passed, 10) == 0)
        let address = ListenAddress.tcp(host: "127.0.0.1", port: port)
        // Owns the passed socket from here on.
        let server = try await StatusServer(at: address, passed: passed, endpoints(try scheduler()))
        async let run: Void = server.run()
        #expect(try await LoopbackHTTP.get("/metrics", port: port).status == 200)
        shutdown(duplicate, Int32(SHUT_RDWR))
        do {
            try await run
            Issue.record("it ended as after a stop")
        } catch let failure as ListenFailure {
            #expect(failure.description == "the system has closed the listener at 127.0.0.1:\(port)")
            #expect(failure.mayPass)
        }
    }

    @Test func isNotBuriedInQuestions() async throws {
        let scheduler = try scheduler()
        let answers = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<500 { group.addTask { await scheduler.isTurning(within: .milliseconds(300)) } }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(answers == 0)
        async let run: Void = scheduler.run()
        #expect(await scheduler.isTurning(within: .seconds(10)))
        scheduler.requestStop()
        await run
    }
}
