import Foundation
import TestServers
import Testing

/// Everything that the documents name exists: commands, options, keys, metrics, exit codes, files, sections.
@Suite struct DocumentedNamesTests {
    private static let documents = Document.paths

    // MARK: Commands

    /// The long options of each command, and under "" those of the program itself, which every command takes or refuses.
    private static func options() async throws -> [String: Set<String>] {
        let help = try await Command.check(Command.daemon, ["--experimental-dump-help"], environment: [:])
        let document = try JSONSerialization.jsonObject(with: Data(help.output.utf8)) as? [String: Any]
        let program = try #require(document?["command"] as? [String: Any])
        func names(_ command: [String: Any]) -> Set<String> {
            let arguments = command["arguments"] as? [[String: Any]] ?? []
            return Set(
                arguments.flatMap { $0["names"] as? [[String: Any]] ?? [] }.compactMap { $0["name"] as? String })
        }
        var options = ["": names(program)]
        for command in program["subcommands"] as? [[String: Any]] ?? [] {
            if let name = command["commandName"] as? String { options[name] = names(command) }
        }
        return options
    }

    /// Returns the words after the program's name in code, if it is used as a command.
    private static func invocations(in code: String) -> [[String]] {
        code.matches(of: /(?:^|\$ |\$\(|[|;&] |\bdo )(?:[A-Z_]+=[^ ]+ )*(?:[^ ]*\/)?mcp-cleanupd((?: [^|;&>#`]*)?)/).map
        {
            $0.1.split(separator: " ").map { String($0).trimmingCharacters(in: CharacterSet(charactersIn: "[]()")) }
        }
    }

    @Test(arguments: documents)
    func itsCommandsAndOptionsExist(path: String) async throws {
        let document = try Document(path)
        let options = try await Self.options()
        #expect(options.count > 10)
        for code in document.codeLines + document.codeSpans {
            for words in Self.invocations(in: code) {
                // --config, --database-url-file and others take a value, which is not a command.
                let first = words.enumerated().first { index, word in
                    !word.hasPrefix("-")
                        && (index == 0 || !words[index - 1].hasPrefix("--") || words[index - 1] == "--once")
                }
                let command = first.map(\.element).flatMap { options[$0] == nil ? nil : $0 } ?? ""
                #expect(first == nil || !command.isEmpty || words.contains("--once"), "\(path): \(code)")
                let known = options["", default: []].union(options[command, default: []])
                for word in words where word.hasPrefix("--") {
                    #expect(known.contains(String(word.dropFirst(2).prefix { $0 != "=" })), "\(path): \(code)")
                }
            }
        }
    }

    @Test func theInvocationsAreFound() async throws {
        #expect(Self.invocations(in: "$ NEON_DATABASE_URL=$U mcp-cleanupd check | grep x") == [["check"]])
        #expect(Self.invocations(in: "systemctl restart mcp-cleanupd") == [])
        #expect(Self.invocations(in: "x && .build/mcp-cleanupd --once  # why") == [["--once"]])
        let shown = try Document("docs/commands.md").codeSpans.compactMap { $0.split(separator: " ").first }.map(
            String.init)
        for command in try await Self.options().keys where !["", "run", "help"].contains(command) {
            #expect(shown.contains(command), "docs/commands.md does not have \(command)")
        }
    }

    // MARK: Keys, metrics, exit codes

    @Test(arguments: documents)
    func itsKeysExist(path: String) async throws {
        let result = try await Command.check(Command.daemon, ["config", "--json"], environment: [:])
        var known: Set<String> = ["jobs.NAME.table", "jobs.NAME.where"]
        for line in result.lines {
            let entry = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
            let key = try #require(entry?["key"])
            known.formUnion([key, key.replacing(/^jobs\.[^.]+/, with: "jobs.NAME")])
        }
        let pattern =
            /\b(?:(?:database|batch|claim|history|http|log|notify|shutdown)\.[a-z-]+|jobs\.[A-Za-z-]+\.[a-z-]+)/
        for span in try Document(path).codeSpans where !span.contains("/") {
            for match in span.matches(of: pattern) { #expect(known.contains(String(match.0)), "\(path): \(match.0)") }
        }
    }

    @Test func theMetricsAreThoseThatThereAre() async throws {
        let file = try TemporaryDirectory.make() + "/metrics.prom"
        _ = try await Command.run(
            Command.daemon, ["--once", "--metrics-textfile", file],
            environment: ["NEON_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"])
        let metrics = try String(contentsOfFile: file, encoding: .utf8)
        let known = Set(metrics.matches(of: /# TYPE (\w+)/).map { String($0.1) })
        #expect(known.count > 20)
        for path in Self.documents {
            for match in try Document(path).text.matches(of: /\bmcp_cleanup_[a-z_]+/) {
                let name = String(match.0)
                #expect(known.contains(name), "\(path): \(name)")
            }
        }
        let monitoring = try Document("docs/monitoring.md").firstCells(under: "## Prometheus")
        for name in known { #expect(monitoring.contains("| `\(name)`"), "docs/monitoring.md does not have \(name)") }
    }

    @Test func theExitCodesAreThoseThatThereAre() throws {
        let source = try Repository.text("Sources/mcp-cleanupd/Process/Sysexit.swift")
        let codes = Set(source.matches(of: /case \w+ = (\d+)/).map { String($0.1) })
        #expect(codes.count == 8)
        let documented = try Document("docs/running.md").lines.compactMap { $0.firstMatch(of: /^\| (\d+) \|/) }.map {
            String($0.1)
        }
        #expect(Set(documented) == codes)
        // The exit codes of systemd, and of signals.
        let others: Set<String> = ["243", "137, 143, …"]
        let runbook = try Document("docs/operations.md").firstCells(under: "## Exit codes").map {
            String($0.dropFirst(2))
        }
        #expect(Set(runbook).subtracting(others) == codes.subtracting(["0"]).union(["code"]))
        for path in Self.documents {
            for match in try Document(path).text.matches(of: /(?:exit code|ends with) (\d+)|\((\d\d)\)/) {
                let code = String((match.1 ?? match.2) ?? "")
                #expect(codes.contains(code), "\(path): \(match.0)")
            }
        }
    }

    // MARK: Messages

    /// Messages of PostgreSQL.
    private static let serversMessages = [
        "password authentication failed", "violates foreign key constraint", "canceling statement due to lock timeout",
        "deadlock detected",
    ]

    @Test(arguments: ["## Not ready", "## Causes"])
    func theRunbookQuotesMessagesThatThereAre(section: String) throws {
        var sources = ""
        let folder = Repository.root.appendingPathComponent("Sources")
        for case let file as URL in try #require(
            FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil))
        where file.pathExtension == "swift" {
            sources += try String(contentsOf: file, encoding: .utf8)
        }
        // Joins literals that continue on the next line.
        sources = sources.replacing(/"\s*\+ "/, with: "")
        let cells = try Document("docs/operations.md").firstCells(under: section)
        #expect(cells.count > 3)
        for match in cells.flatMap({ $0.matches(of: /`([^`]+)`/) }) {
            let pieces = match.1.replacing("NAME", with: "…").split(separator: "…").map {
                $0.trimmingCharacters(in: CharacterSet(charactersIn: " :,"))
            }
            for piece in pieces where !Self.serversMessages.contains(piece) {
                let isThere = sources.contains(piece)
                #expect(isThere, "\(piece)")
            }
        }
    }

    // MARK: Files and links

    @Test(arguments: documents)
    func itsFilesExist(path: String) throws {
        for span in try Document(path).codeSpans {
            guard
                let match = span.firstMatch(
                    of: /^(?:config|demo|docs|migrations|Sources|Tests|systemd|packaging|Benchmarks)\/[\w.\/@-]+/)
            else { continue }
            #expect(FileManager.default.fileExists(atPath: Repository.root.path + "/" + match.0), "\(path): \(match.0)")
        }
    }

    @Test(arguments: documents + ["ARCHITECTURE.md", "CONTRIBUTING.md", "Benchmarks/RESULTS.md"])
    func itsLinksLeadSomewhere(path: String) throws {
        for match in try Document(path).text.matches(of: /\]\(([^)#\s]*)(?:#([^)\s]*))?\)/) {
            guard !match.1.contains("://") else { continue }
            let folder = (path as NSString).deletingLastPathComponent
            let target =
                match.1.isEmpty
                ? path : ((folder as NSString).appendingPathComponent(String(match.1)) as NSString).standardizingPath
            #expect(FileManager.default.fileExists(atPath: Repository.root.path + "/" + target), "\(path): \(match.0)")
            guard let anchor = match.2, target.hasSuffix(".md") else { continue }
            #expect(try Document(target).anchors.contains(String(anchor)), "\(path): \(match.0)")
        }
    }
}
