import ArgumentParser
import CleanupDaemon
import Dispatch
import Glibc
import Logging
import Postgres
import SessionCleanup
import Settings
import Time

/// The start of a command: its configuration, and the log for its messages.
struct CommandSetup: Sendable {
    private(set) var effective: EffectiveConfiguration
    private(set) var logger: Logger
    let logFormat: LogFormat
    private let historyMemory: HistoryMemory
    private let options: CommonOptions?
    private let isService: Bool
    let environment: [String: String]

    var configuration: Configuration { effective.configuration }
    var jobs: [Job] { configuration.jobs }
    var table: SessionTable { SessionTable(name: configuration.table, schema: configuration.sessionSchema) }

    /// Reads the configuration, and warns of variables that it does not know. Throws `CommandFailure` with exit code 78.
    ///
    /// - Parameter key: the only key that the command needs: faults elsewhere are warnings.
    init(_ options: CommonOptions?, isService: Bool = false, needingOnly key: String? = nil) throws(CommandFailure) {
        self.options = options
        self.isService = isService
        environment = Self.processEnvironment()
        var elsewhere: [ConfigurationFault] = []
        do {
            var file: ConfigurationFile?
            do {
                file = try EffectiveConfiguration.file(option: options?.config)
            } catch  where key != nil {
                elsewhere = error.faults
            }
            effective = try EffectiveConfiguration(
                file: file, environment: environment, options: options?.settings ?? [], needingOnly: key)
        } catch {
            throw CommandFailure(.configuration, "\(error)")
        }
        let log = EventLog(effective.configuration.logFormat, isService: isService, environment: environment)
        logFormat = log.format
        var logger = Logger(label: "mcp-cleanupd") { _ in log }
        logger.logLevel = effective.configuration.logLevel.forLogger
        self.logger = logger
        historyMemory = HistoryMemory { [logger] in
            logger.log(
                level: isService ? .warning : .debug,
                "The table mcp_cleanup.runs does not exist: runs are not recorded, and processes do not coordinate.",
                metadata: ["hint": "Run mcp-cleanupd migrate with an owner's URL, or set history.mode to off."])
        }
        for fault in elsewhere + effective.faults { logger.warning("\(fault)") }
        for name in effective.unknownVariables.map(\.shown) {
            logger.warning("The environment variable \(name) names no key of the configuration; it is ignored.")
        }
    }

    /// Reads the configuration again. Returns a setup with the same logger, and the keys that have changed but keep their
    /// values until a restart.
    func reloaded() throws(ConfigurationFaults) -> (setup: CommandSetup, waitingForRestart: [String]) {
        var setup = self
        let file = try EffectiveConfiguration.file(option: options?.config, wasThere: effective.path != nil)
        setup.effective = try EffectiveConfiguration(
            file: file, environment: environment, options: options?.settings ?? [])
        let waiting = setup.effective.keepFixedKeys(of: effective)
        setup.logger.logLevel = setup.configuration.logLevel.forLogger
        return (setup, waiting)
    }

    /// Finds the database URL. The service warns of a connection that is less protected than it could be. Other
    /// commands connect on the tasks' queue: each switch to another thread would wait for its turn behind the server.
    ///
    /// - Parameters:
    ///   - saysWhich: true to tell the operator if the URL is from root's own file, which no option and no variable names.
    ///   - onURL: called now, and whenever the URL is read again.
    /// - Throws: `CommandFailure` with exit code 78.
    func databaseAccess(
        saysWhich: Bool = false, onURL: @escaping @Sendable (DatabaseURL) -> Void = { _ in },
        onConnection: @escaping @Sendable (Result<Duration, RunFailure>) -> Void = { _ in }
    ) throws(CommandFailure) -> DatabaseAccess {
        let source = try databaseURLSource()
        let url: DatabaseURL
        do {
            url = try source.read()
            try url.check(environment: environment)
        } catch {
            throw CommandFailure(expected: error) ?? CommandFailure(.configuration, "\(error)")
        }
        logger.debug("The database is \(url); its URL comes from \(source).")
        if saysWhich, source == .file(path: DatabaseURLSource.standardPath), options?.databaseURLFile == nil {
            logger.notice("Using the database URL in \(source).")
        }
        if isService, let warning = url.transportWarning(environment: environment) {
            logger.warning("\(warning)")
        }
        onURL(url)
        return DatabaseAccess(
            url: { () throws(RunFailure) in
                let url = try source.read()
                onURL(url)
                return url
            }, connectTimeout: configuration.connectTimeout, environment: environment,
            queue: isService ? nil : TaskQueue.shared.queue,
            onNotice: { [logger] in logger.debug("The server says: \($0)") }, onConnection: onConnection)
    }

    /// Returns the source of the database URL; throws `CommandFailure` with exit code 78 if no source has one.
    func databaseURLSource() throws(CommandFailure) -> DatabaseURLSource {
        do {
            return try DatabaseURLSource.find(option: options?.databaseURLFile, environment: environment)
        } catch {
            // The message names the places; the hint would repeat them.
            throw CommandFailure(.configuration, "\(error)")
        }
    }

    /// The jobs that a command line names, by their names or short names, in the configuration's order; all of them if it
    /// names none. Throws `ValidationError` for a name that no job has.
    func jobs(named names: [String]) throws -> [Job] {
        if let name = names.first(where: { name in !jobs.contains { $0.isNamed(name) } }) {
            let known = jobs.map { [$0.name, $0.shortName].compactMap(\.self).joined(separator: " or ") }
            throw ValidationError("There is no job \(name.shown); there are \(known.joined(separator: ", ")).")
        }
        return jobs.filter { job in names.isEmpty || names.contains(where: job.isNamed) }
    }

    /// A text for people, in which jobs go by their short names.
    func withShortNames(_ text: String) -> String {
        jobs.reduce(text) { text, job in job.shortName.map { text.replacing(job.name, with: $0) } ?? text }
    }

    /// Reports why runs failed. In format `text` as errors for people, one for all jobs with the same failure; in the
    /// others as entries of the log, with the job's name.
    func report(_ failures: [(job: Job, failure: RunFailure)]) {
        let isCommon = failures.count > 1 && Set(failures.map { CommandFailure($0.failure) }).count == 1
        var reported: Set<CommandFailure> = []
        for (job, failure) in failures {
            guard logFormat == .text else {
                var metadata: Logger.Metadata = ["job": "\(job.name)"]
                metadata["hint"] = failure.hint.map { "\($0)" }
                logger.error("\(failure)", metadata: metadata)
                continue
            }
            var failure = CommandFailure(failure)
            guard reported.insert(failure).inserted else { continue }
            if !isCommon { failure.message = "\(job.displayName): \(failure.message)" }
            failure.report()
        }
    }

    /// A run of the job that reports its progress.
    func run(
        _ job: Job, onProgress: @escaping @Sendable (RunProgress) -> Void = { _ in },
        onBatch: @escaping @Sendable (Duration, Int) -> Void = { _, _ in }
    ) -> CleanupRun {
        CleanupRun(
            job: job, table: job.table.map { SessionTable(name: $0, schema: nil) } ?? table,
            limits: configuration.limits, history: configuration.history, memory: historyMemory, hostClock: { .now },
            onProgress: onProgress, onBatch: onBatch,
            onSlowDatabaseClock: { [logger] in
                let delay = "\($0.secondsText) behind this host's: sessions are removed that much later."
                logger.warning("The database's clock is \(delay)")
            })
    }

    static func processEnvironment() -> [String: String] {
        var variables: [String: String] = [:]
        var entry = environ
        // environ(7): pointers to NAME=VALUE, ended by a null pointer; nothing here changes the environment.
        while let pointer = entry.pointee {
            let text = String(cString: pointer)
            if let separator = text.firstIndex(of: "=") {
                variables[String(text[..<separator])] = String(text[text.index(after: separator)...])
            }
            entry += 1
        }
        return variables
    }
}

extension LogLevel {
    // Both types have the same names for their levels.
    fileprivate var forLogger: Logger.Level { Logger.Level(rawValue: rawValue)! }
}
