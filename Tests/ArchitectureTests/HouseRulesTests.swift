import Foundation
import Testing
import Time

/// The rules of the house that a reader should be able to rely on: ARCHITECTURE.md.
@Suite struct HouseRulesTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// What each target may import: imports go one way.
    private static let imports: [String: Set<String>] = [
        "TimerWheel": ["BasicContainers"],
        "Time": ["Dispatch", "Glibc", "Synchronization", "TimerWheel"],
        "CleanupSchedule": ["Time"],
        "Postgres": ["Time", "CLibpq", "Dispatch", "Glibc", "Synchronization"],
        "SessionCleanup": ["Time", "CleanupSchedule", "Dispatch", "Glibc", "Postgres", "Synchronization"],
        "Settings": ["Time", "CYaml", "CleanupSchedule", "Glibc", "Heartbeats", "Postgres", "SessionCleanup"],
        "Systemd": ["CSystemd", "Dispatch", "Glibc", "Synchronization"],
        "CleanupDaemon": [
            "Time", "CTimerfd", "CleanupSchedule", "Dispatch", "Glibc", "Logging", "Postgres", "ServiceLifecycle",
            "SessionCleanup", "Synchronization", "Systemd", "TimerWheel",
        ],
        "Heartbeats": ["Time", "COpenSSL", "Dispatch", "Glibc", "Synchronization"],
        "Monitoring": [
            "Time", "CleanupDaemon", "CleanupSchedule", "CoreMetrics", "Glibc", "HTTPTypes", "HummingbirdCore",
            "Logging",
            "NIOCore", "NIOHTTPTypes", "NIOPosix", "Postgres", "ServiceLifecycle", "SessionCleanup", "Synchronization",
        ],
        "mcp-cleanupd": [
            "Time", "ArgumentParser", "CleanupDaemon", "CleanupSchedule", "CoreMetrics", "Dispatch", "Glibc",
            "Heartbeats", "Logging", "Monitoring", "Postgres", "ServiceLifecycle", "SessionCleanup", "Settings",
            "Synchronization", "Systemd",
        ],
    ]

    private static func swiftFiles(in folder: String) throws -> [URL] {
        let files = FileManager.default.enumerator(
            at: root.appendingPathComponent(folder), includingPropertiesForKeys: nil)
        return (files?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
    }

    private static func lines(of file: URL) throws -> [String] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false).map(
            String.init)
    }

    @Test(arguments: imports.keys.sorted())
    func importsGoOneWay(target: String) throws {
        let files = try Self.swiftFiles(in: "Sources/\(target)")
        #expect(!files.isEmpty)
        for file in files {
            for line in try Self.lines(of: file) {
                let words = line.split(separator: " ").filter { !$0.hasPrefix("@") && $0 != "package" }
                guard words.first == "import", words.count > 1 else { continue }
                #expect(
                    Self.imports[target]?.contains(String(words[1])) ?? false, "\(target) must not import \(words[1])")
            }
        }
    }

    @Test func everyTargetHasItsImportsNamed() throws {
        let folders = try FileManager.default.contentsOfDirectory(
            atPath: Self.root.appendingPathComponent("Sources").path)
        let targets = try folders.filter { try !Self.swiftFiles(in: "Sources/\($0)").isEmpty }
        #expect(Set(targets) == Set(Self.imports.keys))
    }

    @Test func nothingIsMoreVisibleThanThePackage() throws {
        for file in try Self.swiftFiles(in: "Sources") {
            for line in try Self.lines(of: file) {
                let first = line.split(separator: " ").first
                #expect(first != "public" && first != "open", "\(file.lastPathComponent): \(line)")
            }
        }
    }

    @Test func filesAreShortEnoughToReadInOneSitting() throws {
        for file in try Self.swiftFiles(in: "Sources") {
            let count = try Self.lines(of: file).count
            #expect(count <= 420, "\(file.lastPathComponent) has \(count) lines: what is the second thing in it?")
        }
    }

    @Test func noFolderIsADrawerForEverything() throws {
        let drawers: Set<String> = ["utils", "common", "helpers", "extensions", "models"]
        for folder in ["Sources", "Tests"] {
            for file in try Self.swiftFiles(in: folder) {
                #expect(drawers.isDisjoint(with: file.pathComponents.map { $0.lowercased() }))
            }
        }
    }

    @Test(arguments: ["20260513010000_install_mcp_sessions", "20260513030000_install_mcp_cleanup_runs"])
    func theMigrationsInTheProgramAreThoseInTheRepository(name: String) throws {
        let file = String(name.drop { $0 != "_" }.dropFirst())
        let embedded = Self.root.appendingPathComponent("Sources/mcp-cleanupd/Migrations/\(file).sql")
        let original = Self.root.appendingPathComponent("migrations/neon/\(name).sql")
        #expect(try Data(contentsOf: embedded) == Data(contentsOf: original))
    }

    @Test func documentsNameEveryTarget() throws {
        let text = try String(contentsOf: Self.root.appendingPathComponent("ARCHITECTURE.md"), encoding: .utf8)
        for target in Self.imports.keys { #expect(text.contains(target), "ARCHITECTURE.md does not know \(target)") }
    }
}
