import Foundation
import Subprocess
import SystemPackage

/// The output and exit status of a finished process.
package struct CommandResult: Sendable {
    /// The exit code, or 128 + the signal that ended it, as in a shell.
    package let status: Int32
    package let output: String
    package let error: String

    package init(status: Int32, output: String, error: String) {
        self.status = status
        self.output = output
        self.error = error
    }

    package var lines: [String] { output.split(separator: "\n").map(String.init) }
}

package enum Command {
    /// Runs a program and waits for its end. Output beyond 8 MiB is cut off.
    ///
    /// - Parameters:
    ///   - environment: all of its variables, or `nil` to inherit those of the tests.
    package static func run(
        _ path: String, _ arguments: [String], environment: [String: String]? = nil, input: String = ""
    ) async throws -> CommandResult {
        let result = try await Subprocess.run(
            path.contains("/") ? .path(FilePath(path)) : .name(path), arguments: .init(arguments),
            environment: environment.map { variables in
                .custom(
                    Dictionary(
                        uniqueKeysWithValues: variables.merging(sanitizerOptions) { $1 }.map {
                            (Subprocess.Environment.Key(stringLiteral: $0), $1)
                        }))
            } ?? .inherit,
            input: .string(input), output: .string(limit: 8 << 20), error: .string(limit: 8 << 20))
        let status =
            switch result.terminationStatus {
            case .exited(let code): code
            case .signaled(let signal): 128 + signal
            }
        return CommandResult(
            status: status, output: result.standardOutput, error: result.standardError)
    }

    /// The variables that a program built for `make sanitize` needs in addition to any others.
    package static let sanitizerOptions = ProcessInfo.processInfo.environment.filter { $0.key == "TSAN_OPTIONS" }

    /// Runs a program and waits for its end.
    ///
    /// - Throws: `TestServerError` if it does not end with 0.
    @discardableResult
    package static func check(
        _ path: String, _ arguments: [String], environment: [String: String]? = nil, input: String = ""
    ) async throws -> CommandResult {
        let result = try await run(path, arguments, environment: environment, input: input)
        guard result.status == 0 else {
            throw TestServerError(
                "\(path) \(arguments.joined(separator: " ")) ended with \(result.status): \(result.error)")
        }
        return result
    }

    /// The program under test.
    package static var daemon: String { get throws { try built("mcp-cleanupd") } }

    /// A program of this package, which the package manager puts next to the tests.
    package static func built(_ name: String) throws -> String {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = (tests as NSString).deletingLastPathComponent + "/" + name
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw TestServerError("\(path) is not built")
        }
        return path
    }
}

package struct TestServerError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
