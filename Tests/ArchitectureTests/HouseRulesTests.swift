import Foundation
import TestServers
import Testing

/// The rules of the tree that a reader can rely on: ARCHITECTURE.md.
@Suite struct HouseRulesTests {
    /// A row of ARCHITECTURE.md's import table.
    private struct Row {
        let target: String
        let imports: Set<String>
    }

    private static func table() throws -> [Row] {
        let lines = try SourceTree.lines(of: "ARCHITECTURE.md")
        let heading = try #require(lines.firstIndex(of: "| target | may import |"))
        return lines[(heading + 2)...].prefix { $0.hasPrefix("|") }.map { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            return Row(target: cells[1], imports: Set(cells[2].split(separator: ", ").map(String.init)))
        }
    }

    /// The modules that a target imports.
    private static func imports(of target: String) throws -> Set<String> {
        let words = try SourceTree.swiftFiles(in: "Sources/\(target)").flatMap(SourceTree.lines(of:)).map {
            $0.split(separator: " ").filter { !$0.hasPrefix("@") && $0 != "package" }
        }
        return Set(words.filter { $0.first == "import" && $0.count > 1 }.map { String($0[1]) })
    }

    @Test func importsAreThoseOfTheTable() throws {
        for row in try Self.table() {
            let found = try Self.imports(of: row.target)
            let new = found.subtracting(row.imports).sorted()
            #expect(new.isEmpty, "\(row.target) must not import \(new), says ARCHITECTURE.md")
            let stale = row.imports.subtracting(found).sorted()
            #expect(stale.isEmpty, "\(row.target) does not import \(stale): take it out of ARCHITECTURE.md")
        }
    }

    @Test func importsGoUpwardInTheTable() throws {
        let table = try Self.table()
        let targets = Set(table.map(\.target))
        for (number, row) in table.enumerated() {
            let below = row.imports.intersection(targets).subtracting(table[..<number].map(\.target))
            #expect(below.isEmpty, "\(row.target) imports \(below.sorted()), whose row has to come first")
        }
    }

    @Test func theTableHasEveryTarget() throws {
        let folders = try FileManager.default.contentsOfDirectory(
            atPath: Repository.root.appendingPathComponent("Sources").path)
        let targets = try folders.filter { try !SourceTree.swiftFiles(in: "Sources/\($0)").isEmpty }
        #expect(try Set(targets) == Set(Self.table().map(\.target)))
    }

    /// ARCHITECTURE.md says which file to open for which change, and has a line for every folder of Sources.
    @Test func theMapIsTrue() throws {
        let text = try Repository.text("ARCHITECTURE.md")
        let files = text.matches(of: /`((?:Sources|Tests|config|docs)\/[^`]+\.[a-z]+)`/).map { String($0.1) }
        #expect(files.count > 10)
        for file in files {
            let path = Repository.root.appendingPathComponent(file).path
            #expect(FileManager.default.fileExists(atPath: path), "ARCHITECTURE.md names \(file)")
        }
        let map = try #require(text.split(separator: "    Sources/").dropFirst().first?.split(separator: "\n\n").first)
        let words = Set(map.split(whereSeparator: \.isWhitespace))
        // Migrations has links to the SQL files, no source.
        let folders = Set(
            try SourceTree.swiftFiles(in: "Sources").flatMap { $0.split(separator: "/").dropFirst().dropLast() })
        for folder in folders { #expect(words.contains(folder), "ARCHITECTURE.md's map lacks \(folder)") }
    }

    @Test func nothingIsMoreVisibleThanThePackage() throws {
        for file in try SourceTree.swiftFiles(in: "Sources") {
            for line in try SourceTree.lines(of: file) {
                let first = line.split(separator: " ").first
                #expect(first != "public" && first != "open", "\(file): \(line)")
            }
        }
    }

    @Test func noFolderIsADrawerForEverything() throws {
        let drawers: Set<String> = ["utils", "common", "helpers", "extensions", "models"]
        for file in try SourceTree.swiftFiles(in: "Sources") + SourceTree.swiftFiles(in: "Tests") {
            #expect(drawers.isDisjoint(with: file.lowercased().split(separator: "/").map(String.init)), "\(file)")
        }
    }

    @Test(arguments: [
        "20260513010000_install_mcp_sessions", "20260513030000_install_mcp_cleanup_runs",
        "20260513050000_install_mcp_cleanup_removed",
    ])
    func theMigrationsInTheProgramAreThoseInTheRepository(name: String) throws {
        let file = String(name.drop { $0 != "_" }.dropFirst())
        let embedded = Repository.root.appendingPathComponent("Sources/mcp-cleanupd/Migrations/\(file).sql")
        let original = Repository.root.appendingPathComponent("migrations/neon/\(name).sql")
        #expect(try Data(contentsOf: embedded) == Data(contentsOf: original))
    }
}
