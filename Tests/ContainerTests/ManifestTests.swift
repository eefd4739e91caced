import Foundation
import Glibc
import TestServers
import Testing

/// The folder into which scripts/install-tools puts the schemas of Kubernetes and Compose.
private let schemas = "/var/tmp/mcp-cleanupd-test-tools-\(geteuid())/schemas"

/// The examples for Kubernetes and Compose are valid by their schemas and mean what they should.
@Suite(
    .slow,
    .enabled(
        if: FileManager.default.fileExists(atPath: schemas),
        "NOT TESTED against the schemas of Kubernetes and Compose: install-tools check fetches them to \(schemas)"
    ))
struct ManifestTests {
    /// A document, or a part of one.
    private typealias Part = [String: Any]

    /// The documents of a file, each with its violations of the schemas.
    private static func documents(_ file: String, adding text: String = "") async throws -> [(Part, faults: [String])] {
        var path = Repository.root.appendingPathComponent("config/\(file)").path
        if !text.isEmpty {
            let changed = try TemporaryDirectory.make() + "/changed.yaml"
            try (String(contentsOfFile: path, encoding: .utf8) + text).write(
                toFile: changed, atomically: false, encoding: .utf8)
            path = changed
        }
        let script = Repository.root.appendingPathComponent("Tests/ContainerTests/manifests").path
        let result = try await Command.check(
            "/usr/bin/python3", [script, path],
            environment: ["PYTHONPATH": schemas, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"])
        return try result.lines.map { line in
            let answer = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? Part)
            return (
                try #require(answer["document"] as? Part), faults: try #require(answer["faults"] as? [String])
            )
        }
    }

    /// The specification of a document's pods.
    private static func pod(_ document: Part) throws -> Part {
        var spec = try #require(document["spec"] as? Part)
        if let job = spec["jobTemplate"] as? Part { spec = try #require(job["spec"] as? Part) }
        return try #require((spec["template"] as? Part)?["spec"] as? Part)
    }

    private static func container(_ pod: Part) throws -> Part {
        try #require((pod["containers"] as? [Part])?.first { $0["name"] as? String == "mcp-cleanupd" })
    }

    private static func command(_ container: Part, _ probe: String) -> [String]? {
        ((container[probe] as? Part)?["exec"] as? Part)?["command"] as? [String]
    }

    private static let kubernetes = [
        "kubernetes/sidecar.yaml", "kubernetes/deployment.yaml", "kubernetes/cronjob.yaml",
    ]

    @Test(arguments: kubernetes + ["compose.yaml"])
    func theSchemaHasNothingAgainstIt(file: String) async throws {
        for document in try await Self.documents(file) { #expect(document.faults == []) }
    }

    @Test(arguments: kubernetes + ["compose.yaml"])
    func theSchemaWouldHaveSomethingAgainstAKeyThatIsNotThere(file: String) async throws {
        let last = try #require(try await Self.documents(file, adding: "\nreplica: 2\n").last)
        #expect(last.faults.contains { $0.contains("replica") }, "\(last.faults)")
    }

    @Test(arguments: kubernetes)
    func givesNothingThatItDoesNotNeed(file: String) async throws {
        for (document, _) in try await Self.documents(file) {
            let pod = try Self.pod(document)
            #expect(pod["enableServiceLinks"] as? Bool == false)
            // shutdown.timeout is 20 s.
            #expect(try #require(pod["terminationGracePeriodSeconds"] as? Int) > 20)
            let container = try Self.container(pod)
            let confinement = (pod["securityContext"] as? Part ?? [:]).merging(
                try #require(container["securityContext"] as? Part)
            ) { $1 }
            #expect(confinement["runAsNonRoot"] as? Bool == true)
            #expect(confinement["readOnlyRootFilesystem"] as? Bool == true)
            #expect(confinement["allowPrivilegeEscalation"] as? Bool == false)
            #expect((confinement["capabilities"] as? Part)?["drop"] as? [String] == ["ALL"])
            #expect((confinement["seccompProfile"] as? Part)?["type"] as? String == "RuntimeDefault")
            let mounts = try #require(container["volumeMounts"] as? [Part])
            #expect(mounts.map { $0["mountPath"] as? String } == ["/etc/mcp-cleanupd"])
            let resources = try #require(container["resources"] as? Part)
            #expect((resources["limits"] as? Part)?.keys.sorted() == ["memory"])
        }
    }

    @Test func isProbedByCommandsAndNeverTakesAnApplicationOutOfRotation() async throws {
        let sidecar = try Self.container(Self.pod(#require(try await Self.documents(Self.kubernetes[0]).first).0))
        #expect(Self.command(sidecar, "livenessProbe") == ["/usr/bin/mcp-cleanupd", "health"])
        #expect(sidecar["readinessProbe"] == nil)
        let service = try Self.container(Self.pod(#require(try await Self.documents(Self.kubernetes[1]).first).0))
        #expect(Self.command(service, "livenessProbe") == ["/usr/bin/mcp-cleanupd", "health"])
        #expect(Self.command(service, "readinessProbe") == ["/usr/bin/mcp-cleanupd", "health", "--ready"])
    }

    @Test func composeGivesNothingThatItDoesNotNeedEither() async throws {
        let document = try #require(try await Self.documents("compose.yaml").first).0
        let service = try #require((document["services"] as? Part)?["mcp-cleanupd"] as? Part)
        #expect(service["read_only"] as? Bool == true)
        #expect(service["cap_drop"] as? [String] == ["ALL"])
        #expect(service["security_opt"] as? [String] == ["no-new-privileges:true"])
        #expect(service["depends_on"] == nil && service["ports"] == nil)
        #expect((service["healthcheck"] as? Part)?["test"] as? [String] == ["CMD", "/usr/bin/mcp-cleanupd", "health"])
        #expect(
            (service["secrets"] as? [Part])?.map { $0["target"] as? String } == ["/etc/mcp-cleanupd/database-url"])
    }

    /// Podman searches no registry for a short name, and a name without a tag is another image tomorrow.
    @Test(arguments: ["Containerfile", "config/compose.yaml"])
    func namesImagesInFullAndByTag(file: String) throws {
        let text = try String(contentsOf: Repository.root.appendingPathComponent(file), encoding: .utf8)
        let names = text.matches(of: /(?m)^(?:FROM| +image:) (\S+)/).map { String($0.1) }.filter { $0 != "scratch" }
        #expect(names.count == 2)
        for name in names {
            #expect(
                name.wholeMatch(of: /(docker\.io\/library|localhost)\/[a-z-]+:[a-z0-9.-]*[0-9][a-z0-9.-]*/) != nil
                    || name == "docker.io/library/debian:bookworm-slim", "\(name)")
        }
    }

    @Test func labelsTheImageWithThisVersion() async throws {
        let version = try await Command.check(Command.daemon, ["--version"], environment: [:]).output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let text = try String(contentsOf: Repository.root.appendingPathComponent("Containerfile"), encoding: .utf8)
        #expect(text.contains("org.opencontainers.image.version=\"\(version)\""))
    }

    @Test(arguments: ["README.md", "config/compose.yaml"] + kubernetes.map { "config/" + $0 })
    func namesTheImageOfThisVersion(file: String) async throws {
        let version = try await Command.check(Command.daemon, ["--version"], environment: [:]).output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let text = try String(contentsOf: Repository.root.appendingPathComponent(file), encoding: .utf8)
        let tags = text.matches(of: /\bmcp-cleanupd:(\d[\d.]*\d)/).map { String($0.1) }
        #expect(!tags.isEmpty)
        #expect(Set(tags) == [version])
    }

    /// An exit code of 64 would mean that the program does not know an argument.
    @Test(arguments: kubernetes)
    func theProgramKnowsWhatItIsToldThere(file: String) async throws {
        for (document, _) in try await Self.documents(file) {
            let container = try Self.container(Self.pod(document))
            var environment = ["PATH": "/usr/bin:/bin"]
            for variable in container["env"] as? [Part] ?? [] {
                environment[try #require(variable["name"] as? String)] = try #require(variable["value"] as? String)
            }
            let configuration = try await Command.run(Command.daemon, ["config"], environment: environment)
            #expect(configuration.status == 0 && configuration.error.isEmpty, "\(configuration)")
            environment["MCP_CLEANUP_HTTP_LISTEN"] = "127.0.0.1:\(try Loopback.freePort())"
            for probe in ["livenessProbe", "readinessProbe"] {
                guard let command = Self.command(container, probe) else { continue }
                let result = try await Command.run(
                    Command.daemon, Array(command.dropFirst()), environment: environment)
                #expect(result.status == 69, "\(result)")
            }
            if let arguments = container["args"] as? [String] {
                // It accepts the arguments, and then ends because it has no database URL.
                let result = try await Command.run(Command.daemon, arguments, environment: environment)
                #expect(result.status == 78, "\(result)")
            }
        }
    }
}
