import Heartbeats
import Postgres

/// A configuration, and where each of its values comes from.
package struct EffectiveConfiguration: Sendable {
    package internal(set) var configuration = Configuration()
    /// Variables with the prefix that name no key. Worth a warning and no more: platforms inject variables of their own.
    package internal(set) var unknownVariables: [String] = []
    /// The faults that do not concern the key that was needed.
    package internal(set) var faults: [ConfigurationFault] = []
    var sources: [String: ConfigurationSource] = [:]
    /// The file that was read.
    var path = ""

    /// A key as it is in force.
    package struct Entry: Hashable, Sendable {
        package let key: String
        /// For people: a secret is not shown.
        package let value: String
        package let source: ConfigurationSource
    }

    /// Reads all that there is: the command line before the environment, before the file, before the defaults. Nothing
    /// falls back: a malformed value is a fault also where another one takes its place.
    ///
    /// - Parameters:
    ///   - environment: the process's variables; an empty one counts as unset.
    ///   - options: key and value of what the command line sets, with the option's name.
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
            return Entry(key: setting.key, value: value, source: sources[setting.key] ?? .standard)
        }
    }

    /// Gives the keys that wait for the next start the values that they had.
    ///
    /// - Returns: those keys that had changed.
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
}
