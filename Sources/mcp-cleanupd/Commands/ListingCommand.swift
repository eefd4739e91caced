import ArgumentParser
import SessionCleanup
import Time

/// The options of a command that lists records.
struct ListingOptions: ParsableArguments {
    @Flag(help: "Print one JSON object per line.") var json = false
    @OptionGroup(title: "Common options") var common: CommonOptions
}

/// A command that lists records on standard output, as a table or, with `--json`, as objects.
protocol ListingCommand: Subcommand {}

extension ListingCommand {
    static var ownRootOptions: Set<String> { ["--json"] }
    var isJSON: Bool { root.json }

    /// Prints the records: as objects for programs, with the keys that scripts rely on, in their order; as a table for
    /// people, in which the column with the index `flexible` is cut or wrapped if lines would be too long.
    func print<Record>(
        _ records: [Record], header: [String], flexible: Int, json: (Record) -> JSON, row: (Record) -> Table.Row
    ) throws(CommandFailure) {
        if isJSON {
            for record in records { try print(json(record)) }
        } else if !records.isEmpty {
            try Table(header: header, flexible: flexible, rows: records.map(row)).print()
        }
    }

    /// Prints a text, or an object, on lines of its own.
    func print(_ line: some CustomStringConvertible) throws(CommandFailure) {
        try StandardStream.output.list("\(line)\n")
    }
}
