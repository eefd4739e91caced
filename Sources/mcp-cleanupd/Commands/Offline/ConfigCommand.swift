import ArgumentParser
import Settings
import Time

struct ConfigCommand: ParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract:
            "Show the configuration in force, and where each value comes from. Never the database URL or a secret.",
        usage: "mcp-cleanupd config [--json] [--quiet]",
        discussion: """
            The output is a configuration file itself, but for the URLs of notify, of which only the host is shown: such \
            a copy is refused.
            """)

    @ParentCommand var root: RootCommand

    @Flag(help: "Print nothing: only check the configuration. The exit code is 0 or 78.")
    var quiet = false

    @OptionGroup var listing: ListingOptions

    func run() throws {
        let setup = try setup()
        guard !quiet else { return }
        if output.isJSON { return try output.print(setup.effective.entries.map { EntryRow(entry: $0) }) }
        try StandardStream.output.list(setup.effective.yaml)
    }
}

private struct EntryRow: OutputRow {
    let entry: EffectiveConfiguration.Entry

    static let header = ["KEY", "VALUE", "SOURCE"]
    static let flexibleColumn = 1

    var json: JSON {
        .object([
            ("key", .string(entry.key)), ("value", .string(entry.value)), ("source", .string("\(entry.source)")),
        ])
    }

    var tableRow: Table.Row { Table.Row(cells: [.text(entry.key), .text(entry.value), .text("\(entry.source)")]) }
}
