import Postgres
import SessionCleanup

/// Reads one layer of the configuration over another, and collects what is wrong.
struct ConfigurationReader {
    private(set) var configuration = Configuration()
    private(set) var sources: [String: ConfigurationSource] = [:]
    private(set) var unknownVariables: [String] = []
    private(set) var faults: [ConfigurationFault] = []
    private var path = ""

    /// The levels below which all keys stand, but for the jobs' names.
    private static let sections = Set(Setting.general.map(\.section)).union(["jobs"])

    // MARK: The file

    mutating func read(_ file: ConfigurationFile) {
        path = file.path
        let root: YAMLNode
        do {
            root = try YAMLNode.compose(file.bytes)
        } catch {
            return faults.append(malformed(error, in: file.bytes))
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
                return faults.append(.jobName(member.key, at: place(member.position)))
            }
            configuration.ownJobs.append(.own(named: member.key))
        }
        let settings = Setting<Job>.all(of: configuration[job: member.key]).map { $0.lifted(to: member.key) }
        for entry in entries { read(entry, below: section, settings: settings) }
        for key in isKnown ? [] : Job.ownKeys + ["schedule"] where !entries.contains(where: { $0.key == key }) {
            faults.append(.missingKey("\(section).\(key)", at: place(member.position)))
        }
    }

    private mutating func read(_ member: YAMLNode.Member, below section: String, settings: [Setting<Configuration>]) {
        guard let setting = settings.first(where: { $0.key == "\(section).\(member.key)" }) else {
            let known = settings.map { String($0.key.dropFirst(section.count + 1)) }
            return reportUnknown(member.key, below: section, known: known, at: member.position)
        }
        switch member.value.content {
        case .text(let text): apply(text, to: setting, from: place(member.value.position))
        case .empty: apply("", to: setting, from: place(member.value.position))
        case .mapping, .list:
            faults.append(
                .notAValue(
                    setting.key, at: place(member.value.position),
                    expected: "a value such as \(setting.isSecret ? "off" : setting.text(configuration))"))
        }
    }

    /// The keys below a section; each once.
    private mutating func members(of node: YAMLNode, key: String) -> [YAMLNode.Member] {
        switch node.content {
        case .empty: return []
        case .text, .list:
            faults.append(.notASection(key, at: place(node.position)))
            return []
        case .mapping(let members):
            var lines: [String: Int] = [:]
            return members.filter { member in
                if let line = lines[member.key] {
                    faults.append(.duplicateKey(member.key, at: place(member.position), firstLine: line))
                    return false
                }
                lines[member.key] = member.position.line
                return true
            }
        }
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
        faults.append(
            .unknownKey(section.map { "\($0).\(key)" } ?? key, at: place(position), suggestion: suggestion))
    }

    private func malformed(_ error: YAMLError, in bytes: [UInt8]) -> ConfigurationFault {
        switch error {
        case .malformed(let position, let problem):
            let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            let indent = lines.dropFirst(position.line - 1).first?.prefix { $0 == 9 || $0 == 32 } ?? []
            guard !indent.contains(9) else {
                return .malformed(at: place(position), "no YAML: a tab cannot indent a line; use spaces")
            }
            let advice = "a value that begins with *, @, %, &, !, { or [ has to stand in quotes"
            return .malformed(at: place(position), "no YAML: \(problem); \(advice)")
        case .tooDeep(let position): return .malformed(at: place(position), "deeper than any key can be")
        case .anchorOrAlias(let position):
            return .malformed(
                at: place(position),
                "anchors (&) and aliases (*) are not supported; a value that begins with * has to stand in quotes")
        case .tag(let position): return .malformed(at: place(position), "tags (!) are not supported")
        case .secondDocument(let position): return .malformed(at: place(position), "a second document begins here")
        case .keyIsNoText(let position): return .malformed(at: place(position), "expected a key, which is one text")
        case .outOfMemory: return .malformed(at: .file(path: path, line: 1, column: 1), "out of memory")
        }
    }

    // MARK: The environment and the command line

    mutating func read(variables: [String: String]) {
        var settings: [String: Setting<Configuration>] = [:]
        for setting in Setting.all(of: configuration) {
            if let other = settings.updateValue(setting, forKey: setting.variable) {
                faults.append(.variableClash(setting.variable, keys: [other.key, setting.key]))
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

    private mutating func apply(
        _ text: String, to setting: Setting<Configuration>, from source: ConfigurationSource
    ) {
        do throws(Expectation) {
            guard
                text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control || $0 == "\n" || $0 == "\t" }
                )
            else { throw Expectation("text without control characters") }
            try setting.apply(text, &configuration)
            sources[setting.key] = source
        } catch {
            let expected = MisplacedURL.isIn(text) ? error.expected : error.description
            faults.append(
                .value(
                    key: setting.key, shown: setting.isSecret ? "not shown here" : text.shown, at: source,
                    expected: expected))
        }
    }
}

extension Setting {
    /// The part of the key before its first dot.
    fileprivate var section: String { String(key.prefix { $0 != "." }) }
}
