import Time

/// Reads libpq's text about a failed connection attempt. libpq offers no SQLSTATE for it, only prose; with
/// `PQERRORS_VERBOSE` the prose of a server's refusal contains the SQLSTATE, which no translation changes.
struct ConnectFailure {
    let message: String
    let candidate: HostCandidate

    /// The error of an attempt that libpq refused before it opened a socket, or whose socket could not be opened.
    var beforeAnyPacket: PostgresError {
        message.contains("failed: ") ? error : .invalidParameters(withoutQuotations(message).visible)
    }

    var error: PostgresError {
        if let refusal { return .server(refusal, during: .connecting) }
        // libpq's own message where the server would refuse the login with 28P01.
        if message.contains("no password supplied") {
            let text = "the server asks for a password, and the database URL has none"
            return .server(ServerMessage(severity: .fatal, sqlState: "28P01", text: text), during: .connecting)
        }
        var reason = message
        // libpq repeats the address in front; the rest says why.
        if let range = message.firstRange(of: "failed: ") {
            // Without libpq's questions and guesses, which begin with a tab: our own hint says what to look at.
            let lines = message[range.upperBound...].split(separator: "\n").filter { !$0.hasPrefix("\t") }
            reason = onOneLine(lines.joined(separator: "\n"))
        }
        // Only the reason is searched: a host may be called `ssl.example.org`.
        let words = reason.lowercased()
        let cause = Self.causes.first { $0.words.contains(where: words.contains) }?.cause ?? .broken
        return .unreachable(cause, message: "\(candidate.description): \(reason)".visible)
    }

    /// The words in libpq's messages that tell a cause, in lower case. The first entry with a matching word counts.
    private static let causes: [(cause: PostgresError.Unreachability, words: [String])] = [
        // TLS broke off, or something else than PostgreSQL answered the request for it.
        (.broken, ["eof detected", "reset by peer", "invalid response"]),
        (.tls, ["ssl", "tls", "certificate", "channel binding"]),
        (.noRoute, ["unreachable", "no route", "cannot assign requested address"]),
        (.refused, ["refused", "no such file"]), (.silent, ["timeout", "timed out"]),
    ]

    /// Finds `connection to server at "h", port 1 failed: FATAL:  28P01: password authentication failed for user "x"`,
    /// which is followed by lines that begin with a label, such as `LOCATION:` and `CONTEXT:`.
    private var refusal: ServerMessage? {
        var refusals: [(code: SQLState, text: String, hasContext: Bool)] = []
        for line in message.split(separator: "\n") {
            // A label begins a line of its own; `failed: ` is in front of every refusal.
            if let range = line.firstRange(of: "failed: "),
                let found = line[range.lowerBound...].firstMatch(of: /:  ([0-9A-Z]{5}):/)
            {
                let text = onOneLine(line[found.range.upperBound...])
                refusals.append((SQLState(rawValue: String(found.1)), text, false))
            } else if line.hasPrefix("CONTEXT:"), let last = refusals.indices.last {
                refusals[last].hasContext = true
            }
        }
        // With sslmode=prefer or allow, libpq tries with and without TLS. A server that accepts only one of them
        // refuses the other with 28000; the refusal with another code says what is wrong.
        return (refusals.last { $0.code != "28000" } ?? refusals.last).map {
            ServerMessage(severity: .fatal, sqlState: $0.code, text: $0.text, hasContext: $0.hasContext)
        }
    }
}

/// Returns libpq's text on one line, without the blanks around its lines, and visible (`String.visible`).
func onOneLine(_ message: some StringProtocol) -> String {
    let lines = message.split(separator: "\n").map { line in
        String(line.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
    return lines.joined(separator: " ").visible
}

extension String {
    /// The text with an ellipsis in place of each password: a server that was given one may quote it.
    func hiding(_ secrets: [String]) -> String {
        // The longest first: a shorter one may be a part of it.
        let secrets = secrets.filter { !$0.isEmpty }.sorted { $0.utf8.count > $1.utf8.count }
        // By scalars: an accent behind a password makes its last character another one.
        return String(
            secrets.reduce(unicodeScalars) { text, secret in
                text.replacing(secret.unicodeScalars, with: "…".unicodeScalars)
            })
    }
}
