import Time

/// A record that a command lists: as an object for programs, as a line of a table for people.
protocol OutputRow {
    /// The names of the table's columns.
    static var header: [String] { get }
    /// The index of the column that gives way where lines would be too long.
    static var flexibleColumn: Int { get }
    /// With the keys that scripts rely on, in their order.
    var json: JSON { get }
    var tableRow: Table.Row { get }
}

/// Prints what a command lists on standard output. A reader that goes away ends the listing without an error.
struct OutputRows {
    let isJSON: Bool

    /// - Throws: `StandardStream.CannotWrite` where the disk is full, say.
    func print<Row: OutputRow>(_ rows: [Row]) throws(StandardStream.CannotWrite) {
        if isJSON {
            for row in rows { try StandardStream.output.list("\(row.json)\n") }
        } else if !rows.isEmpty {
            let table = Table(header: Row.header, flexible: Row.flexibleColumn, rows: rows.map(\.tableRow))
            for line in table.lines() { try StandardStream.output.list(line + "\n", steers: Table.isColored) }
        }
    }
}
