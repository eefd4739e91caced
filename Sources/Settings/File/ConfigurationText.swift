import Time

extension EffectiveConfiguration {
    /// The configuration in force as a file that could be used again, with each value's source beside it.
    package var yaml: String { Self.yaml(of: entries) }

    static func yaml(of entries: [Entry]) -> String {
        let indent = { (depth: Int) in String(repeating: "  ", count: depth) }
        var text = ""
        var levels: [Substring] = []
        for entry in entries {
            let path = entry.key.split(separator: ".")
            let parents = path.dropLast()
            let shared = zip(parents, levels).prefix { $0 == $1 }.count
            for depth in shared..<parents.count { text += "\(indent(depth))\(parents[depth]):\n" }
            levels = Array(parents)
            let line = "\(indent(parents.count))\(path[parents.count]): \(entry.value.asYAML)"
            let gap = String(repeating: " ", count: max(2, 44 - line.count))
            text += "\(line)\(gap)# \(entry.source.description.visible)\n"
        }
        return text
    }
}

extension String {
    /// A YAML scalar of this text: plain where nothing in it means anything to YAML.
    fileprivate var asYAML: String {
        let isPlain =
            utf8.first?.isAlphanumeric ?? false && utf8.allSatisfy { $0.isAlphanumeric || "-./_".utf8.contains($0) }
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
}
