import Postgres
import SessionCleanup
import Time

/// Reads one layer of the configuration over another, and collects what is wrong.
extension EffectiveConfiguration {
    /// The levels below which all keys stand, but for the jobs' names.
    private static let sections = Set(Setting.general.map(\.section)).union(["jobs"])

    // MARK: The file

    mutating func read(_ file: ConfigurationFile) {
        path = file.path
        let root: YAMLNode
        do {
            root = try YAMLNode.compose(file.bytes)
        } catch {
            return report(error.problem, at: error.position)
        }
        for member in members(of: root, key: "the file") {
            switch member.key {
            case "jobs":
                for job in members(of: member.value, key: "jobs") { readJob(job) }
            case let section where Self.sections.contains(section):
                let settings = Setting.general.filter { $0.section == section }
                for entry in members(of: member.value, key: section) {
                    read(entry, below: section, settings: settings)
                }
            default:
                reportUnknown(member.key, below: nil, known: Self.sections.sorted(), at: member.position)
            }
        }
    }

    private mutating func readJob(_ member: YAMLNode.Member) {
        let section = "jobs.\(member.key)"
        let entries = members(of: member.value, key: section)
        let isKnown = configuration.jobs.contains { $0.name == member.key }
        if !isKnown {
            let meant = configuration.jobs.first { $0.isNamed(member.key) }?.name
            guard meant == nil, entries.contains(where: { Job.ownKeys.contains($0.key) }) else {
                let known = meant.map { [$0] } ?? configuration.jobs.map(\.name)
                return reportUnknown(member.key, below: "jobs", known: known, at: member.position)
            }
            guard Job.isValidName(member.key) else {
                return report(
                    "\(member.key.shown) is no name for a job; expected a letter, then letters, digits, - and _, at most 63 in all",
                    at: member.position)
            }
            configuration.jobs.append(.own(named: member.key))
        }
        let settings = Setting.all(of: configuration[job: member.key])
        for entry in entries { read(entry, below: section, settings: settings) }
        for key in isKnown ? [] : Job.ownKeys + ["schedule"] where !entries.contains(where: { $0.key == key }) {
            report("the key \(section).\(key) is missing, and has no default", at: member.position)
        }
    }

    private mutating func read(_ member: YAMLNode.Member, below section: String, settings: [Setting]) {
        guard let setting = settings.first(where: { $0.key == "\(section).\(member.key)" }) else {
            let known = settings.map { String($0.key.dropFirst(section.count + 1)) }
            return reportUnknown(member.key, below: section, known: known, at: member.position)
        }
        switch member.value.content {
        case .text(let text): apply(text, to: setting, from: place(member.value.position))
        case .empty: apply("", to: setting, from: place(member.value.position))
        case .mapping, .list:
            let value = setting.isSecret ? "off" : setting.text(configuration)
            report(
                "the key \(setting.key) has no single value; expected a value such as \(value)",
                at: member.value.position, about: setting.key)
        }
    }

    /// The keys below a section; each once.
    private mutating func members(of node: YAMLNode, key: String) -> [YAMLNode.Member] {
        switch node.content {
        case .empty: return []
        case .text, .list:
            let example = MisplacedURL.isIn(key) ? "" : ", such as \(key.visible): { … }"
            report("\(key.shown) has a value; expected keys below it\(example)", at: node.position, about: key)
            return []
        case .mapping(let members):
            var lines: [String: Int] = [:]
            return members.filter { member in
                if let line = lines[member.key] {
                    report(
                        "the key \(member.key.shown) appears again; it is in line \(line) already", at: member.position)
                    return false
                }
                lines[member.key] = member.position.line
                return true
            }
        }
    }

    /// To the column, as editors jump to it.
    private mutating func report(_ problem: String, at position: YAMLNode.Position, about subject: String? = nil) {
        let place = "\(path.withoutURL):\(position.line):\(position.column)"
        faults.append(ConfigurationFault(description: "\(place): \(problem)", subject: subject))
    }

    private func place(_ position: YAMLNode.Position) -> ConfigurationSource {
        .file(path: path, line: position.line, column: position.column)
    }

    private mutating func reportUnknown(
        _ key: String, below section: String?, known: [String], at position: YAMLNode.Position
    ) {
        let suggestion: String
        if key == "<<" {
            suggestion = "merge keys are not supported: write the values out"
        } else if let near = key.nearest(of: known) ?? (known.count == 1 ? known[0] : nil) {
            suggestion = "did you mean \(near)?"
        } else if let elsewhere = Setting.all(of: configuration).first(where: { $0.key.hasSuffix("." + key) }) {
            suggestion = "did you mean \(elsewhere.key)?"
        } else if key.lowercased().contains("url") {
            suggestion = "the database URL never comes from this file: see NEON_DATABASE_URL and --database-url-file"
        } else {
            let own = section == "jobs" ? "; a job of your own has table, where and schedule" : ""
            suggestion = "there are \(known.joined(separator: ", "))\(own)"
        }
        let whole = section.map { "\($0).\(key)" } ?? key
        report("there is no key \(whole.shown); \(suggestion)", at: position)
    }

    // MARK: The environment and the command line

    mutating func read(variables: [String: String]) {
        var settings: [String: Setting] = [:]
        for setting in Setting.all(of: configuration) {
            if let other = settings.updateValue(setting, forKey: setting.variable) {
                let keys = "the keys \(other.key) and \(setting.key)"
                faults.append(
                    ConfigurationFault(
                        description:
                            "\(keys) would both be the environment variable \(setting.variable); rename a job"))
            }
        }
        for (variable, value) in variables.sorted(by: { $0.key < $1.key }) {
            guard let setting = settings[variable] else {
                unknownVariables.append(variable)
                continue
            }
            apply(value, to: setting, from: .variable(variable))
        }
    }

    mutating func read(options: [(option: String, key: String, value: String)]) {
        for (option, key, value) in options {
            guard let setting = Setting.general.first(where: { $0.key == key }) else { continue }
            apply(value, to: setting, from: .option(option))
        }
    }

    private mutating func apply(_ text: String, to setting: Setting, from source: ConfigurationSource) {
        let isText = text.unicodeScalars.allSatisfy {
            $0.properties.generalCategory != .control || $0 == "\n" || $0 == "\t"
        }
        do throws(Expectation) {
            guard isText else { throw Expectation(expected: "text without control characters") }
            try setting.apply(text, &configuration)
            sources[setting.key] = source
        } catch {
            let place =
                switch source {
                case .file(let path, let line, let column):
                    "\(path.withoutURL):\(line):\(column): the key \(setting.key)"
                case .standard, .variable, .option: "\(source) (the key \(setting.key))"
                }
            let shown = setting.isSecret ? "not shown here" : text.shown
            let expected = MisplacedURL.isIn(text) ? error.expected : error.description
            faults.append(
                ConfigurationFault(
                    description: "\(place) is \(shown); expected \(expected)", subject: setting.key))
        }
    }
}

extension Setting {
    /// The part of the key before its first dot.
    fileprivate var section: String { String(key.prefix { $0 != "." }) }
}
