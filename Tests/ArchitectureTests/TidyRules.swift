import Foundation

/// A place that breaks a rule.
struct Finding: Equatable, CustomStringConvertible {
    let line: Int
    let problem: String
    var description: String { "\(line): \(problem)" }
}

/// The rules of style that a machine can check. Each returns the places of one file that break it.
enum TidyRules {
    static let longestFile = 400
    static let longestFunction = 60
    static let fullestFolder = 12

    static func fileLength(_ text: SwiftText) -> [Finding] {
        // The last line is empty: a file ends with a line break.
        let count = text.lines.count - 1
        guard count > longestFile else { return [] }
        return [
            Finding(line: count, problem: "more than \(longestFile) lines: move its second subject to another file")
        ]
    }

    static func functionLengths(_ text: SwiftText) -> [Finding] {
        functions(in: text).compactMap { first, last in
            let count = last - first + 1
            guard count > longestFunction else { return nil }
            return Finding(line: first + 1, problem: "a function of \(count) lines; at most \(longestFunction)")
        }
    }

    /// The first and last lines, from 0, of all functions that have a body.
    private static func functions(in text: SwiftText) -> [(Int, Int)] {
        var result: [(Int, Int)] = []
        var (depth, parentheses) = (0, 0)
        /// The function whose body has not begun yet.
        var declared: Int?
        var open: [(line: Int, depth: Int)] = []
        let declarations = Set(declaration.matches(in: text.lines.map(\.code)).map(\.line))
        for (number, line) in text.lines.enumerated() {
            if declarations.contains(number) { (declared, parentheses) = (number, 0) }
            for character in line.code.utf8 {
                switch character {
                case UInt8(ascii: "("), UInt8(ascii: "["): parentheses += 1
                case UInt8(ascii: ")"), UInt8(ascii: "]"): parentheses -= 1
                case UInt8(ascii: "{"):
                    if let line = declared, parentheses == 0 {
                        open.append((line, depth))
                        declared = nil
                    }
                    depth += 1
                case UInt8(ascii: "}"):
                    // The end of a protocol, whose last requirement has no body.
                    if parentheses == 0 { declared = nil }
                    depth -= 1
                    if let last = open.last, last.depth == depth {
                        open.removeLast()
                        result.append((last.line, number))
                    }
                default: break
                }
            }
        }
        return result
    }

    private static let declaration = Pattern(#"\bfunc |(?:^|(?<= ))(?:init|subscript)[?<(]|\bdeinit \{"#)

    private static let escapeHatches: [(name: String, pattern: Pattern)] = [
        ("as!", Pattern(#"\bas!"#)), ("try!", Pattern(#"\btry!"#)), ("try?", Pattern(#"\btry\?"#)),
        ("a forced unwrap", Pattern(#"(?<!\bas)(?<!\btry)[A-Za-z0-9_)\]]!(?!=)"#)),
        ("@unchecked Sendable", Pattern("@unchecked Sendable")),
        ("nonisolated(unsafe)", Pattern(#"nonisolated\(unsafe\)"#)),
        ("an unsafe pointer", Pattern(#"\bUnsafe[A-Za-z]*Pointer\b"#)),
        ("an unstructured task", Pattern(#"\bTask(?:\.detached)? ?[({]"#)), ("fatalError", Pattern(#"\bfatalError\("#)),
    ]

    /// Each escape hatch needs a comment that proves it right: on its line, the line before, or the line after. Lines with
    /// escape hatches that follow each other share one.
    static func escapeHatchesWithoutProof(_ text: SwiftText) -> [Finding] {
        var names = [String?](repeating: nil, count: text.lines.count)
        let code = text.lines.map(\.code)
        for hatch in escapeHatches {
            for match in hatch.pattern.matches(in: code) { names[match.line] = names[match.line] ?? hatch.name }
        }
        func hasComment(_ number: Int) -> Bool {
            text.lines.indices.contains(number) && !text.lines[number].comment.isEmpty
        }
        var (findings, number) = ([Finding](), 0)
        while number < names.count {
            guard let name = names[number] else {
                number += 1
                continue
            }
            let end = names[number...].firstIndex { $0 == nil } ?? names.count
            if !((number - 1)...end).contains(where: hasComment) {
                findings.append(Finding(line: number + 1, problem: "\(name) without a comment that proves it right"))
            }
            number = end
        }
        return findings
    }

    /// Words that hide who does what, and what to write instead.
    private static let bannedWords: [(pattern: Pattern, instead: String)] = [
        (#"(?:no|some|any)body(?!@)"#, "name it: no client, another process, an operator"),
        ("whoever", "name it: the client that, the process that"),
        ("whatever", "any, every, or the thing itself"),
        ("anew", "again"),
        ("for ever", "forever, or the bound"),
        ("mend(?:s|ed|ing)?", "repair, correct"),
        ("(?:go|goes|going|gone|went) on with", "resume, continue"),
        ("let(?:s|ting)? go of", "release, delete, close"),
        ("gravest", "most severe"),
        ("so many", "the number, or the limit"),
        ("for so long", "the duration"),
        ("hear(?:s|d)? of", "receives, is notified of"),
        ("(?:tell|tells|told|telling) of", "report"),
        ("last words", "final statement, closing UPDATE"),
        ("(?:im)?patien(?:ce|t|tly)", "timeout, time limit"),
        ("hurried(?:ly)?", "urgent, with a short deadline"),
        ("judg(?:e|es|ed|ing)", "check, evaluate, decide"),
        ("signs? of life", "heartbeat"),
        ("way there and back", "round trip"),
        ("of one's own", "your own"),
    ].map { (Pattern(#"\b(?:"# + $0.replacing(" ", with: #"\s+"#) + #")\b"#), $1) }

    /// Checks text for people: comments, literals, documents. Finds a phrase that is broken across two lines too.
    static func wordsToReplace(_ lines: [String]) -> [Finding] {
        bannedWords.flatMap { word in
            word.pattern.matches(in: lines).map {
                Finding(line: $0.line + 1, problem: "\"\($0.text)\"; write instead: \(word.instead)")
            }
        }.sorted { $0.line < $1.line }
    }
}

/// A regular expression that is searched for in many lines at once: Swift's own takes ten times as long.
struct Pattern: Sendable {
    private let expression: NSRegularExpression

    init(_ pattern: String) {
        do {
            expression = try NSRegularExpression(pattern: pattern, options: [.caseInsensitive, .anchorsMatchLines])
        } catch {
            preconditionFailure("a pattern of this file is wrong: \(error)")
        }
    }

    /// The matches, each with the number of the line where it begins, from 0, and its text on one line.
    func matches(in lines: [String]) -> [(line: Int, text: String)] {
        let text = lines.joined(separator: "\n") as NSString
        var (line, position) = (0, 0)
        return expression.matches(in: text as String, range: NSRange(location: 0, length: text.length)).map { match in
            while position < match.range.location {
                if text.character(at: position) == 10 { line += 1 }
                position += 1
            }
            let words = text.substring(with: match.range).split(whereSeparator: \.isWhitespace)
            return (line, words.joined(separator: " "))
        }
    }
}
