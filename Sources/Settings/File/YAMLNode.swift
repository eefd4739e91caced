import CYaml

/// A part of a YAML file, with its place. Every value is the text that stands in the file: YAML itself would read `010` as
/// 8, `1:30` as 90 and `yes` as true.
struct YAMLNode: Sendable {
    struct Position: Hashable, Sendable {
        /// Both count from 1; the column counts characters.
        let line: Int
        let column: Int
    }

    /// A key with its place, and what stands below it.
    typealias Member = (key: String, position: Position, value: YAMLNode)

    enum Content: Sendable {
        /// Nothing stands there: `key:`.
        case empty
        case text(String)
        case mapping([Member])
        /// A list. No key takes one, so its items are not kept.
        case list
    }

    let content: Content
    let position: Position

    /// Reads a file of at most one document; a file without any is empty.
    static func compose(_ bytes: [UInt8]) throws(YAMLError) -> YAMLNode {
        // libyaml keeps pointers to the parser and to the text: neither moves until the parser is deleted.
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        precondition(yaml_parser_initialize(parser) == 1, "out of memory")
        defer { yaml_parser_delete(parser) }
        return try bytes.withUnsafeBufferPointer { text throws(YAMLError) in
            yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
            yaml_parser_set_input_string(parser, text.baseAddress, text.count)
            return try YAMLComposer(parser: parser, text: text).file()
        }
    }
}

/// The first thing in a file that is malformed, or that a configuration has no use for.
struct YAMLError: Error {
    let problem: String
    let position: YAMLNode.Position
}

/// Makes nodes of libyaml's events.
private struct YAMLComposer {
    // Both belong to `YAMLNode.compose`, which waits for the composer to end.
    let parser: UnsafeMutablePointer<yaml_parser_t>
    let text: UnsafeBufferPointer<UInt8>

    private struct Event {
        let type: yaml_event_type_t
        let position: YAMLNode.Position
        /// The text of a scalar; empty for other events.
        var text = ""
        var isPlain = false
    }

    /// Twice the depth that the configuration's own levels need.
    private static let depthLimit = 8

    func file() throws(YAMLError) -> YAMLNode {
        // The stream begins.
        _ = try next()
        guard try next().type == YAML_DOCUMENT_START_EVENT else {
            return YAMLNode(content: .empty, position: .init(line: 1, column: 1))
        }
        let root = try node(try next(), depth: 1)
        // The document ends.
        _ = try next()
        let end = try next()
        guard end.type == YAML_STREAM_END_EVENT else {
            throw YAMLError(problem: "a second document begins here", position: end.position)
        }
        return root
    }

    private func node(_ first: Event, depth: Int) throws(YAMLError) -> YAMLNode {
        guard depth <= Self.depthLimit else {
            throw YAMLError(problem: "deeper than any key can be", position: first.position)
        }
        var content: YAMLNode.Content
        switch first.type {
        case YAML_SCALAR_EVENT: content = first.isPlain && first.text.isEmpty ? .empty : .text(first.text)
        case YAML_MAPPING_START_EVENT:
            var members: [YAMLNode.Member] = []
            while let key = try item() {
                guard key.type == YAML_SCALAR_EVENT else {
                    throw YAMLError(problem: "expected a key, which is one text", position: key.position)
                }
                members.append((key.text, key.position, try node(try next(), depth: depth + 1)))
            }
            content = .mapping(members)
        case YAML_SEQUENCE_START_EVENT:
            content = .list
            while let item = try item() { _ = try node(item, depth: depth + 1) }
        default: throw syntaxError("a value is missing", at: first.position)
        }
        return YAMLNode(content: content, position: first.position)
    }

    /// The beginning of the next part of a mapping or a list; `nil` at its end.
    private func item() throws(YAMLError) -> Event? {
        let event = try next()
        return event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT ? nil : event
    }

    private func next() throws(YAMLError) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else { throw failure() }
        defer { yaml_event_delete(&event) }
        let position = YAMLNode.Position(event.start_mark)
        // The structures of scalars, mappings and lists all begin with anchor and tag, so `scalar` reads those of each.
        let isStart = [YAML_SCALAR_EVENT, YAML_MAPPING_START_EVENT, YAML_SEQUENCE_START_EVENT].contains(event.type)
        let scalar = event.data.scalar
        if event.type == YAML_ALIAS_EVENT || isStart && scalar.anchor != nil {
            throw YAMLError(
                problem:
                    "anchors (&) and aliases (*) are not supported; a value that begins with * has to stand in quotes",
                position: position)
        }
        if isStart, scalar.tag != nil { throw YAMLError(problem: "tags (!) are not supported", position: position) }
        guard event.type == YAML_SCALAR_EVENT else { return Event(type: event.type, position: position) }
        // libyaml has checked that it is UTF-8, and says how long it is.
        let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
        return Event(
            type: event.type, position: position, text: text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE)
    }

    private func failure() -> YAMLError {
        let parser = parser.pointee
        let problem = parser.problem.map { String(cString: $0) } ?? "unreadable"
        guard parser.error == YAML_READER_ERROR else {
            return syntaxError(problem, at: YAMLNode.Position(parser.problem_mark))
        }
        // For a reader error, such as invalid UTF-8, libyaml gives only the byte offset.
        let before = text.prefix(Int(parser.problem_offset))
        // Characters: bytes other than UTF-8's continuations.
        let column = before.reversed().prefix { $0 != 10 }.count { $0 & 0xC0 != 0x80 } + 1
        return syntaxError(problem, at: .init(line: before.count { $0 == 10 } + 1, column: column))
    }

    private func syntaxError(_ problem: String, at position: YAMLNode.Position) -> YAMLError {
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let indent = lines.dropFirst(position.line - 1).first?.prefix { $0 == 9 || $0 == 32 } ?? []
        let why =
            indent.contains(9)
            ? "a tab cannot indent a line; use spaces"
            : "\(problem); a value that begins with *, @, %, &, !, { or [ has to stand in quotes"
        return YAMLError(problem: "no YAML: \(why)", position: position)
    }
}

extension YAMLNode.Position {
    fileprivate init(_ mark: yaml_mark_t) { self.init(line: Int(mark.line) + 1, column: Int(mark.column) + 1) }
}
