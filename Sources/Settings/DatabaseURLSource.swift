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
    ///   - environment: the process's variables.
    ///   - standardPath: the file that root's commands use where no variable is set, not even to nothing.
    ///   - isRoot: true if the process is root's.
    /// - Throws: `DatabaseURLSourceError` when no place holds anything, or a file cannot be read.
    package static func find(
        option: String?, environment: [String: String], standardPath: String = standardPath,
        isRoot: Bool = geteuid() == 0
    ) throws(DatabaseURLSourceError) -> DatabaseURLSource {
        if let option, !option.isEmpty, try !readFile(option).isEmpty { return .file(path: option) }
        let directory = environment["CREDENTIALS_DIRECTORY"] ?? ""
        if !directory.isEmpty {
            let path = directory + "/database-url"
            do {
                if try !readFile(path).isEmpty { return .file(path: path) }
            } catch .unreadable(_, ENOENT) {
                // A unit may have other credentials than ours.
            }
        }
        if let value = environment["NEON_DATABASE_URL"].map(trimmed), !value.isEmpty {
            return .environment(variable: "NEON_DATABASE_URL", value: value)
        }
        let general = trimmed(environment["DATABASE_URL"] ?? "")
        if !general.isEmpty, environment["MCP_TS_STORAGE_TYPE"]?.lowercased() == "neon" {
            return .environment(variable: "DATABASE_URL", value: general)
        }
        let obstacle: StandardFile
        if !directory.isEmpty {
            obstacle = .service
        } else if let variable = ["NEON_DATABASE_URL", "DATABASE_URL"].first(where: { environment[$0] != nil }) {
            obstacle = .variable(variable)
        } else if !isRoot {
            obstacle = .notRoot
        } else {
            do {
                if try !readFile(standardPath).isEmpty { return .file(path: standardPath) }
            } catch .unreadable(_, ENOENT) {
                // Nothing was installed, or nothing was written yet.
            }
            obstacle = .absent
        }
        let isThere = access(standardPath, F_OK) == 0
        throw .nowhere(isGeneralURLPresent: !general.isEmpty, standardFile: isThere ? obstacle : .absent)
    }

    /// The URL as it is now.
    /// - Throws: `databaseURL`, which names the place and repeats nothing of what it holds.
    package func read() throws(RunFailure) -> DatabaseURL {
        let text: String
        switch self {
        case .file(let path):
            do {
                text = try Self.readFile(path)
            } catch {
                throw .databaseURL("\(error)")
            }
            guard !text.isEmpty else {
                throw .databaseURL("the file \(path.withoutURL) with the database URL is empty")
            }
        case .environment(_, let value):
            text = value
        }
        do {
            return try DatabaseURL(text)
        } catch {
            throw .databaseURL("the database URL in \(self) is malformed: \(error)")
        }
    }

    /// The file's text without white space around it: editors and `echo` end a file with a line break.
    private static func readFile(_ path: String) throws(DatabaseURLSourceError) -> String {
        do {
            return trimmed(String(decoding: try BoundedFile.read(path, limit: sizeLimit), as: UTF8.self))
        } catch {
            throw DatabaseURLSourceError(path: path, error)
        }
    }

    /// Far above any connection URL; a larger file is another file.
    private static let sizeLimit = 16_384

    /// The text without white space around it, and without the byte order mark that some editors put first.
    private static func trimmed(_ text: String) -> String {
        var scalars = text.unicodeScalars[...]
        while let first = scalars.first, first.properties.isWhitespace || first == "\u{FEFF}" { scalars.removeFirst() }
        while scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
        return String(scalars)
    }
}

extension DatabaseURLSource: CustomStringConvertible {
    /// The place, never what it holds.
    package var description: String {
        switch self {
        case .file(let path): "the file \(path.withoutURL)"
        case .environment(let variable, _): "the environment variable \(variable)"
        }
    }
}

extension DatabaseURLSource: CustomReflectable {
    /// Nothing that `dump` could print.
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Why root's file with the database URL was not used.
package enum StandardFile: Hashable, Sendable {
    /// There is none, or it is empty.
    case absent
    case notRoot
    /// This variable is in the environment, if only as an empty one.
    case variable(String)
    /// A service has the credentials of its unit, and no others.
    case service
}

/// Why there is no database URL.
package enum DatabaseURLSourceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// With an `errno`.
    case unreadable(path: String, Int32)
    case tooLarge(path: String)
    case pipe(path: String)
    case nowhere(isGeneralURLPresent: Bool, standardFile: StandardFile)

    fileprivate init(path: String, _ error: FileUnreadable) {
        self =
            switch error {
            case .system(let code): .unreadable(path: path, code)
            case .tooLarge: .tooLarge(path: path)
            // Such as a shell's `<(…)`.
            case .pipe: .pipe(path: path)
            }
    }

    package var description: String {
        switch self {
        case .unreadable(let path, let code):
            return
                "the file \(path.withoutURL) with the database URL cannot be read: \(String(cString: strerror(code)))"
        case .tooLarge(let path):
            return "the file \(path.withoutURL) is too large to hold a database URL"
        case .pipe(let path):
            return
                "\(path.withoutURL) is a pipe, and the database URL is read again before each connection; put it into a file"
        case .nowhere(let isGeneralURLPresent, let standardFile):
            let why =
                isGeneralURLPresent
                ? "DATABASE_URL is set, but counts only together with MCP_TS_STORAGE_TYPE=neon: a generic variable "
                    + "may well name another application's database."
                : "None of them is set."
            let path = DatabaseURLSource.standardPath
            let there =
                switch standardFile {
                case .absent: ""
                case .notRoot: " The file \(path) exists, but is used only by root's commands: use sudo."
                case .variable(let name):
                    " The file \(path) exists, but is not used while \(name) is in the environment."
                case .service: " The file \(path) exists, but the credentials of this service do not have it."
                }
            return """
                no database URL. It comes from the first of: --database-url-file PATH; the systemd credential \
                $CREDENTIALS_DIRECTORY/database-url; NEON_DATABASE_URL; DATABASE_URL when MCP_TS_STORAGE_TYPE=neon; \
                and, for root, the file \(path). \(why)\(there)
                """
        }
    }
}
