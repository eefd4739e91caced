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
    @Flag(help: "Print nothing: only check the configuration. The exit code is 0 or 78.") var quiet = false
    @OptionGroup var listing: ListingOptions

    func run() throws {
        let setup = try setup()
        guard !quiet else { return }
        guard isJSON else { return try StandardStream.output.list(setup.effective.yaml) }
        for entry in setup.effective.entries {
            try print(["key": entry.key, "value": entry.value, "source": entry.source] as JSON)
        }
    }
}
