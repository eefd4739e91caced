import ArgumentParser
import Logging
import SessionCleanup

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Create the database's objects, as the owner. Can be repeated: tables and indexes that exist stay.")

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Flag(help: "The sessions table of @mcp-ts/sdk, with its indexes and its trigger.")
    var sessions = false

    @Flag(help: "Print the SQL, and run nothing.")
    var dryRun = false

    func validate() throws {
        if !sessions { throw ValidationError("Say what to create: --sessions.") }
    }

    func run() async throws {
        try root.refuseOnceFlags(with: "migrate", except: ["--dry-run"])
        let sql = String(decoding: PackageResources.install_mcp_sessions_sql, as: UTF8.self)
        if dryRun || root.dryRun {
            try StandardStream.output.write(sql)
            return
        }
        let setup = try CommandSetup(common.merged(with: root.common))
        let access = try setup.databaseAccess()
        try await SignalCancellation.run { try await Migration(sql: sql).apply(access) }
        setup.logger.info("The table public.mcp_sessions is there.")
    }
}
