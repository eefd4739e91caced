import ArgumentParser
import Logging
import SessionCleanup
import Time

struct MigrateCommand: AsyncParsableCommand, Subcommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Create the history of runs, and more as asked, as the owner. Can be repeated: what is there stays.",
        usage: "mcp-cleanupd migrate [--sessions] [--indexes] [--role NAME] [--dry-run]")
    static let ownRootOptions: Set<String> = ["--dry-run"]

    @ParentCommand var root: RootCommand
    @Flag(help: "Also the sessions table of @mcp-ts/sdk, with its indexes and its trigger.")
    var sessions = false
    @Flag(help: "Also the optional partial indexes, without blocking the application; unfinished ones are rebuilt.")
    var indexes = false
    @Option(help: ArgumentHelp("Grant this role what mcp-cleanupd needs.", valueName: "name")) var role: String?
    @Flag(help: "Print the SQL, for psql, and run nothing.") var dryRun = false
    @OptionGroup(title: "Common options") var common: CommonOptions

    func validate() throws {
        guard let role else { return }
        if role.isEmpty || role.utf8.count > 63 {
            throw ValidationError("--role is no role's name; expected 1 to 63 bytes.")
        }
        // The GRANT for such a name could not be printed as it is.
        if role != role.visible {
            throw ValidationError("--role has a control or formatting character; grant it by hand: docs/security.md.")
        }
        // PostgreSQL takes the quoted name "public" for PUBLIC too: every role would be granted it.
        if role.lowercased() == "public" {
            throw ValidationError("--role public would grant every role what mcp-cleanupd needs; name the role.")
        }
    }

    func run() async throws {
        let setup = try setup()
        let text = { (bytes: [UInt8]) in String(decoding: bytes, as: UTF8.self) }
        let migration = Migration(
            history: text(PackageResources.install_mcp_cleanup_runs_sql) + "\n"
                + text(PackageResources.install_mcp_cleanup_removed_sql),
            sessions: sessions ? text(PackageResources.install_mcp_sessions_sql) : nil,
            grant: role.map { ($0, setup.table.name) })
        let logger = setup.logger
        let indexMigration = IndexMigration(setup.table, jobs: setup.jobs)
        if root.dryRun {
            try StandardStream.output.list(migration.script)
            guard indexes else { return }
            let generation = try await generation(setup, indexMigration)
            return try StandardStream.output.list("\n" + indexMigration.script(for: generation))
        }
        let access = try setup.databaseAccess(saysWhich: true)
        let (lacking, built) = try await Signals.canceling { [indexes] in
            let lacking = try await migration.apply(access) {
                let hint = "Run migrate with the server's own URL: limits for locks cannot be set through it."
                logger.warning("A pooler stands between here and the server.", metadata: ["hint": .string(hint)])
            }
            guard indexes else { return (lacking, [String]()) }
            return (lacking, try await indexMigration.apply(access) { logger.info("Building the index \($0).") })
        }
        logger.info("The table mcp_cleanup.runs is there.")
        if sessions { logger.info("The table public.mcp_sessions is there.") }
        if indexes { logger.info("The partial indexes \(built.isEmpty ? "were" : "are") there.") }
        if let lacking {
            logger.warning("The role cannot work yet: \(lacking)", metadata: lacking.hint.map { ["hint": "\($0)"] })
        }
    }

    /// Returns the sessions table's schema, now or after the migration; asks the database only if no option tells it.
    private func generation(_ setup: CommandSetup, _ migration: IndexMigration) async throws -> SchemaGeneration? {
        if let known = setup.table.schema?.generation { return known }
        if sessions, setup.table.name == .sessions { return .active }
        let access = try setup.databaseAccess()
        return try await Signals.canceling { try await migration.generation(access) }
    }
}
