import CleanupDaemon
import Foundation
import TestServers
import Testing

/// The package's contents, as far as they can be checked without installing it.
@Suite struct PackageTests {
    private static func text(_ path: String) throws -> String {
        try String(contentsOf: Repository.root.appendingPathComponent(path), encoding: .utf8)
    }

    /// A manual page as plain text, without the hyphens' backslashes.
    private static func manual(_ page: String) throws -> String {
        try text("packaging/\(page)").replacing("\\-", with: "-")
    }

    @Test func theManualPageNamesEveryCommandAndOption() async throws {
        let help = try await Command.check(try Command.daemon, ["--experimental-dump-help"]).output
        let page = try Self.manual("mcp-cleanupd.1")
        let options = Set(help.matches(of: /"kind"\s*:\s*"long",\s*"name"\s*:\s*"([^"]+)"/).map { "--\($0.1)" })
        let commands = Set(help.matches(of: /"commandName"\s*:\s*"([^"]+)"/).map { String($0.1) })
        #expect(options.count > 8 && commands.count > 8, "\(options) \(commands)")
        for name in options.union(commands) {
            #expect(page.contains(name), "packaging/mcp-cleanupd.1 lacks \(name)")
        }
        for code in ["0", "64", "69", "70", "74", "75", "77", "78"] { #expect(page.contains(".TP\n.B \(code)\n")) }
    }

    @Test func theManualPageNamesEveryKeyWithItsDefault() async throws {
        let page = try Self.manual("mcp-cleanupd.yaml.5")
        let entries = try await Command.check(try Command.daemon, ["config", "--json"], environment: [:]).lines
        #expect(entries.count > 20)
        for entry in entries {
            let key = try #require(entry.firstMatch(of: /"key":"([^"]+)"/)).1
            let name =
                key.firstMatch(of: /^jobs\.[^.]+(\.(?!after)[a-z-]+)$/).map { "jobs. NAME \($0.1)" } ?? String(key)
            #expect(page.contains(name), "packaging/mcp-cleanupd.yaml.5 lacks \(key)")
        }
    }

    @Test func manIsContentWithThePages() async throws {
        for page in ["mcp-cleanupd.1", "mcp-cleanupd.yaml.5"] {
            let result = try await Command.run(
                "/usr/bin/man",
                [
                    "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z",
                    Repository.root.appendingPathComponent("packaging/\(page)").path,
                ],
                environment: ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""])
            #expect(result.status == 0 && result.error.isEmpty, "\(result.error)")
        }
    }

    /// As systemd-analyze(1) counts it: 1.1 alone, and 1.0 with the drop-in that docs/security.md shows.
    @Test(
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/systemd-analyze"), "needs systemd-analyze"))
    func theUnitsAreExposedAsLittleAsDocumented() async throws {
        let dropIn = try #require(try Self.text("docs/security.md").firstMatch(of: /printf '(\[Service\][^']+)' >/)).1
        let folder = try TemporaryDirectory.make()
        func exposure(of unit: String, atMost tenths: Int) async throws -> CommandResult {
            try await Command.run(
                "/usr/bin/systemd-analyze",
                ["security", "--offline=true", "--threshold=\(tenths)", "\(folder)/\(unit)"])
        }
        for unit in ["mcp-cleanupd.service", "mcp-cleanupd@.service", "mcp-cleanupd-once@.service"] {
            try Self.text("systemd/\(unit)").write(toFile: "\(folder)/\(unit)", atomically: true, encoding: .utf8)
            let alone = try await exposure(of: unit, atMost: 11)
            #expect(alone.status == 0, "\(unit): \(alone.output.suffix(100)) \(alone.error)")
            let directory = "\(folder)/\(unit).d"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try dropIn.replacing("\\n", with: "\n")
                .write(toFile: "\(directory)/network.conf", atomically: true, encoding: .utf8)
            let narrowed = try await exposure(of: unit, atMost: 10)
            #expect(narrowed.status == 0, "\(unit): \(narrowed.output.suffix(100)) \(narrowed.error)")
        }
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

    /// Reads the linker's list of object files: a dependency's dependency counts, and what only tests use does not.
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
        #expect(packages.count > 6)
        for package in packages {
            #expect(try copyright.contains(Regex("\\b\(package)[,; ]")), "packaging/copyright lacks \(package)")
        }
    }

    @Test func theServicesHaveTheSameSandbox() throws {
        func sandbox(_ unit: String) throws -> [Substring] {
            let lines = try Self.text("systemd/\(unit)").split(separator: "\n")
            let begin = try #require(lines.firstIndex { $0.hasPrefix("# It needs no files") })
            let end = try #require(lines.lastIndex { $0.hasPrefix("SystemCallErrorNumber=") })
            return Array(lines[begin...end])
        }
        for unit in ["mcp-cleanupd-once@.service", "mcp-cleanupd@.service"] {
            #expect(try sandbox(unit) == sandbox("mcp-cleanupd.service"))
        }
    }

    @Test func theInstancesDifferFromTheServiceInTheirPathsOnly() throws {
        let ours = try Self.text("systemd/mcp-cleanupd@.service")
        let service = ours.split(separator: "\n").filter {
            !$0.hasPrefix("#") && !$0.contains("mcp-cleanupd@%i.socket")
        }
        .filter { !$0.hasPrefix("Environment=") }.joined(separator: "\n")
        .replacing(" --config /etc/mcp-cleanupd/%i/config.yaml", with: "").replacing("/%i/", with: "/")
        .replacing(" (%I)", with: "")
        let lines = try Self.text("systemd/mcp-cleanupd.service").split(separator: "\n").filter { !$0.hasPrefix("#") }
        let after = "After=network.target nss-lookup.target postgresql.service"
        #expect(service == lines.filter { $0 != after }.joined(separator: "\n"))
    }

    @Test(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/systemd-analyze"),
            "systemd-analyze is missing: apt-get install systemd"))
    func systemdFindsNothingWrongWithTheUnits() async throws {
        let directory = try TemporaryDirectory.make()
        let units = try FileManager.default.contentsOfDirectory(
            atPath: Repository.root.appendingPathComponent("systemd").path
        ).filter { !$0.hasSuffix(".catalog") }
        #expect(units.count == 7)
        for unit in units {
            // Where the program is not installed, another one stands in for it.
            try Self.text("systemd/\(unit)").replacing("/usr/bin/mcp-cleanupd", with: "/bin/true").write(
                toFile: "\(directory)/\(unit)", atomically: false, encoding: .utf8)
        }
        let verified = try await Command.run(
            "/usr/bin/systemd-analyze", ["verify", "--man=no"] + units.map { "\(directory)/\($0)" })
        #expect(verified.status == 0 && verified.output.isEmpty && verified.error.isEmpty, "\(verified)")
        func expectExposure(atMost threshold: Int, of unit: String) async throws {
            let security = try await Command.run(
                "/usr/bin/systemd-analyze",
                ["security", "--no-pager", "--offline=true", "--threshold=\(threshold)", "\(directory)/\(unit)"])
            #expect(security.status == 0, "\(security.output.suffix(200))")
        }
        for unit in units where unit.hasSuffix(".service") { try await expectExposure(atMost: 11, of: unit) }
        // With the drop-in of docs/systemd.md.
        let dropIn = try #require(
            try Self.text("docs/systemd.md").firstMatch(of: /\ +IPAddressDeny=any\n +IPAddressAllow=.*\n/))
        let narrow = try Self.text("systemd/mcp-cleanupd.service").replacing(
            "[Install]", with: "\(dropIn.output.replacing("    ", with: ""))[Install]")
        try narrow.write(toFile: "\(directory)/narrow.service", atomically: false, encoding: .utf8)
        try await expectExposure(atMost: 10, of: "narrow.service")
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
            // The model of the claim is for developers.
            for name in names where !name.hasPrefix("model") {
                #expect(files.output.contains("\(documents)/\(destination)/\(name)"), "it lacks \(folder)/\(name)")
            }
        }
    }

    /// Compares the versions with those in Package.resolved.
    @Test(.slow, .enabled(if: DebianMachine.package != nil, "there is no package: make deb"))
    func theSBOMHasEachLinkedPackageWithVersionAndLicense() async throws {
        struct Document: Decodable {
            let spdxVersion: String
            let packages: [Package]
            let relationships: [Relationship]
        }
        struct Package: Decodable {
            enum CodingKeys: String, CodingKey { case id = "SPDXID", name, versionInfo, licenseDeclared }
            let id: String, name: String, versionInfo: String, licenseDeclared: String
        }
        struct Relationship: Decodable { let relatedSpdxElement: String, relationshipType: String }
        struct Resolved: Decodable { let pins: [Pin] }
        struct Pin: Decodable { let identity: String, state: [String: String] }

        let printed = try await Command.check(
            "/usr/bin/env",
            ["-C", Repository.root.path, "packaging/sbom", try #require(DebianMachine.package)])
        let document = try JSONDecoder().decode(Document.self, from: Data(printed.output.utf8))
        let resolved = try JSONDecoder().decode(Resolved.self, from: Data(Self.text("Package.resolved").utf8)).pins
        func names(_ relationship: String) -> Set<String> {
            let related = document.relationships.filter { $0.relationshipType == relationship }.map(
                \.relatedSpdxElement)
            return Set(document.packages.filter { related.contains($0.id) }.map(\.name))
        }
        #expect(document.spdxVersion == "SPDX-2.3")
        let linked = names("STATIC_LINK")
        #expect(linked.isSuperset(of: ["swift-log", "swift-nio", "libyaml-dev", "swift"]), "\(linked)")
        #expect(names("DYNAMIC_LINK").isSuperset(of: ["libc6", "libpq5"]))
        for package in document.packages where linked.contains(package.name) {
            #expect(package.licenseDeclared != "NOASSERTION", "\(package)")
            guard let pin = resolved.first(where: { $0.identity == package.name.lowercased() }) else {
                #expect(package.name == "swift" || package.name.hasSuffix("-dev"), "\(package)")
                continue
            }
            #expect(package.versionInfo == pin.state["version"], "\(package)")
        }
    }

    /// Symbols are bound before the program begins, and the tables of their addresses are read-only from then on.
    @Test(.slow, .enabled(if: DebianMachine.package != nil, "there is no package: make deb"))
    func theProgramIsLinkedWithBindNow() async throws {
        let folder = try TemporaryDirectory.make()
        try await Command.check("/usr/bin/dpkg-deb", ["--extract", try #require(DebianMachine.package), folder])
        let program = folder + "/usr/bin/mcp-cleanupd"
        let dynamic = try await Command.check("/usr/bin/readelf", ["--dynamic", "--wide", program]).output
        #expect(dynamic.contains("BIND_NOW") && dynamic.contains("NOW PIE"), "\(dynamic)")
        let segments = try await Command.check("/usr/bin/readelf", ["--segments", "--wide", program]).output
        #expect(segments.contains("GNU_RELRO"), "\(segments)")
    }

    @Test(
        .slow,
        .enabled(
            if: DebianMachine.package != nil && FileManager.default.isExecutableFile(atPath: "/usr/bin/lintian"),
            "there is no package, or no lintian: make deb, scripts/install-tools check"))
    func lintianFindsNoErrorAndNoWarning() async throws {
        let package = try #require(DebianMachine.package)
        let result = try await Command.run(
            "/usr/bin/lintian", ["--fail-on", "error,warning", package],
            environment: ["PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"])
        #expect(result.status == 0 && result.output.isEmpty, "\(result.output)")
        let size = try FileManager.default.attributesOfItem(atPath: package)[.size] as? Int
        // Size matters in an image; the limit of 8 MB is far above the package's size.
        #expect(try #require(size) < 8_000_000)
    }
}
