package import SessionCleanup

/// Everything that can be set, validated.
package struct Configuration: Hashable, Sendable {
    package var table = TableName.sessions
    package var sessionSchema = SessionSchema.auto
    package var connectTimeout = Duration.seconds(15)
    package var maxClockSkew = Duration.seconds(5 * 60)
    package var batchTargetDuration = Duration.milliseconds(50)
    package var batchMaxRows = 10_000
    package var batchPause = Duration.zero
    package var claimLease = Duration.seconds(60)
    package var historyMode = HistoryMode.auto
    package var historyRetention = Duration.seconds(30 * 86_400)
    /// `nil` is off.
    package var httpListen: ListenAddress? = .loopback
    package var shutdownTimeout = Duration.seconds(20)
    package var transient = Job.transientSessions
    package var dormant = Job.dormantSessions()

    /// In the order in which they run when they are due together.
    package var jobs: [Job] { [transient, dormant] }

    /// The defaults, changed by the variables `MCP_CLEANUP_…`.
    ///
    /// - Parameter environment: the process's variables; an empty one counts as unset.
    /// - Returns: the configuration, and the names of variables with the prefix that name no key. Those are worth a
    ///   warning and no more: platforms inject variables of their own.
    /// - Throws: `ConfigurationFaults` with all that is wrong.
    package static func load(
        environment: [String: String]
    ) throws(ConfigurationFaults) -> (configuration: Configuration, unknownVariables: [String]) {
        var configuration = Configuration()
        var faults: [ConfigurationFault] = []
        var unknown: [String] = []
        let given = environment.filter { $0.key.hasPrefix(Setting.prefix) && !$0.value.isEmpty }
        let settings =
            given.isEmpty ? [:] : Dictionary(uniqueKeysWithValues: Setting.all.map { ($0.variable, $0) })
        for (variable, value) in given.sorted(by: { $0.key < $1.key }) {
            guard let setting = settings[variable] else {
                unknown.append(variable)
                continue
            }
            do {
                try setting.apply(value, &configuration)
            } catch {
                faults.append(
                    ConfigurationFault(variable: variable, key: setting.key, value: value, expected: error.expected))
            }
        }
        guard faults.isEmpty else { throw ConfigurationFaults(faults: faults) }
        return (configuration, unknown)
    }
}

/// All that is wrong with a configuration, together.
package struct ConfigurationFaults: Error, Hashable, Sendable, CustomStringConvertible {
    package let faults: [ConfigurationFault]

    package var description: String { faults.map(\.description).joined(separator: "\n") }
}

package struct ConfigurationFault: Hashable, Sendable, CustomStringConvertible {
    package let variable: String
    package let key: String
    package let value: String
    package let expected: String

    package var description: String {
        "\(variable) (the key \(key)) is “\(value)”; expected \(expected)"
    }
}
