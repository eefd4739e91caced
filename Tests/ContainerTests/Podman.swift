import Foundation
import Glibc
import TestServers
import Testing

/// Podman with a store of its own, and in it the image, built once and shared by the tests of one suite.
///
/// Containers and store end with the tests, however those end.
final class Podman: Sendable {
    /// The image that was built.
    static let image = "mcp-cleanupd:test"

    /// Why podman cannot be used here; `nil` if it can.
    static let obstacle: String? = {
        if geteuid() != 0 { return "podman is tried as root only" }
        for program in ["/usr/bin/podman", "/usr/sbin/runc"]
        where !FileManager.default.isExecutableFile(atPath: program) {
            return "\(program) is missing; scripts/install-tools check installs it"
        }
        if !FileManager.default.fileExists(atPath: debian) {
            return "\(debian) is missing; scripts/install-tools check makes it"
        }
        if !FileManager.default.isExecutableFile(
            atPath: Repository.root.appendingPathComponent(".build/mcp-cleanupd").path)
        {
            return "there is no release binary; make build makes it"
        }
        return hasNamespaces ? nil : "this machine forbids namespaces"
    }()

    private static let debian = "/var/tmp/mcp-cleanupd-test-tools-\(geteuid())/debian-12"

    private static let hasNamespaces: Bool = {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
        process.arguments = ["--mount", "--pid", "--uts", "--ipc", "--fork", "/bin/true"]
        // If `unshare` cannot even be started, there are no namespaces.
        guard (try? process.runWithSignals()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }()

    /// The size of the image with its layers compressed, in bytes.
    let compressedSize: Int
    private let process: SupervisedProcess
    private let store: String

    static func ready() async throws -> Podman { try await shared.value }

    private static let shared = StartedOnce { try await Podman() }

    private init() async throws {
        let directory = try TemporaryDirectory.make()
        // Not in a directory that tests delete: podman needs the files to end its containers. It requires a short path.
        store = directory + "-podman"
        let ready = directory + "/ready"
        process = try SupervisedProcess(
            [Repository.root.path + "/Tests/ContainerTests/image", Repository.root.path, Self.debian, store, ready],
            logPath: directory + "/log")
        // Takes ten seconds on an idle machine: it unpacks a Debian and asks the mirror for updates.
        _ = try await eventually(within: .seconds(180)) { FileManager.default.fileExists(atPath: ready) }
        let text = FileManager.default.contents(atPath: ready).map { String(decoding: $0, as: UTF8.self) } ?? ""
        guard let size = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw TestServerError(
                "the image is not built: \(try String(contentsOfFile: directory + "/log", encoding: .utf8))")
        }
        compressedSize = size
    }

    /// Runs podman to its end.
    func run(_ arguments: [String], input: String = "") async throws -> CommandResult {
        try await Command.run(
            "/usr/bin/podman",
            [
                "--root", store + "/root", "--runroot", store + "/run", "--tmpdir", store + "/tmp", "--cgroup-manager",
                "cgroupfs", "--events-backend", "none", "--runtime", "runc",
            ] + arguments, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"], input: input)
    }

    /// Runs podman, which has to succeed, and returns what it printed.
    @discardableResult
    func check(_ arguments: [String], input: String = "") async throws -> String {
        let result = try await run(arguments, input: input)
        guard result.status == 0 else {
            throw TestServerError("podman \(arguments) ended with \(result.status): \(result.output)\(result.error)")
        }
        return result.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Options that give as little as a careful platform does: no write access, no capability, no new privileges.
    ///
    /// The container is in this machine's network, where the tests' servers are. The limits are below those of any
    /// machine: runc may not raise them.
    static let confined = [
        "--network=host", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096",
    ]

    /// Runs the image's program to its end in a confined container.
    func once(_ options: [String], _ arguments: [String]) async throws -> CommandResult {
        try await run(["run", "--rm"] + Self.confined + options + [Self.image] + arguments)
    }
}

/// A container of the image, confined, with the service as its process 1.
struct Container: Sendable {
    let podman: Podman
    let name: String

    init(_ podman: Podman, _ options: [String], _ arguments: [String] = []) async throws {
        self.podman = podman
        name = "test-" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        try await podman.check(
            ["run", "--detach", "--name", name] + Podman.confined + options + [Podman.image] + arguments)
    }

    func signal(_ name: String) async throws {
        try await podman.check(["kill", "--signal", name, self.name])
    }

    /// Waits for the container's end, and returns its exit code.
    func exitStatus() async throws -> Int32 {
        try await wait("its end") { try await state("Status") == "exited" }
        return Int32(try await state("ExitCode")) ?? -1
    }

    func state(_ key: String) async throws -> String {
        try await podman.check(["inspect", "--format", "{{.State.\(key)}}", name])
    }

    func log() async throws -> String {
        let result = try await podman.run(["logs", name])
        return result.output + result.error
    }

    /// Waits until the condition holds.
    /// - Throws: with the log, when it does not within the limit.
    func wait(
        _ what: String, limit: Duration = .seconds(30), until condition: () async throws -> Bool
    ) async throws {
        try await eventually(what, within: limit, details: log, condition)
    }
}
