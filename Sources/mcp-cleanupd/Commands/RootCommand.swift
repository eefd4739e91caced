import ArgumentParser
import Settings

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mcp-cleanupd",
        abstract: "Removes expired MCP sessions from PostgreSQL: exactly, in small batches, and says what it did.",
        usage:
            "mcp-cleanupd [run] | mcp-cleanupd --once [--job NAME]... [--dry-run] [--json] [--metrics-textfile PATH] | mcp-cleanupd COMMAND",
        discussion: """
            EXAMPLES
              mcp-cleanupd --once --dry-run     show what would be removed now
              mcp-cleanupd --once               remove it, and exit
              mcp-cleanupd --once --job dormant --json
              mcp-cleanupd                      run as a service

            The database URL comes from the first of: --database-url-file; the systemd credential database-url; \
            NEON_DATABASE_URL; DATABASE_URL when MCP_TS_STORAGE_TYPE=neon; for root, \(DatabaseURLSource.standardPath). \
            Never from the command line, which every user of the machine can read.

            Settings are keys of \(EffectiveConfiguration.standardPath), or environment variables: MCP_CLEANUP_ and the key, \
            with underscores for dots and dashes, such as MCP_CLEANUP_DATABASE_TABLE for database.table. \
            mcp-cleanupd config shows all of them.
            """, version: version,
        subcommands: [
            RunCommand.self, StatusCommand.self, SessionsCommand.self, ScheduleCommand.self, MigrateCommand.self,
            CheckCommand.self, HistoryCommand.self, RemovedCommand.self, PgCronCommand.self, ConfigCommand.self,
            HealthCommand.self,
        ])

    static let version = "0.1.0"

    @Flag(help: "Run every enabled job now, and exit.") var once = false

    @Option(
        name: .customLong("job"),
        help: ArgumentHelp(
            "With --once or history: only this job, by its name, or by transient or dormant. Repeatable.",
            valueName: "name"))
    var jobs: [String] = []

    @Flag(help: "With --once: show what would be removed, and remove nothing.") var dryRun = false
    @Flag(help: "With --once: print one JSON object per line.") var json = false

    @Option(help: ArgumentHelp("With --once: write metrics to this file, for a textfile collector.", valueName: "path"))
    var metricsTextfile: String?

    @OptionGroup(title: "Common options") var common: CommonOptions

    func run() async throws {
        guard once else {
            if let option = onceOnlyOptions.first { throw ValidationError("\(option) goes with --once.") }
            return try await RunCommand.serve(common)
        }
        if dryRun, metricsTextfile != nil {
            throw ValidationError("--metrics-textfile and --dry-run do not go together: a dry run records nothing.")
        }
        try await OnceCommand(
            common: common, jobNames: jobs, isDryRun: dryRun, isJSON: json, metricsTextfile: metricsTextfile
        ).run()
    }

    /// The options on the command line that `--once` takes, and the service does not.
    var onceOnlyOptions: [String] {
        (jobs.isEmpty ? [] : ["--job"]) + (dryRun ? ["--dry-run"] : []) + (json ? ["--json"] : [])
            + (metricsTextfile == nil ? [] : ["--metrics-textfile"])
    }

    /// Returns a help text with the common options and the explanations moved to the end, after usage, options and
    /// commands. Returns other texts as they are.
    static func shortHelpFirst(_ text: String) -> String {
        guard text.hasPrefix("OVERVIEW: "), let usage = text.firstRange(of: "\n\nUSAGE: "),
            let gap = text.firstRange(of: "\n\n")
        else { return text }
        let explanations = gap.lowerBound == usage.lowerBound ? "" : text[gap.upperBound..<usage.lowerBound]
        let sections = text[usage.upperBound...].split(separator: "\n\n").map { $0.drop { $0 == "\n" } }
        let isCommon = { (section: Substring) in section.hasPrefix("COMMON OPTIONS:") }
        let ordered =
            sections.filter { !isCommon($0) } + sections.filter(isCommon) + (explanations.isEmpty ? [] : [explanations])
        return "\(text[..<gap.lowerBound])\n\nUSAGE: "
            + ordered.map { section in section.last == "\n" ? section.dropLast() : section }.joined(separator: "\n\n")
    }
}
