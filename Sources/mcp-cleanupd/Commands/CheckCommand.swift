import ArgumentParser
import SessionCleanup
import Time

struct CheckCommand: AsyncParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Prove that this role, on this database, can do the work. Changes nothing.",
        usage: "mcp-cleanupd check [--json]",
        discussion:
            "Each result is ok, warn or fail. The exit code is that of the worst failure; warnings have none.")

    @ParentCommand var root: RootCommand
    @OptionGroup var listing: ListingOptions

    func run() async throws {
        let setup = try setup()
        let results: [CheckResult]
        do {
            let access = try setup.databaseAccess()
            let runs = setup.jobs.map { setup.run($0) }
            results = try await Signals.canceling { await DatabaseCheck.results(of: runs, access) }
        } catch let failure as CommandFailure {
            results = [.fail(.connection, .databaseURL(failure.message))]
        }
        try print(results, header: ["STATUS", "CHECK", "RESULT"], flexible: 2) { result in
            [
                "check": result.check.rawValue, "status": result.status.rawValue, "message": result.message,
                "hint": result.hint,
            ]
        } row: { result in
            let color: Table.Color =
                switch result.status {
                case .ok: .green
                case .warn: .yellow
                case .fail: .red
                }
            return Table.Row(
                cells: [
                    .text(result.status.rawValue, color), .text(result.check.rawValue),
                    .text(setup.withShortNames(result.message)),
                ], note: result.hint.map { "hint: \($0)" })
        }
        let code = Sysexit.worst(of: results.compactMap { $0.kind.map { Sysexit($0) } })
        if code != .success { throw ExitCode(code.rawValue) }
    }
}
