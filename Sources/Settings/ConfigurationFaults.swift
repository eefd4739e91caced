import Postgres

/// All faults of a configuration, reported together.
package struct ConfigurationFaults: Error, Hashable, Sendable, CustomStringConvertible {
    package let faults: [ConfigurationFault]

    /// A line for each fault, 50 at most: more than one correction deals with.
    package var description: String {
        let rest = faults.count > 50 ? ["and \(faults.count - 50) more"] : []
        return (faults.prefix(50).map(\.description) + rest).joined(separator: "\n")
    }
}

/// One thing that is wrong with a configuration.
package struct ConfigurationFault: Hashable, Sendable, CustomStringConvertible {
    /// For the operator; never with a secret.
    package let description: String
    /// The key whose own value is wrong, or the section that has a value instead of keys; `nil` for any other fault.
    var subject: String?

    /// True if the fault is in the value of this key, or of a section that it is in.
    func isAbout(_ key: String) -> Bool { subject.map { key == $0 || key.hasPrefix($0 + ".") } ?? false }
}

extension String {
    /// The text in quotes, escaped to one line and cut after 120 characters; a placeholder if it looks like a URL.
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
        // A longer text is no key with a typo in it.
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
