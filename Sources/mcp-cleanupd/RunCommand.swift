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
        let access = try setup.databaseAccess(sharing: nil)
        let scheduler = SchedulerService(
            jobs: setup.configuration.jobs, access: access, makeRun: { setup.run($0) }, onEvent: log.write)
        let signals = StopSignals(timeout: setup.configuration.shutdownTimeout, logger: setup.logger) {
            scheduler.requestStop()
        }
        let inForce = Mutex(setup)
        let hangups = ReloadSignal {
            scheduler.reloadBegan()
            do throws(ConfigurationFaults) {
                let (new, waiting) = try inForce.withLock(\.self).reloaded()
                inForce.withLock { $0 = new }
                var access = access
                access.connectTimeout = new.configuration.connectTimeout
                scheduler.reload(jobs: new.configuration.jobs, access: access, waitingForRestart: waiting) {
                    new.run($0)
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
        hangups.cancel()
    }
}
