import ArgumentParser
import CleanupDaemon
import Settings
import Logging
import ServiceLifecycle
import SessionCleanup
import Synchronization

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run the jobs at their times, until SIGTERM (the default).")

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    func run() async throws {
        try root.refuseOnceFlags(with: "run")
        try await Self.serve(common.merged(with: root.common))
    }

    /// The service group logs its services at length, and nothing that an operator could use.
    private static let silent = Logger(label: "mcp-cleanupd.lifecycle") { _ in SwiftLogNoOpLogHandler() }

    /// Serves until SIGTERM or SIGINT.
    static func serve(_ options: CommonOptions.Values) async throws {
        let setup = try CommandSetup(options, isService: true)
        let log = ServiceLog(logger: setup.logger)
        let tell: @Sendable (ServiceEvent) -> Void = log.write
        let access = try setup.databaseAccess(sharing: nil) { result in
            switch result {
            case .success(let duration): tell(.connected(after: duration))
            case .failure(let failure): tell(.connectFailed(failure))
            }
        }
        let run: @Sendable (Job, CommandSetup) -> CleanupRun = { job, setup in
            setup.run(job, onBatch: { tell(.batchEnded(job: job.name, after: $0, rowsDeleted: $1)) })
        }
        let scheduler = SchedulerService(
            jobs: setup.configuration.jobs, access: access, makeRun: { run($0, setup) },
            looksBack: setup.configuration.historyMode != .off, onEvent: tell)
        let inForce = Mutex(setup)
        let signals = ServiceSignals(timeout: setup.configuration.shutdownTimeout, logger: setup.logger) {
            scheduler.requestStop()
        } reload: {
            scheduler.reloadBegan()
            do throws(ConfigurationFaults) {
                let (new, waiting) = try inForce.withLock(\.self).reloaded()
                inForce.withLock { $0 = new }
                var access = access
                access.connectTimeout = new.configuration.connectTimeout
                scheduler.reload(jobs: new.configuration.jobs, access: access, waitingForRestart: waiting) {
                    run($0, new)
                }
            } catch {
                scheduler.reloadFailed("\(error)")
            }
        }
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: scheduler, successTerminationBehavior: .gracefullyShutdownGroup)],
                logger: Self.silent))
        do {
            try await group.run()
        } catch let error as TimerUnavailable {
            throw CommandFailure(.software, "\(error)")
        }
        signals.cancel()
    }
}
