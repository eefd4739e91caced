import Glibc
package import Postgres
package import SessionCleanup

/// The place that the database URL comes from, chosen once at start.
package enum DatabaseURLSource: Hashable, Sendable {
    /// Read again before each connection.
    case file(path: String)
    case environment(variable: String, value: String)

    /// Root's own file, which the package's units hand to the service as a credential.
    package static let standardPath = "/etc/mcp-cleanupd/database-url"

    /// Returns the first place that holds something; an empty variable or file counts as none.
    ///
    /// - Parameters:
    ///   - option: the path given with `--database-url-file`.
    ///   - standardPath: the file that root's commands use if no variable is set, not even to an empty text.
    /// - Throws: `databaseURL` when no place holds anything, or a file cannot be read.
    package static func find(
        option: String?, environment: [String: String], standardPath: String = standardPath,
        isRoot: Bool = geteuid() == 0
    ) throws(RunFailure) -> DatabaseURLSource {
        if let option, !option.isEmpty, try !readFile(option).isEmpty { return .file(path: option) }
        let directory = environment["CREDENTIALS_DIRECTORY"] ?? ""
        // The file is optional: a unit may have only other credentials.
        let credential = directory + "/database-url"
        if !directory.isEmpty, try !readFile(credential, isOptional: true).isEmpty { return .file(path: credential) }
        let isNeon = environment["MCP_TS_STORAGE_TYPE"]?.lowercased() == "neon"
        for variable in isNeon ? ["NEON_DATABASE_URL", "DATABASE_URL"] : ["NEON_DATABASE_URL"] {
            let value = trimmed(environment[variable] ?? "")
            if !value.isEmpty { return .environment(variable: variable, value: value) }
        }
        // The reason why root's own file does not count; `nil` if it does.
        var obstacle: String?
        if !directory.isEmpty {
            obstacle = "the credentials of this service do not have it"
        } else if let variable = ["NEON_DATABASE_URL", "DATABASE_URL"].first(where: { environment[$0] != nil }) {
            obstacle = "is not used while \(variable) is in the environment"
        } else if !isRoot {
            obstacle = "is used only by root's commands: use sudo"
        } else if try !readFile(standardPath, isOptional: true).isEmpty {
            return .file(path: standardPath)
        }
        if access(standardPath, F_OK) != 0 { obstacle = nil }
        let unused = obstacle.map { " The file \(Self.standardPath) exists, but \($0)." } ?? ""
        let why =
            trimmed(environment["DATABASE_URL"] ?? "").isEmpty
            ? "None of them is set."
            : "DATABASE_URL is set, but counts only together with MCP_TS_STORAGE_TYPE=neon: a generic variable may well "
                + "name another application's database."
        throw .databaseURL(
            """
            no database URL. It comes from the first of: --database-url-file PATH; the systemd credential \
            $CREDENTIALS_DIRECTORY/database-url; NEON_DATABASE_URL; DATABASE_URL when MCP_TS_STORAGE_TYPE=neon; \
            and, for root, the file \(Self.standardPath). \(why)\(unused)
            """)
    }

    /// Reads the URL as it is now.
    ///
    /// - Throws: `databaseURL`, which names the place and repeats nothing of what it holds.
    package func read() throws(RunFailure) -> DatabaseURL {
        let text: String
        switch self {
        case .file(let path):
            text = try Self.readFile(path)
            guard !text.isEmpty else { throw .databaseURL("\(self) with the database URL is empty") }
        case .environment(_, let value): text = value
        }
        do {
            return try DatabaseURL(text)
        } catch {
            throw .databaseURL("the database URL in \(self) is malformed: \(error)")
        }
    }

    /// The file's text without white space around it: editors and `echo` end a file with a line break.
    ///
    /// - Parameter isOptional: true if a file that is not there counts as empty.
    private static func readFile(_ path: String, isOptional: Bool = false) throws(RunFailure) -> String {
        let name = path.withoutURL
        do {
            // 16 KiB are far more than any connection URL has; a larger file holds something else.
            return trimmed(String(decoding: try BoundedFile.read(path, limit: 16_384), as: UTF8.self))
        } catch {
            switch error {
            case .system(ENOENT) where isOptional: return ""
            case .system: throw .databaseURL("the file \(name) with the database URL cannot be read: \(error)")
            case .tooLarge: throw .databaseURL("the file \(name) is too large to hold a database URL")
            // Such as a shell's process substitution, `<(…)`.
            case .pipe:
                throw .databaseURL(
                    "\(name) is a pipe, and the database URL is read again before each connection; put it into a file")
            }
        }
    }

    /// The text without white space around it, and without the byte order mark that some editors put first.
    private static func trimmed(_ text: String) -> String {
        var scalars = text.unicodeScalars[...]
        while let first = scalars.first, first.properties.isWhitespace || first == "\u{FEFF}" { scalars.removeFirst() }
        while scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
        return String(scalars)
    }
}

extension DatabaseURLSource: CustomStringConvertible, CustomReflectable {
    /// The place, never what it holds.
    package var description: String {
        switch self {
        case .file(let path): "the file \(path.withoutURL)"
        case .environment(let variable, _): "the environment variable \(variable)"
        }
    }

    /// Empty, so that `dump` does not print the URL.
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
