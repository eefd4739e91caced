import Foundation
import Glibc
import Postgres
import SessionCleanup
import TestServers
import Testing

@testable import Settings

@Suite struct DatabaseURLSourceTests {
    private static let url = "postgresql://role:SECRET@host.example/db"

    private func file(_ text: String, named name: String = "url") throws -> String {
        let path = try TemporaryDirectory.make() + "/" + name
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        return path
    }

    /// - Parameter standardFile: why root's file was not used.
    private func nowhere(isGeneralURLPresent: Bool = false, standardFile: String? = nil) -> RunFailure {
        let general = """
            DATABASE_URL is set, but counts only together with MCP_TS_STORAGE_TYPE=neon: a generic variable may well name \
            another application's database.
            """
        let path = "/etc/mcp-cleanupd/database-url"
        let why = standardFile.map { " The file \(path) exists, but \($0)." } ?? ""
        return .databaseURL(
            """
            no database URL. It comes from the first of: --database-url-file PATH; the systemd credential \
            $CREDENTIALS_DIRECTORY/database-url; NEON_DATABASE_URL; DATABASE_URL when MCP_TS_STORAGE_TYPE=neon; \
            and, for root, the file \(path). \(isGeneralURLPresent ? general : "None of them is set.")\(why)
            """)
    }

    private func unreadable(_ path: String, _ code: Int32) -> RunFailure {
        .databaseURL("the file \(path) with the database URL cannot be read: \(String(cString: strerror(code)))")
    }

    /// All four places, each of which may hold something, be empty, hold white space or be absent.
    @Test func takesTheFirstPlaceThatHoldsSomething() throws {
        let contents: [String?] = [Self.url, "", " \n", nil]
        for option in contents {
            for credential in contents {
                let optionPath = try option.map { try file($0) }
                let directory = try credential.map {
                    try (file($0, named: "database-url") as NSString).deletingLastPathComponent
                }
                for neon in contents {
                    for general in contents {
                        for type in ["neon", "NeOn", "redis", "", nil] {
                            var environment: [String: String] = [:]
                            environment["CREDENTIALS_DIRECTORY"] = directory
                            environment["NEON_DATABASE_URL"] = neon
                            environment["DATABASE_URL"] = general
                            environment["MCP_TS_STORAGE_TYPE"] = type
                            let source: DatabaseURLSource? =
                                if option == Self.url, let optionPath {
                                    .file(path: optionPath)
                                } else if credential == Self.url, let directory {
                                    .file(path: directory + "/database-url")
                                } else if neon == Self.url {
                                    .environment(variable: "NEON_DATABASE_URL", value: Self.url)
                                } else if general == Self.url, type?.lowercased() == "neon" {
                                    .environment(variable: "DATABASE_URL", value: Self.url)
                                } else {
                                    nil
                                }
                            if let source {
                                #expect(
                                    try DatabaseURLSource.find(option: optionPath, environment: environment) == source)
                                #expect(try source.read().description == "host.example/db as role")
                            } else {
                                #expect(throws: nowhere(isGeneralURLPresent: general == Self.url)) {
                                    try DatabaseURLSource.find(
                                        option: optionPath, environment: environment, standardPath: "/nonexistent")
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    // MARK: Root's own file

    private func findForRoot(
        _ environment: [String: String], standardPath: String, isRoot: Bool = true
    ) throws
        -> DatabaseURLSource
    {
        try DatabaseURLSource.find(
            option: nil, environment: environment, standardPath: standardPath, isRoot: isRoot)
    }

    @Test func usesRootsOwnFileWhereNothingElseIsSet() throws {
        let path = try file(Self.url + "\n")
        for environment in [[:], ["PATH": "/bin"], ["CREDENTIALS_DIRECTORY": ""], ["MCP_TS_STORAGE_TYPE": "neon"]] {
            #expect(try findForRoot(environment, standardPath: path) == .file(path: path), "\(environment)")
        }
        let other = try DatabaseURLSource.find(
            option: nil, environment: ["NEON_DATABASE_URL": Self.url], standardPath: path, isRoot: true)
        #expect(other == .environment(variable: "NEON_DATABASE_URL", value: Self.url))
    }

    @Test(
        arguments: [
            (["NEON_DATABASE_URL": ""], true, "is not used while NEON_DATABASE_URL is in the environment"),
            (["DATABASE_URL": ""], true, "is not used while DATABASE_URL is in the environment"),
            (["DATABASE_URL": "postgresql://h/d"], true, "is not used while DATABASE_URL is in the environment"),
            (["CREDENTIALS_DIRECTORY": "/nonexistent"], true, "the credentials of this service do not have it"),
            ([:], false, "is used only by root's commands: use sudo"),
        ] as [([String: String], Bool, String)])
    func leavesRootsOwnFileAloneAndSaysThatItIsThere(
        environment: [String: String], isRoot: Bool, why: String
    ) throws {
        let path = try file(Self.url)
        let isPresent = environment["DATABASE_URL"]?.isEmpty == false
        #expect(throws: nowhere(isGeneralURLPresent: isPresent, standardFile: why)) {
            try findForRoot(environment, standardPath: path, isRoot: isRoot)
        }
        #expect(throws: nowhere(isGeneralURLPresent: isPresent)) {
            try findForRoot(environment, standardPath: "/nonexistent", isRoot: isRoot)
        }
    }

    @Test func saysSoWhereRootsOwnFileCannotBeRead() throws {
        let directory = try TemporaryDirectory.make()
        #expect(throws: unreadable(directory, EISDIR)) {
            try findForRoot([:], standardPath: directory)
        }
        #expect(throws: nowhere()) {
            try findForRoot([:], standardPath: file(" \n"))
        }
    }

    @Test func treatsAnEmptyPathAsUnset() throws {
        let environment = ["CREDENTIALS_DIRECTORY": "", "NEON_DATABASE_URL": Self.url]
        #expect(
            try DatabaseURLSource.find(option: "", environment: environment).description
                == "the environment variable NEON_DATABASE_URL")
    }

    @Test(arguments: ["", "\n", "\r\n", "\n\n", " ", "\t\n", "\u{FEFF}"])
    func dropsWhiteSpaceAroundTheURL(end: String) throws {
        // A byte order mark stands at the beginning only.
        let text = end + Self.url + (end == "\u{FEFF}" ? "" : end)
        let source = try DatabaseURLSource.find(option: file(text), environment: [:])
        #expect(try source.read().description == "host.example/db as role")
        let variable = try DatabaseURLSource.find(option: nil, environment: ["NEON_DATABASE_URL": text])
        #expect(try variable.read().description == "host.example/db as role")
    }

    /// To try the next place silently could mean another database.
    @Test func refusesAFileThatWasAskedForAndIsMissing() throws {
        let path = try TemporaryDirectory.make() + "/absent"
        #expect(throws: unreadable(path, ENOENT)) {
            try DatabaseURLSource.find(option: path, environment: ["NEON_DATABASE_URL": Self.url])
        }
    }

    @Test func passesByACredentialsDirectoryWithoutOurs() throws {
        let directory = try TemporaryDirectory.make()
        let environment = ["CREDENTIALS_DIRECTORY": directory, "NEON_DATABASE_URL": Self.url]
        #expect(
            try DatabaseURLSource.find(option: nil, environment: environment).description
                == "the environment variable NEON_DATABASE_URL")
    }

    @Test func refusesWhatCannotBeRead() throws {
        let directory = try TemporaryDirectory.make()
        #expect(throws: unreadable(directory, EISDIR)) {
            try DatabaseURLSource.find(option: directory, environment: ["NEON_DATABASE_URL": Self.url])
        }
        // Permission bits do not stop the superuser; a loop of links stops every user, with the same consequence.
        let loop = directory + "/database-url"
        try FileManager.default.createSymbolicLink(atPath: loop, withDestinationPath: loop)
        for (option, environment) in [
            (loop, [:]), (nil, ["CREDENTIALS_DIRECTORY": directory, "NEON_DATABASE_URL": Self.url]),
        ] {
            #expect(throws: unreadable(loop, ELOOP)) {
                try DatabaseURLSource.find(option: option, environment: environment)
            }
        }
        let below = try file(Self.url) + "/database-url"
        #expect(throws: unreadable(below, ENOTDIR)) {
            try DatabaseURLSource.find(option: below, environment: [:])
        }
    }

    @Test(.enabled(if: geteuid() != 0, "the superuser reads every file"))
    func refusesAFileWithoutPermission() throws {
        let path = try file(Self.url)
        chmod(path, 0)
        #expect(throws: unreadable(path, EACCES)) {
            try DatabaseURLSource.find(option: path, environment: [:])
        }
    }

    @Test(.timeLimit(.minutes(1))) func refusesAPipeInsteadOfWaitingForItsWriter() throws {
        let path = try TemporaryDirectory.make() + "/pipe"
        #expect(mkfifo(path, 0o600) == 0)
        #expect(
            throws:
                RunFailure.databaseURL(
                    "\(path) is a pipe, and the database URL is read again before each connection; put it into a file")
        ) {
            try DatabaseURLSource.find(option: path, environment: [:])
        }
    }

    @Test func refusesAFileThatIsTooLarge() throws {
        let limit = 16_384
        let fits = try file(Self.url + String(repeating: " ", count: limit - Self.url.utf8.count))
        #expect(
            try DatabaseURLSource.find(option: fits, environment: [:]).read().description == "host.example/db as role")
        let large = try file(Self.url + String(repeating: " ", count: limit + 1 - Self.url.utf8.count))
        #expect(throws: RunFailure.databaseURL("the file \(large) is too large to hold a database URL")) {
            try DatabaseURLSource.find(option: large, environment: [:])
        }
    }

    @Test func readsAFileAgainEachTime() throws {
        let path = try file(Self.url)
        let source = try DatabaseURLSource.find(option: path, environment: [:])
        // Kubernetes and `mv` rotate the secret this way: another file under the same name.
        try "postgresql://other:ROTATED@host.example/db\n".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(try source.read().description == "host.example/db as other")
        try "".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(throws: RunFailure.databaseURL("the file \(path) with the database URL is empty")) { try source.read() }
        try FileManager.default.removeItem(atPath: path)
        #expect(
            throws: RunFailure.databaseURL(
                "the file \(path) with the database URL cannot be read: No such file or directory")
        ) {
            try source.read()
        }
    }

    @Test func tellsNothingOfWhatThePlaceHolds() throws {
        for text in [
            Self.url, "SECRET", "postgresql://role:SEC@RET@host", "postgresql://role:SEC%RET@host",
            "postgresql://h:SECRET",
        ] {
            let sources = [
                try DatabaseURLSource.find(option: file(text), environment: [:]),
                try DatabaseURLSource.find(option: nil, environment: ["NEON_DATABASE_URL": text]),
            ]
            for source in sources {
                var told: [Any] = [source]
                do {
                    told.append(try source.read())
                } catch {
                    told += [error, error.kind]
                    #expect(error.kind == .misconfigured)
                }
                for value in told {
                    var dumped = ""
                    dump(value, to: &dumped)
                    let optional: Any? = value
                    for print in [
                        dumped, "\(value)", String(reflecting: value), "\([value])", String(describing: optional),
                    ] {
                        #expect(!print.contains("SEC") && !print.contains("RET"), "\(print)")
                    }
                }
            }
        }
    }
}
