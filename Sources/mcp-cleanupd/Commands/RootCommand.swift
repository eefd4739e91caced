import ArgumentParser
import Settings

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mcp-cleanupd",
        abstract: "Removes expired MCP sessions from PostgreSQL: exactly, in small batches, and says what it did.",
        discussion: """
            The database URL comes from the first of: --database-url-file; the systemd credential database-url; \
            NEON_DATABASE_URL; DATABASE_URL when MCP_TS_STORAGE_TYPE=neon. Never from the command line, which every \
            user of the machine can read.

            Settings are keys of \(ConfigurationFile.standardPath), or environment variables: MCP_CLEANUP_ and the key, \
            with underscores for dots and dashes, such as MCP_CLEANUP_DATABASE_TABLE for database.table. \
            mcp-cleanupd config shows all of them.

            EXAMPLES
              mcp-cleanupd --once --dry-run     what would be removed now
              mcp-cleanupd --once               remove it and exit
              mcp-cleanupd --once --job dormant --json
              mcp-cleanupd                      run as a service
            """,
        version: version,
        subcommands: [
            RunCommand.self, StatusCommand.self, SessionsCommand.self, ScheduleCommand.self, MigrateCommand.self,
            CheckCommand.self, HistoryCommand.self, PgCronCommand.self, ConfigCommand.self, HealthCommand.self,
        ])

    static let version = "0.1.0"

    @OptionGroup var common: CommonOptions

    @Flag(help: "Run every enabled job now, and exit.")
    var once = false

    @Option(
        name: .customLong("job"),
        help: ArgumentHelp(
            "With --once or history: only this job, by its name, or by transient or dormant. Repeatable.",
            valueName: "name"))
    var jobs: [String] = []

    @Flag(help: "With --once: say what would be removed, and remove nothing.")
    var dryRun = false

    @Flag(help: "With --once: one JSON object a line on standard output.")
    var json = false

    @Option(
        help: ArgumentHelp("With --once: write metrics to this file, for a textfile collector.", valueName: "path"))
    var metricsTextfile: String?

    func run() async throws {
        guard once else {
            if let flag = onceOnlyFlags.first { throw ValidationError("\(flag) goes with --once.") }
            return try await RunCommand.serve(common.values)
        }
        if dryRun, metricsTextfile != nil {
            throw ValidationError("--metrics-textfile and --dry-run do not go together: a dry run records nothing.")
        }
        try await OnceCommand(
            common: common.values, jobNames: jobs, isDryRun: dryRun, isJSON: json, metricsTextfile: metricsTextfile
        ).run()
    }

    /// For subcommands: refuses what goes with `--once` only.
    ///
    /// The parser gives an option of the root to the root wherever it stands; a command that has an option of the
    /// same name reads it here, and names it as its own.
    func refuseOnceFlags(with command: String, except own: Set<String> = []) throws {
        if once { throw ValidationError("--once and the command \(command) do not go together.") }
        if let flag = onceOnlyFlags.first(where: { !own.contains($0) }) {
            throw ValidationError("\(flag) and the command \(command) do not go together.")
        }
    }

    private var onceOnlyFlags: [String] {
        (jobs.isEmpty ? [] : ["--job"]) + (dryRun ? ["--dry-run"] : []) + (json ? ["--json"] : [])
            + (metricsTextfile == nil ? [] : ["--metrics-textfile"])
    }
}
