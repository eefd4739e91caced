import Foundation
import TestServers

/// The files of the repository, by paths that begin at its root.
enum SourceTree {
    /// Returns the Swift files below a folder, sorted. Does not follow symbolic links.
    static func swiftFiles(in folder: String) throws -> [String] { try files(in: folder, withExtensions: ["swift"]) }

    /// Returns the files below a folder that have one of the extensions, sorted.
    static func files(in folder: String, withExtensions extensions: Set<String>) throws -> [String] {
        let names = FileManager.default.enumerator(atPath: Repository.root.appendingPathComponent(folder).path)
        return (names?.allObjects as? [String] ?? []).filter { extensions.contains(($0 as NSString).pathExtension) }
            .map { "\(folder)/\($0)" }.sorted()
    }

    /// Returns the lines of a file.
    static func lines(of file: String) throws -> [String] { try Repository.text(file).components(separatedBy: "\n") }

    /// The documents for users and contributors.
    static func documents() throws -> [String] {
        try ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md"]
            + files(in: "docs", withExtensions: ["md"])
            + files(in: "Benchmarks", withExtensions: ["md"]).filter {
                !$0.contains(".build/")
            }
    }
}
