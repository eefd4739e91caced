import Glibc
import Postgres
import SessionCleanup
import Time

/// A configuration file's path, and its bytes as they were when it was read.
package typealias ConfigurationFile = (path: String, bytes: [UInt8])

/// Reads the layers of the configuration, each over the ones before it, and collects the faults.
extension EffectiveConfiguration {
    /// The file that is used where it exists and no other is named.
    package static let standardPath = "/etc/mcp-cleanupd/config.yaml"

    /// Returns the file that `--config` names, which has to be there, or the one at the standard place; `nil` if there is none.
    ///
    /// - Parameter wasThere: true if the file was read before. If it has vanished since, that is a mistake, not a wish
    ///   for defaults.
    package static func file(
        option: String?, standardPath: String = standardPath, wasThere: Bool = false
    ) throws(ConfigurationFaults) -> ConfigurationFile? {
        let path = option ?? standardPath
        do {
            // 256 KiB hold a thousand own jobs.
            return (path, try BoundedFile.read(path, limit: 256 * 1024))
        } catch .system(ENOENT) where option == nil && !wasThere {
            return nil
        } catch {
            let problem = "the configuration file \(path.withoutURL) cannot be read: \(error)"
            throw ConfigurationFaults(faults: [ConfigurationFault(description: problem)])
        }
    }

    /// The names of the top-level sections, which hold all keys.
    private static let sections = Set(Setting.general.map { String($0.key.prefix { $0 != "." }) }).union(["jobs"])

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
                let settings = Setting.general.filter { $0.key.hasPrefix(section + ".") }
                read(members(of: member.value, key: section), below: section, settings)
            default:
                reportUnknown(member.key, below: nil, known: Self.sections.sorted(), at: member.position)
            }
        }
    }

    private mutating func readJob(_ member: YAMLNode.Member) {
        let section = "jobs.\(member.key)"
        let entries = members(of: member.value, key: section)
        let known = configuration.jobs.firstIndex { $0.name == member.key }
        if known == nil {
            let meant = configuration.jobs.first { $0.isNamed(member.key) }?.name
            guard meant == nil, entries.contains(where: { Job.ownKeys.contains($0.key) }) else {
                let names = meant.map { [$0] } ?? configuration.jobs.map(\.name)
                return reportUnknown(member.key, below: "jobs", known: names, at: member.position)
            }
            // A name has to fit into a metric's label, a variable and a key, and be no longer than one in the database.
            guard member.key.first?.isLetter == true, (1...63).contains(member.key.utf8.count),
                member.key.allSatisfy({ $0.isAlphanumeric || "-_".contains($0) })
            else {
                return report(
                    "\(member.key.shown) is no name for a job; expected a letter, then letters, digits, - and _, at most 63 in all",
                    at: member.position)
            }
            configuration.jobs.append(.own(named: member.key))
        }
        let index = known ?? configuration.jobs.count - 1
        read(entries, below: section, Setting.all(ofJobAt: index, in: configuration))
        for key in known == nil ? Job.ownKeys + ["schedule"] : [] where !entries.contains(where: { $0.key == key }) {
            report("the key \(section).\(key) is missing, and has no default", at: member.position)
        }
    }

    private mutating func read(_ members: [YAMLNode.Member], below section: String, _ settings: [Setting]) {
        for member in members {
            guard let setting = settings.first(where: { $0.key == "\(section).\(member.key)" }) else {
                let known = settings.map { String($0.key.dropFirst(section.count + 1)) }
                reportUnknown(member.key, below: section, known: known, at: member.position)
                continue
            }
            let position = member.value.position
            let source = "\(shownPath):\(position.line)"
            switch member.value.content {
            case .text(let text): apply(text, to: setting, from: source, at: position)
            case .empty: apply("", to: setting, from: source, at: position)
            case .mapping, .list:
                let value = setting.isSecret ? "off" : setting.text(configuration)
                report(
                    "the key \(setting.key) has no single value; expected a value such as \(value)", at: position,
                    about: setting.key)
            }
        }
    }

    /// The keys below a section. Of a repeated key only the first counts; the others are reported.
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
                guard let line = lines[member.key] else {
                    lines[member.key] = member.position.line
                    return true
                }
                report("the key \(member.key.shown) appears again; it is in line \(line) already", at: member.position)
                return false
            }
        }
    }

    private var shownPath: String { path?.withoutURL ?? "" }

    /// - Parameter position: reported with its column, to which editors can jump; `nil` for a fault outside the file.
    private mutating func report(_ problem: String, at position: YAMLNode.Position?, about subject: String? = nil) {
        let place = position.map { "\(shownPath):\($0.line):\($0.column): " } ?? ""
        faults.append(ConfigurationFault(description: place + problem, subject: subject))
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

    mutating func read(variables: [String: String]) {
        var settings: [String: Setting] = [:]
        for setting in Setting.all(of: configuration) {
            guard let other = settings.updateValue(setting, forKey: setting.variable) else { continue }
            let keys = "the keys \(other.key) and \(setting.key)"
            report("\(keys) would both be the environment variable \(setting.variable); rename a job", at: nil)
        }
        for (variable, value) in variables.sorted(by: { $0.key < $1.key }) {
            if let setting = settings[variable] {
                apply(value, to: setting, from: variable)
            } else {
                unknownVariables.append(variable)
            }
        }
    }

    mutating func read(options: [(option: String, key: String, value: String)]) {
        for (option, key, value) in options {
            guard let setting = Setting.general.first(where: { $0.key == key }) else { continue }
            apply(value, to: setting, from: option)
        }
    }

    private mutating func apply(
        _ text: String, to setting: Setting, from source: String, at position: YAMLNode.Position? = nil
    ) {
        let isText = text.unicodeScalars.allSatisfy {
            $0.properties.generalCategory != .control || $0 == "\n" || $0 == "\t"
        }
        do throws(Expectation) {
            guard isText else { throw Expectation(expected: "text without control characters") }
            try setting.apply(text, &configuration)
            sources[setting.key] = source
        } catch {
            let key = position == nil ? "\(source) (the key \(setting.key))" : "the key \(setting.key)"
            let shown = setting.isSecret ? "not shown here" : text.shown
            let expected = MisplacedURL.isIn(text) ? error.expected : error.description
            report("\(key) is \(shown); expected \(expected)", at: position, about: setting.key)
        }
    }
}
