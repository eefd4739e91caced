import Postgres

/// A configuration, and where each of its values comes from.
package struct EffectiveConfiguration: Sendable {
    package private(set) var configuration = Configuration()
    /// Variables with the prefix that name no key. Worth a warning and no more: platforms inject variables of their own.
    package private(set) var unknownVariables: [String] = []
    /// What is wrong, but for the key that was needed.
    package private(set) var faultsElsewhere: ConfigurationFaults?
    private var sources: [String: ConfigurationSource] = [:]

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
        let variables = environment.filter { $0.key.hasPrefix(SettingNames.prefix) && !$0.value.isEmpty }
        // The usual start: nothing to read, so that not even the list of keys is made.
        if file == nil, variables.isEmpty, options.isEmpty { return }
        var reader = ConfigurationReader()
        if let file { reader.read(file) }
        reader.read(variables: variables)
        reader.read(options: options)
        if !reader.faults.isEmpty {
            let faults = ConfigurationFaults(faults: reader.faults)
            guard let key, !faults.faults.contains(where: { $0.isAbout(key) }) else { throw faults }
            faultsElsewhere = faults
        }
        configuration = reader.configuration
        unknownVariables = reader.unknownVariables
        sources = reader.sources
    }

    /// Every key in force, in the order of the documentation.
    package var entries: [Entry] { entries { shownValue(of: $0) } }

    /// As `entries`, with secrets in them: never for people.
    var entriesWithSecrets: [Entry] { entries { $0.text(configuration) } }

    private func entries(value: (Setting<Configuration>) -> String) -> [Entry] {
        Setting.all(of: configuration).map { setting in
            Entry(key: setting.key, value: value(setting), source: sources[setting.key] ?? .standard)
        }
    }

    private func shownValue(of setting: Setting<Configuration>) -> String {
        guard setting.isSecret else {
            let text = setting.text(configuration)
            return MisplacedURL.isInValid(text) ? "…" : text
        }
        // The ellipsis makes it no URL: a copy of what is shown is refused instead of called.
        switch setting.key {
        case "notify.success-url": return configuration.successHeartbeat.map { "\($0)" } ?? "off"
        case "notify.failure-url": return configuration.failureHeartbeat.map { "\($0)" } ?? "off"
        default: return "…"
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
