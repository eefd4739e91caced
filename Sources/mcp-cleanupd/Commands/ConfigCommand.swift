import ArgumentParser
import Settings
import Time

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract:
            "Show the configuration in force, and where each value comes from. Never the database URL or a secret.",
        discussion: """
            What it prints is a configuration file itself, but for the URLs of notify, of which only the host is shown: such \
            a copy is refused.
            """)

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    func run() throws {
        try root.refuseOnceFlags(with: "config", except: ["--json"])
        let setup = try CommandSetup(common.merged(with: root.common))
        guard json || root.json else { return try StandardStream.output.write(setup.effective.yaml) }
        for entry in setup.effective.entries {
            let line = JSON.object([
                ("key", .string(entry.key)), ("value", .string(entry.value)), ("source", .string("\(entry.source)")),
            ])
            try StandardStream.output.write("\(line)\n")
        }
    }
}
