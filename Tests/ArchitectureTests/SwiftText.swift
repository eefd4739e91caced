import Foundation

/// A Swift file, each line split into code, comments and the contents of string literals.
///
/// Knows just as much of Swift as the rules need: nested comments, raw and multi-line strings, interpolations, and regex
/// literals on one line.
struct SwiftText {
    struct Line {
        /// Without comments; string literals are empty, their interpolations kept.
        var code = ""
        /// The text of comments, without their slashes.
        var comment = ""
        /// The contents of string literals, without their interpolations.
        var literal = ""

        /// All that is written for people.
        var prose: String { comment + " " + literal }
    }

    private enum State: Equatable {
        case code
        case lineComment
        case blockComment(depth: Int)
        case string(hashes: Int, isMultiLine: Bool)
        case regex
    }

    private(set) var lines: [Line] = []

    private let bytes: [UInt8]
    private var position = 0
    private var state = State.code
    /// The strings around the interpolation at `position`, with the open parentheses inside it.
    private var outer: [(string: State, parentheses: Int)] = []
    private var code: [UInt8] = []
    private var comment: [UInt8] = []
    private var literal: [UInt8] = []

    init(_ text: String) {
        bytes = Array(text.utf8)
        while position < bytes.count { step() }
        endLine()
    }

    private func isNext(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard position + count <= bytes.count else { return false }
        return text.withUTF8Buffer { wanted in (0..<count).allSatisfy { bytes[position + $0] == wanted[$0] } }
    }

    private mutating func endLine() {
        lines.append(
            Line(
                code: String(decoding: code, as: UTF8.self), comment: String(decoding: comment, as: UTF8.self),
                literal: String(decoding: literal, as: UTF8.self)))
        (code, comment, literal) = ([], [], [])
    }

    private mutating func step() {
        if bytes[position] == UInt8(ascii: "\n") {
            if state == .lineComment || state == .regex { state = .code }
            endLine()
            position += 1
            return
        }
        switch state {
        case .code: stepInCode()
        case .lineComment: take(into: \.comment)
        case .blockComment(let depth): stepInBlockComment(depth)
        case .string(let hashes, let isMultiLine): stepInString(hashes, isMultiLine)
        case .regex: stepInRegex()
        }
    }

    private mutating func take(_ count: Int = 1, into part: WritableKeyPath<Self, [UInt8]>) {
        for _ in 0..<count where position < bytes.count {
            self[keyPath: part].append(bytes[position])
            position += 1
        }
    }

    private mutating func stepInCode() {
        if isNext("//") {
            state = .lineComment
            while position < bytes.count, bytes[position] == UInt8(ascii: "/") { position += 1 }
        } else if isNext("/*") {
            state = .blockComment(depth: 1)
            position += 2
        } else if beginsString() {
            return
        } else if beginsRegex() {
            state = .regex
            take(into: \.code)
        } else {
            trackParentheses()
        }
    }

    private mutating func stepInBlockComment(_ depth: Int) {
        if isNext("*/") {
            state = depth == 1 ? .code : .blockComment(depth: depth - 1)
            position += 2
        } else if isNext("/*") {
            state = .blockComment(depth: depth + 1)
            position += 2
        } else {
            take(into: \.comment)
        }
    }

    /// Begins the string literal at `position`, if there is one.
    private mutating func beginsString() -> Bool {
        var end = position
        while end < bytes.count, bytes[end] == UInt8(ascii: "#") { end += 1 }
        guard end < bytes.count, bytes[end] == UInt8(ascii: "\"") else { return false }
        let hashes = end - position
        position = end
        let isMultiLine = isNext("\"\"\"")
        position += isMultiLine ? 3 : 1
        code += Array("\"".utf8)
        state = .string(hashes: hashes, isMultiLine: isMultiLine)
        return true
    }

    private func areNextHashes(_ count: Int, after offset: Int) -> Bool {
        guard position + offset + count <= bytes.count else { return false }
        return (0..<count).allSatisfy { bytes[position + offset + $0] == UInt8(ascii: "#") }
    }

    private mutating func stepInString(_ hashes: Int, _ isMultiLine: Bool) {
        if bytes[position] == UInt8(ascii: "\\"), areNextHashes(hashes, after: 1) {
            let next = position + 1 + hashes
            if next < bytes.count, bytes[next] == UInt8(ascii: "(") {
                outer.append((state, 1))
                state = .code
                code += Array(" (".utf8)
                literal += Array(" ".utf8)
                position = next + 1
            } else {
                // An escape is no part of a word.
                literal += Array(" ".utf8)
                position = next + 1
            }
            return
        }
        let quotes = isMultiLine ? 3 : 1
        if isMultiLine ? isNext("\"\"\"") : isNext("\""), areNextHashes(hashes, after: quotes) {
            position += quotes + hashes
            code += Array("\"".utf8)
            literal += Array(" ".utf8)
            state = .code
        } else {
            take(into: \.literal)
        }
    }

    private mutating func trackParentheses() {
        if let last = outer.indices.last {
            if bytes[position] == UInt8(ascii: "(") { outer[last].parentheses += 1 }
            if bytes[position] == UInt8(ascii: ")") { outer[last].parentheses -= 1 }
            if outer[last].parentheses == 0 {
                take(into: \.code)
                state = outer.removeLast().string
                return
            }
        }
        take(into: \.code)
    }

    /// True for a slash that follows no operand, precedes no space, and has another slash behind it on the same line.
    private func beginsRegex() -> Bool {
        guard bytes[position] == UInt8(ascii: "/"), position + 1 < bytes.count,
            !" \n".utf8.contains(bytes[position + 1])
        else { return false }
        let before = code.last { $0 != UInt8(ascii: " ") }
        guard before == nil || "(,=:[{".utf8.contains(before ?? 0) else { return false }
        return bytes[(position + 1)...].prefix { $0 != UInt8(ascii: "\n") }.contains(UInt8(ascii: "/"))
    }

    private mutating func stepInRegex() {
        if bytes[position] == UInt8(ascii: "\\") {
            position += 2
        } else if bytes[position] == UInt8(ascii: "/") {
            take(into: \.code)
            state = .code
        } else {
            position += 1
        }
    }
}
