import Heartbeats
import Postgres
import Time

/// A configuration, and where each of its values comes from.
package struct EffectiveConfiguration: Sendable {
    package internal(set) var configuration = Configuration()
    /// Variables with the prefix that name no key. Worth a warning and no more: platforms inject variables of their own.
    package internal(set) var unknownVariables: [String] = []
    /// The faults that do not concern the key that was needed.
    package internal(set) var faults: [ConfigurationFault] = []
    /// Where each value comes from that is no default, by its key.
    var sources: [String: String] = [:]
    /// The file that was read; `nil` if none was.
    package internal(set) var path: String?

    /// A key as it is in force, for people: a secret is not shown. The source is a file with the line, a variable or an option.
    package typealias Entry = (key: String, value: String, source: String)

    /// Reads the command line before the environment, before the file, before the defaults. Nothing falls back: a malformed
    /// value is a fault also where another one takes its place.
    ///
    /// - Parameters:
    ///   - environment: the process's variables; an empty one counts as unset.
    ///   - key: the only one that is needed: faults are refused where they are this key's, and kept otherwise. Every key
    ///     that can be read has its value then.
    /// - Throws: `ConfigurationFaults` with all that is wrong.
    package init(
        file: ConfigurationFile? = nil, environment: [String: String] = [:],
        options: [(option: String, key: String, value: String)] = [], needingOnly key: String? = nil
    ) throws(ConfigurationFaults) {
        let variables = environment.filter { $0.key.hasPrefix(Setting.variablePrefix) && !$0.value.isEmpty }
        // The usual start: nothing to read, so that not even the list of keys is made.
        if file == nil, variables.isEmpty, options.isEmpty { return }
        if let file { read(file) }
        read(variables: variables)
        read(options: options)
        let isFit = key.map { key in !faults.contains { $0.isAbout(key) } } ?? faults.isEmpty
        guard isFit else { throw ConfigurationFaults(faults: faults) }
    }

    /// Every key in force, in the order of the documentation.
    package var entries: [Entry] {
        Setting.all(of: configuration).map { setting in
            var value = setting.text(configuration)
            if setting.isSecret {
                // The ellipsis makes it no URL: a copy of what is shown is refused instead of called.
                value = HeartbeatURL(parsing: value)?.description ?? "off"
            } else if MisplacedURL.isInValid(value) {
                value = "…"
            }
            return (setting.key, value, sources[setting.key] ?? "default")
        }
    }

    /// Gives the keys that wait for the next start the values that they had. Returns those that had changed.
    package mutating func keepFixedKeys(of earlier: EffectiveConfiguration) -> [String] {
        var kept: [String] = []
        for setting in Setting.general where setting.isFixed {
            let before = setting.text(earlier.configuration)
            guard before != setting.text(configuration) else { continue }
            do {
                try setting.apply(before, &configuration)
            } catch {
                preconditionFailure("\(setting.key) cannot be read as it was written: \(error)")
            }
            sources[setting.key] = earlier.sources[setting.key]
            kept.append(setting.key)
        }
        return kept
    }

    /// The configuration in force as a file that could be used again, with each value's source beside it.
    package var yaml: String { Self.yaml(of: entries) }

    static func yaml(of entries: [Entry]) -> String {
        var text = ""
        var levels: [Substring] = []
        for entry in entries {
            let path = entry.key.split(separator: ".")
            let shared = zip(path, levels).prefix { $0 == $1 }.count
            levels = path
            for (depth, level) in path.enumerated().dropFirst(shared) {
                let line = String(repeating: "  ", count: depth) + "\(level):"
                guard depth == path.count - 1 else {
                    text += line + "\n"
                    continue
                }
                let value = "\(line) \(entry.value.asYAML)"
                let gap = String(repeating: " ", count: max(2, 44 - value.count))
                text += "\(value)\(gap)# \(entry.source.visible)\n"
            }
        }
        return text
    }
}

extension Character {
    /// True for a letter or a digit of ASCII.
    var isAlphanumeric: Bool { isASCII && (isLetter || isNumber) }
}

extension String {
    /// A YAML scalar of this text: plain where nothing in it means anything to YAML.
    fileprivate var asYAML: String {
        if first?.isAlphanumeric ?? false, allSatisfy({ $0.isAlphanumeric || "-./_".contains($0) }) { return self }
        var quoted = ""
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
        return "\"\(quoted)\""
    }
}
