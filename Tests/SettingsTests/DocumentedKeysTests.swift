import Foundation
import SessionCleanup
import TestServers
import Testing

@testable import Settings

/// The sample file and docs/configuration.md say what the code does.
@Suite struct DocumentedKeysTests {
    private func text(_ path: String) throws -> String { try Repository.text(path) }

    @Test func theSampleHasEveryKeyWithItsDefaultAndAReason() throws {
        let text = try text("config/mcp-cleanupd.yaml")
        let effective = try EffectiveConfiguration(
            file: (path: "sample", bytes: Array(text.utf8)))
        #expect(effective.configuration == Configuration())
        let lines = text.components(separatedBy: "\n")
        let defaults = try EffectiveConfiguration().entries
        #expect(effective.entries.map(\.value) == defaults.map(\.value))
        for entry in effective.entries {
            guard entry.source.hasPrefix("sample:"), let line = Int(entry.source.dropFirst(7)) else {
                Issue.record("the sample lacks \(entry.key)")
                continue
            }
            #expect(lines[line - 2].trimmingCharacters(in: .whitespaces).hasPrefix("# "), "\(entry.key) has no reason")
        }
    }

    @Test func theSamplesOwnJobIsOne() throws {
        let lines = try text("config/mcp-cleanupd.yaml").components(separatedBy: "\n")
        let start = try #require(lines.firstIndex { $0.hasPrefix("  # oauth-codes:") })
        let job = lines[start...].prefix { $0.hasPrefix("  # ") }.map {
            $0.replacingOccurrences(of: "  # ", with: "  ")
        }
        let file = (path: "sample", bytes: Array((["jobs:"] + job).joined(separator: "\n").utf8))
        #expect(try EffectiveConfiguration(file: file).configuration.jobs.last?.name == "oauth-codes")
    }

    @Test func theSampleMarksWhatWaitsForARestart() throws {
        let lines = try text("config/mcp-cleanupd.yaml").components(separatedBy: "\n")
        let bytes = Array(lines.joined(separator: "\n").utf8)
        let effective = try EffectiveConfiguration(file: (path: "sample", bytes: bytes))
        for (setting, entry) in zip(Setting.all(of: effective.configuration), effective.entries) {
            guard entry.source.hasPrefix("sample:"), let line = Int(entry.source.dropFirst(7)) else { continue }
            #expect(lines[line - 2].contains("At a restart.") == setting.isFixed, "\(setting.key)")
        }
    }

    @Test func theDocumentHasEveryKeyWithItsDefault() throws {
        let rows = try text("docs/configuration.md").components(separatedBy: "\n").filter { $0.hasPrefix("| `") }.map {
            $0.components(separatedBy: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let names = Configuration().jobs.map(\.name)
        var expected: [String: [String]] = [:]
        for entry in try EffectiveConfiguration().entries {
            var key = entry.key
            if !rows.contains(where: { $0[1] == "`\(key)`" }) {
                for name in names { key = key.replacingOccurrences(of: "jobs.\(name).", with: "jobs.NAME.") }
            }
            if !(expected[key]?.contains("`\(entry.value)`") ?? false) {
                expected[key, default: []].append("`\(entry.value)`")
            }
        }
        for key in Job.ownKeys { expected["jobs.NAME.\(key)"] = [""] }
        // 1m and 60s are the same.
        let documented = Dictionary(uniqueKeysWithValues: rows.map { ($0[1], $0[2]) })
        for (key, values) in expected {
            let found = documented["`\(key)`"]
            #expect(found.map(normal) == normal(values.joined(separator: ", ")), "\(key)")
        }
        let keys = Set(rows.map { $0[1] }.filter { $0.contains(".") })
        #expect(keys == Set(expected.keys.map { "`\($0)`" }))
    }

    private func normal(_ values: String) -> String {
        values.components(separatedBy: ", ").map { value in
            let text = value.trimmingCharacters(in: CharacterSet(charactersIn: "`"))
            // A text that is no duration stays as it is.
            return (try? ValueGrammar<Duration>.duration.read(text)).map(ValueGrammar<Duration>.duration.write) ?? text
        }.joined(separator: ", ")
    }
}
