import Foundation
import TestServers
import Testing

/// Style that needs no reviewer: a failure names file, line and remedy.
@Suite struct TidyTests {
    private static let files = Result {
        try (SourceTree.swiftFiles(in: "Sources") + SourceTree.swiftFiles(in: "Tests")).map {
            (name: $0, text: SwiftText(try Repository.text($0)))
        }
    }

    private static func sources() throws -> [(name: String, text: SwiftText)] {
        try files.get().filter { $0.name.hasPrefix("Sources/") }
    }

    private func expectNone(_ findings: [(file: String, findings: [Finding])]) {
        for (file, findings) in findings {
            for finding in findings { Issue.record("\(file):\(finding)") }
        }
    }

    @Test func filesAreShortEnoughToReadInOneSitting() throws {
        expectNone(
            try Self.sources().map { ($0.name, TidyRules.fileLength($0.text)) })
    }

    @Test func functionsAreShortEnoughToSeeAtOnce() throws {
        expectNone(
            try Self.files.get().map { ($0.name, TidyRules.functionLengths($0.text)) })
    }

    @Test func escapeHatchesCarryTheirProof() throws {
        expectNone(
            try Self.sources().map { ($0.name, TidyRules.escapeHatchesWithoutProof($0.text)) })
    }

    @Test func commentsAndMessagesUsePlainWords() throws {
        // The rules themselves contain the words.
        let code = try Self.files.get().filter {
            !$0.name.hasSuffix("TidyRules.swift") && !$0.name.hasSuffix("TidyRuleTests.swift")
        }
        expectNone(
            code.map { ($0.name, TidyRules.wordsToReplace($0.text.lines.map(\.prose))) })
    }

    @Test func documentsUsePlainWords() throws {
        var files =
            try SourceTree.documents() + SourceTree.files(in: "config", withExtensions: ["yaml", "yml", "rules"])
        files += try SourceTree.files(in: "migrations", withExtensions: ["sql"])
        files += try SourceTree.files(in: "demo", withExtensions: ["sh", "sql"])
        files += [
            "Makefile", "Containerfile", "Package.swift", "scripts/install-tools", "scripts/run-tests", ".ci/run",
        ]
        // CONTRIBUTING.md names some of the words, as words to avoid.
        expectNone(
            try files.filter { $0 != "CONTRIBUTING.md" }.map {
                ($0, TidyRules.wordsToReplace(try SourceTree.lines(of: $0)))
            })
    }

    @Test func foldersHoldFewFiles() throws {
        let folders = Dictionary(grouping: try SourceTree.swiftFiles(in: "Sources")) {
            ($0 as NSString).deletingLastPathComponent
        }
        expectNone(
            folders.sorted { $0.key < $1.key }.map { folder, files in
                let limit = TidyRules.fullestFolder
                return (
                    folder,
                    files.count <= limit
                        ? []
                        : [
                            Finding(
                                line: files.count, problem: "more than \(limit) files: give a subject its own folder")
                        ]
                )
            })
    }
}
