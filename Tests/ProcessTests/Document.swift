import Foundation
import TestServers

/// A page of the documentation, split into the parts that tests check.
///
/// A block ```` ```console ```` shows a terminal: `$ ` begins a command, `> ` continues it, and the lines after it are its
/// output, where `…` stands for any text. A command ends with exit code 0, unless `$ echo $?` follows and shows another. A
/// comment `<!-- given: COMMAND -->` is run before the block.
struct Document {
    struct Step {
        var command: String
        /// `nil` for a command in a comment, which a reader does not see.
        var output: [String]?
    }

    /// README.md, and all of docs/.
    static let paths: [String] = {
        // Empty if the folder cannot be read: then a test fails because documents are missing.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: Repository.root.path + "/docs")) ?? []
        return ["README.md"] + names.filter { $0.hasSuffix(".md") }.sorted().map { "docs/" + $0 }
    }()

    let path: String
    let text: String

    init(_ path: String) throws {
        self.path = path
        text = try Repository.text(path)
    }

    var lines: [String] { text.components(separatedBy: "\n") }

    /// The commands in the order of the page.
    var steps: [Step] {
        var steps: [Step] = []
        var isInside = false
        for line in lines {
            if line.hasPrefix("```") {
                isInside = line == "```console"
            } else if line.hasPrefix("<!-- given: "), line.hasSuffix(" -->") {
                steps.append(Step(command: String(line.dropFirst(12).dropLast(4)), output: nil))
            } else if isInside, line.hasPrefix("$ ") {
                steps.append(Step(command: String(line.dropFirst(2)), output: []))
            } else if isInside, line.hasPrefix("> "), steps.last?.output == [] {
                steps[steps.count - 1].command += "\n" + line.dropFirst(2)
            } else if isInside {
                steps[steps.count - 1].output?.append(line)
            }
        }
        return steps
    }

    /// The lines of code blocks, fenced or indented.
    var codeLines: [String] {
        var isInside = false
        return lines.compactMap { line in
            if line.hasPrefix("```") { isInside.toggle() }
            return isInside || line.hasPrefix("    ") ? line.trimmingCharacters(in: .whitespaces) : nil
        }
    }

    /// The texts between backquotes.
    var codeSpans: [String] { text.matches(of: /`([^`\n]+)`/).map { String($0.1) } }

    /// The anchors that links can name, made from the headings as GitHub does.
    var anchors: [String] {
        lines.filter { $0.hasPrefix("#") }.map { line in
            String(
                line.drop { $0 == "#" }.dropFirst().lowercased().compactMap { character in
                    if character == " " { return "-" }
                    return character.isLetter || character.isNumber || "-_".contains(character) ? character : nil
                })
        }
    }

    /// The first cells of a section's table rows.
    func firstCells(under heading: String) -> [String] {
        lines.drop { $0 != heading }.dropFirst().prefix { !$0.hasPrefix("## ") }.filter { $0.hasPrefix("| ") }.map {
            $0.components(separatedBy: " | ")[0]
        }
    }

    /// True if the text matches the document: the document's pieces between `…` follow one another in the text, from its
    /// beginning to its end.
    static func shows(_ shown: [String], _ actual: String) -> Bool {
        let pieces = normal(shown.joined(separator: "\n")).components(separatedBy: "…")
        var rest = normal(actual)[...]
        guard pieces.count > 1 else { return pieces[0] == rest }
        for (index, piece) in pieces.enumerated() where !piece.isEmpty {
            if index == 0 {
                guard rest.hasPrefix(piece) else { return false }
                rest = rest.dropFirst(piece.count)
            } else if index == pieces.count - 1 {
                return rest.hasSuffix(piece)
            } else {
                guard let found = rest.range(of: piece) else { return false }
                rest = rest[found.upperBound...]
            }
        }
        return true
    }

    /// Removes white space at the ends of lines, and empty lines at the beginning and the end.
    private static func normal(_ text: String) -> String {
        text.components(separatedBy: "\n").map { $0.replacing(/\s+$/, with: "") }.joined(separator: "\n")
            .trimmingCharacters(in: .newlines)
    }
}
