import CLibpq

/// A parsed connection URL: the database, who we are there, and how the connection is secured.
///
/// Holds the password, so it describes itself by host, database and role only, to whatever prints or dumps it.
package struct DatabaseURL: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// libpq's keywords and their values, only those that the URL names.
    let parameters: [String: String]

    /// Reads a `postgresql://` or `postgres://` URL, as libpq does: "Connection URIs" in the libpq manual.
    ///
    /// - Throws: `DatabaseURLError`, which never repeats a part of the text: what cannot be parsed may be a password.
    package init(_ text: String) throws(DatabaseURLError) {
        guard let scheme = ["postgresql://", "postgres://"].first(where: text.hasPrefix) else {
            throw .notAPostgresURL
        }
        guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) else {
            throw .controlCharacter
        }
        // libpq splits at the first `/` and the first `@`. With one of them in a password it would take the rest of
        // the password for a host or a port, and say so in its messages.
        let body = text.dropFirst(scheme.count)
        let authority = body.prefix { $0 != "?" }
        let ats = authority.indices.filter { authority[$0] == "@" }
        guard ats.count <= 1 else { throw .unescaped("@", as: "%40") }
        if let at = ats.first, authority[..<at].contains("/") { throw .unescaped("/", as: "%2F") }
        parameters = try Self.parse(text)
        for port in list("port") where !(Int(port).map { (1...65_535).contains($0) } ?? port.isEmpty) {
            throw .malformed("the port is not a number from 1 to 65535")
        }
    }

    private static func parse(_ text: String) throws(DatabaseURLError) -> [String: String] {
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(text, &message) else {
            defer { PQfreemem(message) }
            throw .malformed(message.map { withoutQuotations(String(cString: $0)) } ?? "out of memory")
        }
        defer { PQconninfoFree(options) }
        var parameters: [String: String] = [:]
        var option = options
        // The array ends with an option without a keyword: libpq manual, PQconninfoParse.
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { parameters[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        return parameters
    }

    /// libpq's message without what stands between its first and its last quotation mark, which is a piece of the URL.
    private static func withoutQuotations(_ message: String) -> String {
        let line = message.prefix { $0 != "\n" }
        guard let first = line.firstIndex(of: "\""), let last = line.lastIndex(of: "\""), first < last else {
            return String(line)
        }
        return line[...first] + "…" + line[last...]
    }

    /// The values of a keyword that takes a comma-separated list, one per host.
    func list(_ keyword: String) -> [String] {
        guard let value = parameters[keyword], !value.isEmpty else { return [] }
        return value.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }

    /// Host, database and role, never more: `db.example.org:5432/neondb as mcp_service_role`.
    package var description: String {
        let hosts = parameters["host"] ?? parameters["hostaddr"] ?? "the default host"
        let port = parameters["port"].map { ":\($0)" } ?? ""
        let database = parameters["dbname"].map { "/\($0)" } ?? ""
        let role = parameters["user"].map { " as \($0)" } ?? ""
        return hosts + port + database + role
    }

    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Why a text is no connection URL. No case carries a piece of it.
package enum DatabaseURLError: Error, Hashable, Sendable {
    case notAPostgresURL
    case controlCharacter
    /// A character that must be percent-encoded inside a user name or a password.
    case unescaped(Character, as: String)
    /// What libpq says, without its quotations.
    case malformed(String)
}

extension DatabaseURLError: CustomStringConvertible {
    package var description: String {
        let form = "postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full"
        switch self {
        case .notAPostgresURL:
            return "it does not start with postgresql:// or postgres://; expected \(form)"
        case .controlCharacter:
            return "it contains a line break or another control character; expected \(form) on one line"
        case .unescaped(let character, let escape):
            return "it has a “\(character)” where none can be; in a user name or a password write \(escape)"
        case .malformed(let message):
            return "\(message); expected \(form)"
        }
    }
}
