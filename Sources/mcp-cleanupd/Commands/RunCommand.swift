import ArgumentParser
import CleanupDaemon
import Logging
import Monitoring
import Postgres
import ServiceLifecycle
import SessionCleanup
import Settings
import Synchronization
import Time

struct RunCommand: AsyncParsableCommand, Subcommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run the jobs at their times, until SIGTERM (the default).",
        usage: "mcp-cleanupd [run]")

    @ParentCommand var root: RootCommand
    @OptionGroup(title: "Common options") var common: CommonOptions

    func run() async throws {
        try refuseOnceOptions()
        try await Self.serve(root.common)
    }

    /// Drops the log of the service group, which is long and of no use to an operator.
    private static let silent = Logger(label: "mcp-cleanupd.lifecycle") { _ in SwiftLogNoOpLogHandler() }

    /// Serves until SIGTERM or SIGINT.
    static func serve(_ options: CommonOptions) async throws {
        do {
            try await serveUntilStopped(options)
        } catch let failure as CommandFailure {
            ServiceManager.report(failure)
            throw failure
        }
    }

    private static func serveUntilStopped(_ options: CommonOptions) async throws {
        let setup = try CommandSetup(options, isService: true)
        let manager = ServiceManager(setup)
        let jobs = setup.configuration.jobs
        let log = ServiceLog(logger: setup.logger)
        let record = ServiceRecord(jobs: jobs, version: RootCommand.version)
        let heartbeats = RunHeartbeats(setup, onFailure: { record.recordNotifyFailure() })
        let tell: @Sendable (ServiceEvent) -> Void = { event in
            record.record(event)
            log.record(event)
            heartbeats?.record(event)
            manager.record(event, record.state)
        }
        let access = try setup.databaseAccess(
            onURL: { tell(.databaseNamed($0.place)) }, onConnection: { tell(.connectionTried($0)) })
        let makeRun: @Sendable (Job, CommandSetup) -> CleanupRun = { job, setup in
            setup.run(job, onBatch: { tell(.batchEnded(job: job.name, after: $0, rowsDeleted: $1)) })
        }
        // Before the clock is created, whose descriptors could be taken for passed ones.
        let httpAddress = try ServiceManager.httpAddress(setup)
        let clock: HostSchedulerClock
        do {
            clock = try HostSchedulerClock(queue: TaskQueue.shared.queue)
        } catch {
            throw CommandFailure(.software, "\(error)")
        }
        let scheduler = SchedulerService(
            jobs: jobs, access: access, makeRun: { makeRun($0, setup) },
            looksBack: setup.configuration.history.mode != .off, watchdogInterval: manager.pingInterval,
            clock: clock, onEvent: tell)
        handleSignals(setup, scheduler, access, makeRun: makeRun)
        let endpoints = Endpoints(
            record: record, isTurning: { await scheduler.isTurning(within: $0) },
            isConnectingStuck: { Connection.isAbandonedThreadRunning })
        if let address = setup.configuration.httpListen, address.isOnAllAddresses {
            setup.logger.warning(
                "The page and the metrics are open to every machine that reaches this one: http.listen is \(address).")
        }
        do {
            var services: [any Service] = [scheduler]
            // Listening comes first: a second daemon started by mistake runs nothing.
            if let (address, passed) = httpAddress {
                services.insert(try await StatusServer(at: address, passed: passed, endpoints), at: 0)
            }
            let group = ServiceGroup(
                configuration: ServiceGroupConfiguration(
                    services: services.map {
                        .init(
                            service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                            failureTerminationBehavior: .gracefullyShutdownGroup)
                    },
                    logger: Self.silent))
            try await group.run()
        } catch let error as ListenFailure {
            throw CommandFailure(error.mayPass ? .temporaryFailure : .configuration, "\(error)", hint: error.hint)
        }
        await heartbeats?.finish(within: Self.heartbeatLimit)
        manager.flush()
    }

    /// Longer than a call takes on a network that works; `shutdown.timeout` ends the process in any case.
    private static let heartbeatLimit = Duration.seconds(3)

    /// Until the process ends, stops the scheduler at SIGTERM and SIGINT, and reads its configuration again at SIGHUP.
    private static func handleSignals(
        _ setup: CommandSetup, _ scheduler: SchedulerService, _ access: DatabaseAccess,
        makeRun: @escaping @Sendable (Job, CommandSetup) -> CleanupRun
    ) {
        let inForce = Mutex(setup)
        Signals.serve(timeout: setup.configuration.shutdownTimeout, logger: setup.logger) {
            scheduler.requestStop()
        } reload: {
            scheduler.relay(.reloading)
            do throws(ConfigurationFaults) {
                let (new, waiting) = try inForce.withLock(\.self).reloaded()
                inForce.withLock { $0 = new }
                var access = access
                access.connectTimeout = new.configuration.connectTimeout
                scheduler.reload(jobs: new.configuration.jobs, access: access, waitingForRestart: waiting) {
                    makeRun($0, new)
                }
            } catch {
                scheduler.relay(.reloadFailed("\(error)"))
            }
        }
    }
}
