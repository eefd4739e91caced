import ArgumentParser
import CleanupDaemon
import Configuration
import Logging
import ServiceLifecycle

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
        do {
            try await serveUntilStopped(options)
        } catch let failure as CommandFailure {
            ServiceManager.hears(of: failure)
            throw failure
        }
    }

    private static func serveUntilStopped(_ options: CommonOptions.Values) async throws {
        let setup = try CommandSetup(options, isService: true)
        let manager = ServiceManager(setup)
        let log = ServiceLog(logger: setup.logger)
        let scheduler = SchedulerService(
            jobs: setup.configuration.jobs, access: try setup.databaseAccess(sharing: nil),
            makeRun: { setup.run($0) }, watchdogInterval: manager.pingInterval,
            onEvent: { event in
                log.write(event)
                manager.supervision?.hear(event)
            })
        let signals = StopSignals(timeout: setup.configuration.shutdownTimeout, logger: setup.logger) {
            scheduler.requestStop()
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
        manager.flush()
    }
}
