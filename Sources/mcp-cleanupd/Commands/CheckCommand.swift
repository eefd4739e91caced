import ArgumentParser
import SessionCleanup

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
        let check = DatabaseCheck(setup.jobs.map { setup.run($0) })
        let results: [CheckResult]
        do {
            let access = try setup.databaseAccess()
            results = try await SignalCancellation.run { await check.results(access) }
        } catch let failure as CommandFailure {
            results = [.fail(.connection, .databaseURL(failure.message))]
        }
        try output.print(results.map { CheckRow(result: $0, shorten: setup.withShortNames) })
        let code = Sysexit.gravest(of: results.compactMap { $0.kind.map { Sysexit($0) } })
        if code != .success { throw ExitCode(code.rawValue) }
    }
}

private struct CheckRow: OutputRow {
    let result: CheckResult
    let shorten: (String) -> String

    static let header = ["STATUS", "CHECK", "RESULT"]
    static let flexibleColumn = 2

    var json: JSON {
        .object([
            ("check", .string(result.check.rawValue)), ("status", .string(result.status.rawValue)),
            ("message", .string(result.message)), ("hint", JSON(result.hint)),
        ])
    }

    var tableRow: Table.Row {
        let color: Table.Color =
            switch result.status {
            case .ok: .green
            case .warn: .yellow
            case .fail: .red
            }
        return Table.Row(
            cells: [
                .text(result.status.rawValue, color), .text(result.check.rawValue), .text(shorten(result.message)),
            ], note: result.hint.map { "hint: \($0)" })
    }
}
