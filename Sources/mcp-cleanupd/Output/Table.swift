import Glibc
import SessionCleanup
import Time

/// Lines of text for people, whose parts line up below a header; in color on a terminal.
struct Table {
    /// One part of a line.
    struct Cell {
        var text: String
        var color: Color?
        var isNumber = false

        static func text(_ text: String, _ color: Color? = nil) -> Cell { Cell(text: text.visible, color: color) }
        /// Aligned to the right of its column.
        static func number(_ text: String) -> Cell { Cell(text: text.visible, isNumber: true) }

        /// In the color of the run's outcome; `nil` is a run under way.
        static func status(_ outcome: Outcome?, _ text: String) -> Cell {
            switch outcome {
            case .succeeded: .text(text, .green)
            case .failed, .timedOut: .text(text, .red)
            case .capped, .canceled, .abandoned, .skipped, nil: .text(text, .yellow)
            }
        }
    }

    /// The terminal's own colors, by their codes in ECMA-48, "Select Graphic Rendition".
    enum Color: Int {
        case red = 31, green, yellow
    }

    struct Row {
        var cells: [Cell]
        /// A text below the line, if there is more to say.
        var note: String?
        var noteColor: Color?
    }

    let header: [String]
    /// The index of the column that shrinks if lines would be too long: the last column is wrapped onto further lines,
    /// another one is cut.
    let flexible: Int
    let rows: [Row]

    private static let gap = "  "

    /// True if standard output is a terminal, and no variable turns colors off: no-color.org.
    private static let isColored: Bool = {
        func value(_ name: String) -> String { getenv(name).map { String(cString: $0) } ?? "" }
        return StandardStream.output.isTerminal && value("NO_COLOR").isEmpty && value("TERM") != "dumb"
    }()

    /// Prints the table on standard output, without blanks at the ends of lines.
    func print() throws(CommandFailure) {
        var size = winsize()
        let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        // Elsewhere 80, which fits into every mail and every terminal.
        let width = isKnown ? Int(size.ws_col) : 80
        let widths = widths(in: width)
        let isWrapped = flexible == header.count - 1
        let indent = isWrapped ? widths.dropLast().reduce(0) { $0 + $1 + Self.gap.count } : Self.gap.count
        var lines = [line(header.map { Cell(text: $0) }, widths)]
        for row in rows {
            var cells = row.cells
            var below: [String] = []
            if cells.indices.contains(flexible) {
                let text = cells[flexible].text
                below = isWrapped ? text.wrapped(at: widths[flexible]) : [text.cut(to: widths[flexible])]
                cells[flexible].text = below.removeFirst()
            }
            lines.append(line(cells, widths))
            below += (row.note?.visible.wrapped(at: width - indent) ?? []).map { painted($0, row.noteColor) }
            lines += below.map { String(repeating: " ", count: indent) + $0 }
        }
        for line in lines { try StandardStream.output.list(line + "\n", steers: Self.isColored) }
    }

    /// The columns' widths. If a line would be too long, the flexible one shrinks, but not below its header.
    private func widths(in width: Int) -> [Int] {
        var widths = header.map(\.count)
        for row in rows {
            for (index, cell) in row.cells.enumerated() { widths[index] = max(widths[index], cell.text.count) }
        }
        let excess = widths.reduce(0, +) + Self.gap.count * (widths.count - 1) - width
        if excess > 0 { widths[flexible] = max(widths[flexible] - excess, header[flexible].count) }
        return widths
    }

    private func line(_ cells: [Cell], _ widths: [Int]) -> String {
        let shown = cells[..<((cells.lastIndex { !$0.text.isEmpty } ?? -1) + 1)]
        return shown.enumerated().map { index, cell in
            let gap = String(repeating: " ", count: max(0, widths[index] - cell.text.count))
            let text = painted(cell.text, cell.color)
            return cell.isNumber ? gap + text : index == shown.count - 1 ? text : text + gap
        }.joined(separator: Self.gap)
    }

    private func painted(_ text: String, _ color: Color?) -> String {
        guard Self.isColored, let color else { return text }
        return "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m"
    }
}

extension String {
    /// The text, or its beginning and an ellipsis where it is longer than `width`.
    func cut(to width: Int) -> String { count <= width ? self : prefix(max(width - 1, 0)) + "…" }

    /// The text with spaces at its end, so that columns line up.
    func padding(to width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }

    /// The text in lines of at most `width` characters, at least 20, broken at blanks; a longer word has its own line.
    fileprivate func wrapped(at width: Int) -> [String] {
        var lines: [String] = []
        for word in split(separator: " ") {
            if let line = lines.last, line.count + 1 + word.count <= Swift.max(width, 20) {
                lines[lines.count - 1] = "\(line) \(word)"
            } else {
                lines.append(String(word))
            }
        }
        return lines.isEmpty ? [""] : lines
    }
}

extension UTCInstant {
    /// The instant in a table, whose header says that it is UTC: `2026-05-13 12:05:00`.
    var tableText: String { "\(toTheSecond)".replacing("T", with: " ").replacing("Z", with: "") }

    /// The instant in a table to the minute: `2026-05-13 12:05`.
    var minuteText: String { String(tableText.dropLast(3)) }
}
