import Glibc
import Time

/// Lines of text for people, whose parts line up; in color on a terminal.
struct Columns {
    /// One part of a line.
    struct Cell {
        var text: String
        var color: Color?
        var isNumber = false

        static func text(_ text: String, _ color: Color? = nil) -> Cell { Cell(text: text.visible, color: color) }
        /// At the right of its column.
        static func number(_ text: String) -> Cell { Cell(text: text, isNumber: true) }
    }

    /// The terminal's own: ECMA-48, "Select Graphic Rendition".
    enum Color: Int {
        case red = 31
        case green = 32
        case yellow = 33
    }

    private var rows: [[Cell]] = []

    mutating func append(_ row: [Cell]) { rows.append(row) }

    /// Whether a person looks at standard output, and has nothing against colors: no-color.org.
    static var isColored: Bool {
        func value(_ name: String) -> String { getenv(name).map { String(cString: $0) } ?? "" }
        return StandardStream.output.isTerminal && value("NO_COLOR").isEmpty && value("TERM") != "dumb"
    }

    /// The lines, without blanks at their ends.
    func lines(isColored: Bool = Self.isColored) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (index, cell) in row.enumerated() {
                if index == widths.count { widths.append(0) }
                widths[index] = max(widths[index], cell.text.count)
            }
        }
        return rows.map { row in
            let cells = row[..<((row.lastIndex { !$0.text.isEmpty } ?? -1) + 1)]
            return cells.enumerated().map { index, cell in
                let gap = String(repeating: " ", count: widths[index] - cell.text.count)
                let begin = isColored ? cell.color.map { "\u{1B}[\($0.rawValue)m" } : nil
                let shown = begin.map { "\($0)\(cell.text)\u{1B}[0m" } ?? cell.text
                if cell.isNumber { return gap + shown }
                return index == cells.count - 1 ? shown : shown + gap
            }.joined(separator: "  ")
        }
    }
}
