import Time

extension EffectiveConfiguration {
    /// The configuration in force as a file that could be used again, with each value's source beside it.
    package var yaml: String { yaml(entries: entries) }

    func yaml(entries: [Entry]) -> String {
        var text = ""
        var levels: [Substring] = []
        for entry in entries {
            let path = entry.key.split(separator: ".")
            let parents = path.dropLast()
            let shared = zip(parents, levels).prefix { $0 == $1 }.count
            for depth in shared..<parents.count { text += "\(Self.indent(depth))\(parents[depth]):\n" }
            levels = Array(parents)
            let line = "\(Self.indent(parents.count))\(path[parents.count]): \(entry.value.asYAML)"
            let gap = String(repeating: " ", count: max(2, Self.sourceColumn - line.count))
            text += "\(line)\(gap)# \(entry.source.description.asComment)\n"
        }
        return text
    }

    private static let sourceColumn = 44

    private static func indent(_ depth: Int) -> String { String(repeating: "  ", count: depth) }
}

extension String {
    /// A YAML scalar of this text: plain where nothing in it means anything to YAML.
    fileprivate var asYAML: String {
        let isPlain =
            utf8.first.map(Self.isAlphanumeric) ?? false
            && utf8.allSatisfy { Self.isAlphanumeric($0) || [45, 46, 47, 95].contains($0) }
        if isPlain { return self }
        var quoted = "\""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case " "..."~": quoted.unicodeScalars.append(scalar)
            default:
                let hex = String(scalar.value, radix: 16, uppercase: true)
                quoted += "\\U" + String(repeating: "0", count: 8 - hex.count) + hex
            }
        }
        return quoted + "\""
    }

    /// The text on one line.
    fileprivate var asComment: String { visible }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
