import CleanupDaemon
import Foundation
import TestServers
import Testing

/// What the package is made of, as far as it can be judged without installing it.
@Suite struct PackageTests {
    private static func text(_ path: String) throws -> String {
        try String(contentsOf: Repository.root.appendingPathComponent(path), encoding: .utf8)
    }

    @Test func theManualPageIsUpToDate() async throws {
        let result = try await Command.check(
            "/bin/sh", ["-c", "\"$0\" --experimental-dump-help | cksum", Command.daemon])
        let checksum = result.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let page = try Self.text("packaging/mcp-cleanupd.1")
        #expect(
            page.split(separator: "\n").first?.hasSuffix("checksum \(checksum)") ?? false,
            "the commands say something else of themselves: make manual")
    }

    @Test func theCatalogExplainsEachKindOfEntry() async throws {
        let catalog = try Self.text("systemd/mcp-cleanupd.catalog")
        let explained = catalog.split(separator: "\n").filter { $0.hasPrefix("-- ") }.map { String($0.dropFirst(3)) }
        #expect(explained == MessageID.allCases.map(\.rawValue))
        #expect(Set(explained).count == explained.count)
        for field in catalog.matches(of: /@MCP_CLEANUP_([A-Z_]+)@/).map(\.output.1) {
            #expect(["JOB", "ROWS_DELETED"].contains(field), "no entry has the field \(field)")
        }
    }

    /// By what the linker is given: a dependency's dependency counts, and what only tests use does not.
    @Test func theCopyrightNamesEachPackageThatIsLinked() throws {
        let copyright = try Self.text("packaging/copyright")
        let list = URL(fileURLWithPath: try Command.daemon).deletingLastPathComponent()
            .appendingPathComponent("mcp-cleanupd.product/Objects.LinkFileList")
        let objects = try String(contentsOf: list, encoding: .utf8)
        let targets = Set(objects.matches(of: /\/([^\/]+)\.build\//).map { String($0.1) })
        // SCRATCH/TRIPLE/debug/TARGET.build/FILE.o
        let scratch = try #require(objects.firstMatch(of: /.*(?=\/[^\/]+\/[^\/]+\/[^\/]+\.build\/)/)).output
        let checkouts = "\(scratch)/checkouts"
        let packages = try FileManager.default.contentsOfDirectory(atPath: checkouts).filter { package in
            targets.contains { FileManager.default.fileExists(atPath: "\(checkouts)/\(package)/Sources/\($0)") }
        }
        #expect(packages.count > 8)
        for package in packages {
            #expect(try copyright.contains(Regex("\\b\(package)[,; ]")), "packaging/copyright lacks \(package)")
        }
    }

    @Test func bothServicesLiveInTheSameSandbox() throws {
        func sandbox(_ unit: String) throws -> [Substring] {
            let lines = try Self.text("systemd/\(unit)").split(separator: "\n")
            let begin = try #require(lines.firstIndex { $0.hasPrefix("# It needs no files") })
            let end = try #require(lines.lastIndex { $0.hasPrefix("SystemCallErrorNumber=") })
            return Array(lines[begin...end])
        }
        #expect(try sandbox("mcp-cleanupd.service") == sandbox("mcp-cleanupd-once@.service"))
    }

    @Test(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/systemd-analyze"),
            "systemd-analyze is missing: apt-get install systemd"))
    func systemdFindsNothingWrongWithTheUnits() async throws {
        let directory = try TemporaryDirectory.make()
        let units = try FileManager.default.contentsOfDirectory(
            atPath: Repository.root.appendingPathComponent("systemd").path
        ).filter { $0.hasSuffix(".service") || $0.hasSuffix(".timer") }
        #expect(units.count == 4)
        for unit in units {
            // Where the program is not installed, another one stands in for it.
            try Self.text("systemd/\(unit)").replacing("/usr/bin/mcp-cleanupd", with: "/bin/true").write(
                toFile: "\(directory)/\(unit)", atomically: false, encoding: .utf8)
        }
        let verified = try await Command.run(
            "/usr/bin/systemd-analyze", ["verify", "--man=no"] + units.map { "\(directory)/\($0)" })
        #expect(verified.status == 0 && verified.output.isEmpty && verified.error.isEmpty, "\(verified)")
        for unit in units where unit.hasSuffix(".service") {
            // 12: an exposure of 1.2.
            let security = try await Command.run(
                "/usr/bin/systemd-analyze",
                ["security", "--no-pager", "--offline=true", "--threshold=12", "\(directory)/\(unit)"])
            #expect(security.status == 0, "\(security.output.suffix(200))")
        }
    }

    @Test(.slow, .enabled(if: DebianMachine.package != nil, "there is no package: make deb"))
    func itHasAllOfTheDocumentsAndTheConfiguration() async throws {
        let files = try await Command.check(
            "/usr/bin/dpkg-deb", ["--contents", try #require(DebianMachine.package)])
        let documents = "./usr/share/doc/mcp-cleanupd"
        for (folder, destination) in [("docs", "docs"), ("config", "examples")] {
            let names = try FileManager.default.subpathsOfDirectory(
                atPath: Repository.root.appendingPathComponent(folder).path)
            #expect(!names.isEmpty)
            for name in names {
                #expect(files.output.contains("\(documents)/\(destination)/\(name)"), "it lacks \(folder)/\(name)")
            }
        }
    }

    @Test(
        .slow,
        .enabled(
            if: DebianMachine.package != nil && FileManager.default.isExecutableFile(atPath: "/usr/bin/lintian"),
            "there is no package, or no lintian: make deb, scripts/install-tools check"))
    func lintianFindsNoError() async throws {
        let package = try #require(DebianMachine.package)
        let result = try await Command.run(
            "/usr/bin/lintian", ["--fail-on", "error", package],
            environment: ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"])
        #expect(result.status == 0, "\(result.output)")
        let size = try FileManager.default.attributesOfItem(atPath: package)[.size] as? Int
        // Megabytes matter on an image; 8 is what it aims for, far above what it has.
        #expect(try #require(size) < 8_000_000)
    }
}
