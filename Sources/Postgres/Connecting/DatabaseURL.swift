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
        // All in bytes, as libpq has it: an `@` with a combining mark after it is another Character.
        guard let scheme = ["postgresql://", "postgres://"].first(where: { text.utf8.starts(with: $0.utf8) }) else {
            throw .notAPostgresURL
        }
        guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { throw .controlCharacter }
        try Self.refuseUnescaped(text.utf8.dropFirst(scheme.utf8.count))
        parameters = try Self.parse(text)
        for port in Self.list(parameters["port"]) where !(Int(port).map { (1...65_535).contains($0) } ?? port.isEmpty) {
            throw .malformed("the port is not a number from 1 to 65535")
        }
    }

    /// libpq takes what stands before an `@` for the user's name and password, if no `/` comes first. With one of these
    /// characters in a password it would take the rest of the password for a host, a port or a database, and say so
    /// in its messages.
    private static func refuseUnescaped(_ body: Substring.UTF8View) throws(DatabaseURLError) {
        let (at, slash, question) = (UInt8(ascii: "@"), UInt8(ascii: "/"), UInt8(ascii: "?"))
        let user = body.prefix { $0 != at && $0 != slash }
        let hasUser = body[user.endIndex...].first == at
        if hasUser && user.contains(question) { throw .unescaped("?", as: "%3F") }
        let rest = hasUser ? body[user.endIndex...].dropFirst() : body
        guard rest.prefix(while: { $0 != question }).contains(at) else { return }
        if hasUser { throw .unescaped("@", as: "%40") }
        throw .unescaped("/", as: "%2F")
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

    /// The values of a keyword that takes a comma-separated list, one per host.
    func list(_ keyword: String) -> [String] {
        Self.list(parameters[keyword])
    }

    static func list(_ value: String?) -> [String] {
        guard let value, !value.isEmpty else { return [] }
        return value.unicodeScalars.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
    }

    /// Host, database and role, never more: `db.example.org:5432/neondb as mcp_service_role`.
    package var description: String { place + (parameters["user"].map { " as \($0)" } ?? "") }

    /// Host and database: `db.example.org:5432/neondb`.
    package var place: String {
        let hosts = parameters["host"] ?? parameters["hostaddr"] ?? "the default host"
        let port = parameters["port"].map { ":\($0)" } ?? ""
        let database = parameters["dbname"].map { "/\($0)" } ?? ""
        return hosts + port + database
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

/// libpq's message, its first line, without what stands between the first and the last quotation mark there: a piece of
/// the URL.
func withoutQuotations(_ message: String) -> String {
    let line = message.unicodeScalars.prefix { $0 != "\n" }
    guard let first = line.firstIndex(of: "\""), let last = line.lastIndex(of: "\""), first < last else {
        return String(line)
    }
    return String(line[...first]) + "…" + String(line[last...])
}
