import CLibpq
import Time

/// A parsed connection URL: the database, our role there, and how the connection is secured. Holds the password, so
/// printing or dumping it shows host, database and role only.
package struct DatabaseURL: Sendable, CustomStringConvertible, CustomReflectable {
    /// libpq's keywords and their values, only those that the URL names.
    let parameters: [String: String]

    fileprivate static let form = "postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full"

    /// Reads a `postgresql://` or `postgres://` URL, as libpq does: "Connection URIs" in the libpq manual.
    /// - Throws: `DatabaseURLError`, which never repeats a part of the text: what cannot be parsed may be a password.
    package init(_ text: String) throws(DatabaseURLError) {
        // Compared by bytes, as libpq does: an `@` with a combining mark after it is another Character.
        guard let scheme = ["postgresql://", "postgres://"].first(where: { text.utf8.starts(with: $0.utf8) }) else {
            throw Self.wrongStart(of: text)
        }
        guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            throw .malformed("it contains a line break or another control character", as: "\(Self.form) on one line")
        }
        try Self.refuseUnescaped(text.utf8.dropFirst(scheme.utf8.count))
        let query = text.drop { $0 != "?" }.dropFirst()
        let names = query.split(separator: "&").map { $0.prefix { $0 != "=" } }
        let foreign = names.filter(Self.foreignParameters.contains)
        guard foreign.isEmpty else {
            let (noun, verb, object) = foreign.count == 1 ? ("parameter", "is", "it") : ("parameters", "are", "them")
            throw DatabaseURLError(
                "the \(noun) \(foreign.joined(separator: ", ")) \(verb) for other drivers, and libpq does not know "
                    + "\(object); leave \(object) out")
        }
        if !names.isEmpty { try Self.refuseMisspelled(names) }
        parameters = try Self.options(of: text).compactMapValues(\.self)
        for port in Self.list(parameters["port"]) where !(Int(port).map { (1...65_535).contains($0) } ?? port.isEmpty) {
            throw .malformed("the port is not a number from 1 to 65535")
        }
    }

    /// libpq takes the text before an `@` for the user's name and password, if no `/` comes first. With `@`, `/` or `?`
    /// in a password, it would take the rest for a host, a port or a database, and quote it in its messages.
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

    /// Returns the error for a text that does not begin with the scheme, with advice for likely slips.
    private static func wrongStart(of text: String) -> DatabaseURLError {
        let isURL = text.contains("://")
        if isURL, let first = text.unicodeScalars.first, "\"'`“”‘’«<".unicodeScalars.contains(first) {
            return DatabaseURLError("it stands in quotation marks; leave them out")
        }
        // The button "Copy" of a hosted database's console copies a whole command; env files name a variable.
        let words = text.prefix { $0 != ":" }
        guard isURL, words.hasPrefix("psql ") || words.contains("=") else {
            return .malformed("it does not start with postgresql:// or postgres://")
        }
        return .malformed("the URL follows other words, such as psql or the name of a variable", as: "\(form) alone")
    }

    /// The parameters of other drivers' URLs that are seen most: Prisma, node-postgres, JDBC, pgx, SQLAlchemy, sqlx.
    private static let foreignParameters: [Substring] = [
        "pgbouncer", "schema", "connection_limit", "pool_timeout", "uselibpqcompat", "sslaccept", "sslidentity",
        "socket_timeout", "statement_cache_size", "statement_cache_capacity", "statement_timeout", "pool_size",
        "pool_max_conns", "pool_min_conns", "pool_mode", "max_pool_size", "min_pool_size", "max_connections",
        "idle_timeout", "max_lifetime", "prepare", "prepareThreshold", "currentSchema", "search_path", "sslfactory",
        "binary_parameters", "default_query_exec_mode", "prepared_statements", "prepared_statement_cache_size",
        "command_timeout", "async_fallback", "supa", "workaround", "pool", "timezone", "charset", "encoding",
    ]

    /// Refuses a parameter that libpq does not know, and names the one that it resembles. The parameter itself is not
    /// quoted: it may be a piece of something else, such as a password.
    private static func refuseMisspelled(_ names: [Substring]) throws(DatabaseURLError) {
        let known = try options(of: "postgresql://").keys
        for name in names where !known.contains(String(name)) && name != "ssl" {
            let likely = known.map { (name: $0, shared: zip($0, name).prefix { $0 == $1 }.count) }.max {
                ($0.shared, $1.name) < ($1.shared, $0.name)
            }
            guard let likely, likely.shared >= 4 else { continue }
            throw .malformed("it has a parameter that libpq does not know; did you mean \(likely.name)?")
        }
    }

    /// Returns all keywords that libpq knows, with the values that the text has for them.
    private static func options(of text: String) throws(DatabaseURLError) -> [String: String?] {
        // libpq sets it only when it returns no options, to a text that the caller has to free.
        var message: UnsafeMutablePointer<CChar>?
        guard let parsed = PQconninfoParse(text, &message) else {
            defer { PQfreemem(message) }
            throw .malformed(message.map { withoutQuotations(String(cString: $0)) } ?? "out of memory")
        }
        defer { PQconninfoFree(parsed) }
        var options: [String: String?] = [:]
        var option = parsed
        // The array ends with an option without a keyword: libpq manual, PQconninfoParse.
        while let keyword = option.pointee.keyword {
            options.updateValue(option.pointee.val.map { String(cString: $0) }, forKey: String(cString: keyword))
            option += 1
        }
        return options
    }

    /// The URL's own limit for connecting, `connect_timeout`; `nil` if it has none, which 0 and less mean in libpq.
    package var connectTimeout: Duration? {
        guard let text = parameters["connect_timeout"], let seconds = Int32(text), seconds > 0 else { return nil }
        return .seconds(Int(seconds))
    }

    /// The values of a keyword that takes a comma-separated list, one per host.
    static func list(_ value: String?) -> [String] {
        guard let value, !value.isEmpty else { return [] }
        return value.unicodeScalars.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
    }

    /// Host, database and role, never more: `db.example.org:5432/neondb as mcp_service_role`.
    package var description: String { place + (parameters["user"].map { " as \($0.withoutURL)" } ?? "") }

    /// Host and database: `db.example.org:5432/neondb`. Visible; an ellipsis replaces a part that looks like a URL.
    package var place: String {
        let hosts = (parameters["host"] ?? parameters["hostaddr"] ?? "the default host").withoutURL
        let port = parameters["port"].map { ":\($0.withoutURL)" } ?? ""
        let database = parameters["dbname"].map { "/\($0.withoutURL)" } ?? ""
        return hosts + port + database
    }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Why a text is no connection URL. Contains no part of the text, except names from a closed list.
package struct DatabaseURLError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }

    static func malformed(_ problem: String, as expected: String = DatabaseURL.form) -> DatabaseURLError {
        DatabaseURLError("\(problem); expected \(expected)")
    }

    /// For a character that must be percent-encoded inside a user name or a password.
    static func unescaped(_ character: Character, as escape: String) -> DatabaseURLError {
        DatabaseURLError("it has a “\(character)” where none can be; in a user name or a password write \(escape)")
    }
}

/// The first line of libpq's message, without what stands between the first and the last quotation mark: a piece of the
/// URL, which may have lines and quotation marks of its own.
func withoutQuotations(_ message: String) -> String {
    let text = message.unicodeScalars
    var shown = text.prefix { $0 != "\n" }
    var result = String(shown)
    if let first = shown.firstIndex(of: "\""), let last = text.lastIndex(of: "\"") {
        // A message that was cut may have only one mark.
        shown = first < last ? text[last...].prefix { $0 != "\n" } : text[first...first]
        result = String(text[...first]) + "…" + String(shown)
    }
    guard result.hasPrefix("invalid sslmode value") else { return result }
    return result + "; expected disable, allow, prefer, require, verify-ca or verify-full"
}
