import Postgres
import Time

/// All that is wrong with a configuration, together.
package struct ConfigurationFaults: Error, Hashable, Sendable, CustomStringConvertible {
    package let faults: [ConfigurationFault]

    /// The most faults that are shown: more than one correction deals with.
    private static let shown = 50

    /// One line for each.
    package var description: String {
        var lines = faults.prefix(Self.shown).map(\.description)
        if faults.count > Self.shown { lines.append("and \(faults.count - Self.shown) more") }
        return lines.joined(separator: "\n")
    }
}

/// One thing that is wrong with a configuration.
package enum ConfigurationFault: Hashable, Sendable, CustomStringConvertible {
    case unreadable(path: String, FileUnreadable)
    /// The file as a whole cannot be understood; in words what was found there.
    case malformed(at: ConfigurationSource, String)
    case unknownKey(String, at: ConfigurationSource, suggestion: String)
    case duplicateKey(String, at: ConfigurationSource, firstLine: Int)
    case missingKey(String, at: ConfigurationSource)
    case jobName(String, at: ConfigurationSource)
    /// A value stands where keys belong.
    case notASection(String, at: ConfigurationSource)
    /// Keys, or a list, stand where a value belongs.
    case notAValue(String, at: ConfigurationSource, expected: String)
    /// The value as it may be shown: never a secret.
    case value(key: String, shown: String, at: ConfigurationSource, expected: String)
    case variableClash(String, keys: [String])

    /// Whether the key's own value is what is wrong.
    func isAbout(_ key: String) -> Bool {
        switch self {
        case .value(let wrong, _, _, _), .notAValue(let wrong, _, _): wrong == key
        case .notASection(let section, _): key.hasPrefix(section + ".")
        case .unreadable, .malformed, .unknownKey, .duplicateKey, .missingKey, .jobName, .variableClash: false
        }
    }

    package var description: String {
        switch self {
        case .unreadable(let path, let why): "the configuration file \(path.withoutURL) cannot be read: \(why)"
        case .malformed(let place, let found): "\(place.forFault): \(found)"
        case .unknownKey(let key, let place, let suggestion):
            "\(place.forFault): there is no key \(key.shown); \(suggestion)"
        case .duplicateKey(let key, let place, let line):
            "\(place.forFault): the key \(key.shown) appears again; it is in line \(line) already"
        case .missingKey(let key, let place): "\(place.forFault): the key \(key) is missing, and has no default"
        case .jobName(let name, let place):
            "\(place.forFault): \(name.shown) is no name for a job; expected a letter, then letters, digits, - and _, at most "
                + "63 in all"
        case .notASection(let key, let place):
            "\(place.forFault): \(key.shown) has a value; expected keys below it"
                + (MisplacedURL.isIn(key) ? "" : ", such as \(key.visible): { … }")
        case .notAValue(let key, let place, let expected):
            "\(place.forFault): the key \(key) has no single value; expected \(expected)"
        case .value(let key, let shown, .variable(let variable), let expected):
            "\(variable) (the key \(key)) is \(shown); expected \(expected)"
        case .value(let key, let shown, let place, let expected):
            "\(place.forFault): the key \(key) is \(shown); expected \(expected)"
        case .variableClash(let variable, let keys):
            "the keys \(keys.joined(separator: " and ")) would both be the environment variable \(variable); "
                + "rename a job"
        }
    }
}

extension ConfigurationSource {
    /// To the column, as editors jump to it.
    fileprivate var forFault: String {
        switch self {
        case .file(let path, let line, let column): "\(path.withoutURL):\(line):\(column)"
        case .standard, .variable, .option: "\(self)"
        }
    }
}

extension String {
    /// The text in quotes, on one line and not longer than a line; or words that stand for it, if it looks like a URL.
    package var shown: String {
        if MisplacedURL.isIn(self) { return MisplacedURL.replacement }
        let limit = 120
        var text = "“"
        for scalar in unicodeScalars.prefix(limit) {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse:
                text += "\\u{\(String(scalar.value, radix: 16))}"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + (unicodeScalars.count > limit ? "…”" : "”")
    }

    /// Returns the candidate that a typo would turn into this text; `nil` if none is near.
    package func nearest(of candidates: [String]) -> String? {
        // Longer than any key, and than a typo.
        guard utf8.count <= 64 else { return nil }
        let near = candidates.map { (name: $0, distance: distance(to: $0)) }.min { $0.distance < $1.distance }
        guard let near, near.distance <= Swift.max(1, near.name.utf8.count / 3) else { return nil }
        return near.name
    }

    /// The number of letters to insert, delete or replace: Levenshtein's distance.
    private func distance(to other: String) -> Int {
        let (from, to) = (Array(lowercased().utf8), Array(other.lowercased().utf8))
        var row = Array(0...to.count)
        for (line, letter) in from.enumerated() {
            var diagonal = row[0]
            row[0] = line + 1
            for column in to.indices {
                let replaced = diagonal + (letter == to[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = Swift.min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[to.count]
    }
}
