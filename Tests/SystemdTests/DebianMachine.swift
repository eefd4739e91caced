import Foundation
import Glibc
import TestServers
import Testing

/// A Debian machine with a systemd of its own, in this machine's network, with the package installed.
///
/// Shared by the tests of one suite, which leave it as they found it; ends with the tests, however those end.
final class DebianMachine: Sendable {
    private let process: SupervisedProcess
    private let leader: String

    /// Why no such machine can run here; `nil` if one can.
    static let obstacle: String? = {
        if geteuid() != 0 { return "systemd-nspawn needs root" }
        if !FileManager.default.isExecutableFile(atPath: "/usr/bin/systemd-nspawn") {
            return "systemd-nspawn is missing"
        }
        if !FileManager.default.fileExists(atPath: tree) {
            return "\(tree) is missing; scripts/install-tools check makes it"
        }
        if package == nil { return "there is no package; make deb makes it" }
        return nil
    }()

    private static let tree = "/var/tmp/mcp-cleanupd-test-tools-\(geteuid())/debian-12"

    /// The newest package of the release binary.
    static let package: String? = {
        let build = Repository.root.appendingPathComponent(".build").path
        let names = (try? FileManager.default.contentsOfDirectory(atPath: build)) ?? []
        // No folder, no package.
        return names.filter { $0.hasPrefix("mcp-cleanupd_") && $0.hasSuffix(".deb") }.max().map { build + "/" + $0 }
    }()

    static func booted() async throws -> DebianMachine { try await shared.value }

    private static let shared = StartedOnce { try await DebianMachine() }

    private init() async throws {
        let directory = try TemporaryDirectory.make()
        let script = Repository.root.appendingPathComponent("Tests/SystemdTests/debian-machine").path
        process = try SupervisedProcess(
            [script, Self.tree, (directory as NSString).lastPathComponent, directory + "/leader"],
            logPath: directory + "/log")
        try await eventually(
            "the machine boots", within: .seconds(120),
            details: { try String(contentsOfFile: directory + "/log", encoding: .utf8) },
            { FileManager.default.fileExists(atPath: directory + "/leader") })
        leader = try String(contentsOfFile: directory + "/leader", encoding: .utf8).trimmingCharacters(
            in: .whitespacesAndNewlines)
        guard let package = Self.package else { throw TestServerError("no package") }
        try await put(package, at: "/root/mcp-cleanupd.deb")
    }

    /// Runs a shell script on the machine, as its root.
    @discardableResult
    func run(_ script: String, input: String = "") async throws -> CommandResult {
        try await Command.run(
            "/usr/bin/nsenter",
            ["-t", leader, "-m", "-u", "-i", "-p", "-n", "/bin/sh", "-c", "cd /\n" + script],
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PAGER": "cat"], input: input)
    }

    /// Runs a shell script that has to succeed, and returns what it printed.
    @discardableResult
    func check(_ script: String, input: String = "") async throws -> String {
        let result = try await run(script, input: input)
        guard result.status == 0 else {
            throw TestServerError("\(script) ended with \(result.status): \(result.output)\(result.error)")
        }
        return result.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Copies a file onto the machine.
    func put(_ path: String, at destination: String) async throws {
        try await Command.check("/bin/cp", [path, "/proc/\(leader)/root\(destination)"])
    }

    func property(_ name: String) async throws -> String {
        try await check("systemctl show --property \(name) --value mcp-cleanupd.service")
    }

    /// The service's entries in the journal, which `MachineTests.init` empties, as dictionaries of their fields.
    func journal(_ arguments: String = "") async throws -> [[String: String]] {
        try await check("journalctl --output json --unit mcp-cleanupd.service \(arguments)").split(separator: "\n").map
        {
            let fields = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            return (fields ?? [:]).compactMapValues { $0 as? String }
        }
    }

    /// Waits until the condition holds.
    /// - Throws: with the journal, when it does not within the limit.
    func wait(
        _ what: String, limit: Duration = .seconds(30), until condition: () async throws -> Bool
    ) async throws {
        try await eventually(
            what, within: limit, details: { try await run("systemctl status -n 40 -l mcp-cleanupd").output }, condition)
    }
}
