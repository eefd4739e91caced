import Heartbeats
import Postgres
import Time

/// A configuration, and where each of its values comes from.
package struct EffectiveConfiguration: Sendable {
    package internal(set) var configuration = Configuration()
    /// Variables with the prefix that name no key. They only cause a warning: platforms inject variables of their own.
    package internal(set) var unknownVariables: [String] = []
    /// The faults that were tolerated, since they are not about the only key that was needed.
    package internal(set) var faults: [ConfigurationFault] = []
    /// The source of each value that is not a default, by its key.
    var sources: [String: String] = [:]
    /// The file that was read; `nil` if none was.
    package internal(set) var path: String?

    /// A key with its value in force, for people: no secret is shown. The source is a file's line, a variable or an
    /// option.
    package typealias Entry = (key: String, value: String, source: String)

    /// The command line overrides the environment, which overrides the file, which overrides the defaults. A malformed
    /// value is a fault even if a valid one overrides it.
    ///
    /// - Parameters:
    ///   - environment: the process's variables; an empty one counts as unset.
    ///   - key: the only key that is needed: the faults are thrown if one of them is this key's, and else kept in
    ///     `faults`. Every key that can be read has its value then.
    /// - Throws: `ConfigurationFaults` with all faults.
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
                // With its ellipsis it is no valid URL: a copy of what is shown is refused instead of called.
                value = HeartbeatURL(parsing: value)?.description ?? "off"
            } else if MisplacedURL.isInValid(value) {
                value = "…"
            }
            return (setting.key, value, sources[setting.key] ?? "default")
        }
    }

    /// Restores the earlier values of keys whose changes wait for the next start. Returns the keys that had changed.
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
    /// This text as a YAML scalar: without quotes if no character in it is special in YAML.
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
