import ArgumentParser
import CleanupDaemon
import Configuration
import Dispatch
import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

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
        let setup = try CommandSetup(options)
        let scheduler = SchedulerService(
            jobs: setup.configuration.jobs, access: try setup.databaseAccess(sharing: nil),
            shutdownTimeout: setup.configuration.shutdownTimeout,
            logger: setup.logger, makeRun: { setup.run($0) })
        let secondSignal = SecondSignal()
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: scheduler, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: Self.silent))
        do {
            try await group.run()
        } catch let error as TimerUnavailable {
            throw CommandFailure(.software, "\(error)")
        }
        secondSignal.cancel()
    }
}

/// Ends the process at the second SIGTERM or SIGINT, which the service group ignores: who asks twice does not want to
/// wait. What was under way is rolled back by the server.
private struct SecondSignal {
    private let sources: [DispatchSource]

    init() {
        let queue = DispatchQueue(label: "mcp-cleanupd.second-signal")
        let counter = Counter()
        sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue) as! DispatchSource
            source.setEventHandler { [unowned source] in
                counter.count += Int((source as any DispatchSourceSignal).data)
                if counter.count > 1 { _exit(128 + number) }
            }
            source.activate()
            return source
        }
    }

    func cancel() { for source in sources { source.cancel() } }

    private final class Counter: @unchecked Sendable {
        // Sendable: only the handlers above touch it, on one serial queue.
        var count = 0
    }
}
