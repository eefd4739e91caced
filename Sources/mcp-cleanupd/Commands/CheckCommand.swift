import ArgumentParser
import SessionCleanup
import Time

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Prove that this role, on this database, can do the work. Changes nothing.",
        discussion:
            "Each line begins with ok, warn or fail. The exit code is that of the gravest failure; warnings have none.")

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    func run() async throws {
        try root.refuseOnceFlags(with: "check", except: ["--json"])
        let setup = try CommandSetup(common.merged(with: root.common))
        let check = DatabaseCheck(setup.jobs.map { setup.run($0) })
        let results: [CheckResult]
        do {
            let access = try setup.databaseAccess()
            results = try await SignalCancellation.run { await check.results(access) }
        } catch let failure as CommandFailure {
            results = [.fail(.connection, .databaseURL(failure.message))]
        }
        if json || root.json {
            for result in results { try StandardStream.output.write("\(result.json)\n") }
        } else {
            var columns = Columns()
            for result in results {
                columns.append(result.cells)
                if let hint = result.hint { columns.append([.text(""), .text(""), .text("hint: \(hint)")]) }
            }
            for line in columns.lines() { try StandardStream.output.write(line + "\n") }
        }
        let code = Sysexit.gravest(of: results.compactMap { $0.kind.map { Sysexit($0) } })
        if code != .success { throw ExitCode(code.rawValue) }
    }
}

extension CheckResult {
    /// The keys that scripts rely on, in their order.
    fileprivate var json: JSON {
        .object([
            ("check", .string(check.rawValue)), ("status", .string(status.rawValue)), ("message", .string(message)),
            ("hint", JSON(hint)),
        ])
    }

    fileprivate var cells: [Columns.Cell] {
        let color: Columns.Color =
            switch status {
            case .ok: .green
            case .warn: .yellow
            case .fail: .red
            }
        return [.text(status.rawValue, color), .text(check.rawValue), .text(message)]
    }
}
