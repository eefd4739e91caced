import CYaml

/// A part of a YAML file, with its place. Every value is the text that stands in the file: YAML itself would read `010` as
/// 8, `1:30` as 90 and `yes` as true.
struct YAMLNode: Sendable {
    struct Position: Hashable, Sendable {
        /// Both count from 1, in characters.
        let line: Int
        let column: Int
    }

    struct Member: Sendable {
        let key: String
        let position: Position
        let value: YAMLNode
    }

    enum Content: Sendable {
        /// Nothing stands there: `key:`.
        case empty
        case text(String)
        case mapping([Member])
        /// No key takes one, so that what is in it does not matter.
        case list
    }

    let content: Content
    let position: Position

    /// Reads a file of one document; one without any is empty.
    ///
    /// - Throws: `YAMLError` for the first thing that is malformed, or that a configuration has no use for.
    static func compose(_ bytes: [UInt8]) throws(YAMLError) -> YAMLNode {
        // libyaml keeps the addresses of its own structure and of the text: neither moves until it is deleted.
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        precondition(yaml_parser_initialize(parser) == 1, "out of memory")
        defer { yaml_parser_delete(parser) }
        return try bytes.withUnsafeBufferPointer { text throws(YAMLError) in
            yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
            yaml_parser_set_input_string(parser, text.baseAddress, text.count)
            var composer = YAMLComposer(parser: parser, text: text)
            return try composer.file()
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

    private enum Event {
        case text(String, isPlain: Bool), mapping, list, end, document, streamEnd, other
    }

    /// Twice what the configuration's own levels need.
    private static let depthLimit = 8

    mutating func file() throws(YAMLError) -> YAMLNode {
        // The stream begins.
        _ = try next()
        guard case .document = try next().event else {
            return YAMLNode(content: .empty, position: .init(line: 1, column: 1))
        }
        let root = try node(try next(), depth: 1)
        // The document ends.
        _ = try next()
        let (event, position) = try next()
        guard case .streamEnd = event else {
            throw YAMLError(problem: "a second document begins here", position: position)
        }
        return root
    }

    private mutating func node(
        _ first: (event: Event, position: YAMLNode.Position), depth: Int
    ) throws(YAMLError) -> YAMLNode {
        guard depth <= Self.depthLimit else {
            throw YAMLError(problem: "deeper than any key can be", position: first.position)
        }
        let content: YAMLNode.Content
        switch first.event {
        case .text(let text, let isPlain): content = isPlain && text.isEmpty ? .empty : .text(text)
        case .mapping: content = .mapping(try members(depth: depth))
        case .list: content = try list(depth: depth)
        case .end, .document, .streamEnd, .other: throw syntaxError("a value is missing", at: first.position)
        }
        return YAMLNode(content: content, position: first.position)
    }

    private mutating func members(depth: Int) throws(YAMLError) -> [YAMLNode.Member] {
        var members: [YAMLNode.Member] = []
        // Ends: the text does.
        while true {
            let (event, position) = try next()
            switch event {
            case .end: return members
            case .text(let key, _):
                members.append(.init(key: key, position: position, value: try node(try next(), depth: depth + 1)))
            case .mapping, .list, .document, .streamEnd, .other:
                throw YAMLError(problem: "expected a key, which is one text", position: position)
            }
        }
    }

    private mutating func list(depth: Int) throws(YAMLError) -> YAMLNode.Content {
        // Ends: the text does.
        while true {
            let item = try next()
            if case .end = item.event { return .list }
            _ = try node(item, depth: depth + 1)
        }
    }

    private mutating func next() throws(YAMLError) -> (event: Event, position: YAMLNode.Position) {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else { throw failure() }
        defer { yaml_event_delete(&event) }
        let position = YAMLNode.Position(event.start_mark)
        let scalar = event.data.scalar
        switch event.type {
        case YAML_SCALAR_EVENT, YAML_MAPPING_START_EVENT, YAML_SEQUENCE_START_EVENT:
            // The structures of all three begin with these two.
            if scalar.anchor != nil { throw anchorOrAlias(at: position) }
            if scalar.tag != nil { throw YAMLError(problem: "tags (!) are not supported", position: position) }
            guard event.type == YAML_SCALAR_EVENT else {
                return (event.type == YAML_MAPPING_START_EVENT ? .mapping : .list, position)
            }
            // libyaml has checked that it is UTF-8, and says how long it is.
            let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            return (.text(text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE), position)
        case YAML_MAPPING_END_EVENT, YAML_SEQUENCE_END_EVENT: return (.end, position)
        case YAML_DOCUMENT_START_EVENT: return (.document, position)
        case YAML_STREAM_END_EVENT: return (.streamEnd, position)
        case YAML_ALIAS_EVENT: throw anchorOrAlias(at: position)
        default: return (.other, position)
        }
    }

    private func anchorOrAlias(at position: YAMLNode.Position) -> YAMLError {
        YAMLError(
            problem: "anchors (&) and aliases (*) are not supported; a value that begins with * has to stand in quotes",
            position: position)
    }

    private func failure() -> YAMLError {
        let parser = parser.pointee
        let problem = parser.problem.map { String(cString: $0) } ?? "unreadable"
        // Of a text that cannot even be read, libyaml knows the offset only.
        if parser.error == YAML_READER_ERROR {
            let before = text.prefix(Int(parser.problem_offset))
            let column = before.reversed().prefix { $0 != 10 }.count + 1
            return syntaxError(problem, at: .init(line: before.count { $0 == 10 } + 1, column: column))
        }
        return syntaxError(problem, at: YAMLNode.Position(parser.problem_mark))
    }

    private func syntaxError(_ problem: String, at position: YAMLNode.Position) -> YAMLError {
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let indent = lines.dropFirst(position.line - 1).first?.prefix { $0 == 9 || $0 == 32 } ?? []
        guard !indent.contains(9) else {
            return YAMLError(problem: "no YAML: a tab cannot indent a line; use spaces", position: position)
        }
        return YAMLError(
            problem: "no YAML: \(problem); a value that begins with *, @, %, &, !, { or [ has to stand in quotes",
            position: position)
    }
}

extension YAMLNode.Position {
    fileprivate init(_ mark: yaml_mark_t) { self.init(line: Int(mark.line) + 1, column: Int(mark.column) + 1) }
}
