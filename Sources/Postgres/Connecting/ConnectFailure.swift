import CLibpq
import Glibc
import Time

/// Reads libpq's text about a failed connection attempt. libpq offers no SQLSTATE for it, only prose; with
/// `PQERRORS_VERBOSE` the prose of a server's refusal contains the SQLSTATE, which no translation changes.
struct ConnectFailure {
    private let message: String
    private let candidate: HostCandidate

    init(message: String, candidate: HostCandidate) {
        self.message = message
        self.candidate = candidate
    }

    /// For an attempt that libpq refused before it opened a socket, or whose socket could not be opened.
    var beforeAnyPacket: PostgresError {
        message.contains("failed: ") ? error : .invalidParameters(withoutQuotations(message).visible)
    }

    var error: PostgresError {
        if let refusal { return .server(refusal, during: .connecting) }
        // libpq's own words for what the server would refuse as 28P01.
        if message.contains("no password supplied") {
            let text = "the server asks for a password, and the database URL has none"
            return .server(
                ServerMessage(severity: .fatal, sqlState: "28P01", text: text), during: .connecting)
        }
        return .unreachable(cause, message: "\(candidate.description): \(reason)".visible)
    }

    /// Finds `connection to server at "h", port 1 failed: FATAL:  28P01: password authentication failed for user "x"`,
    /// which is followed by lines that begin with a label, such as `LOCATION:` and `CONTEXT:`.
    private var refusal: ServerMessage? {
        var refusals: [(code: SQLState, text: String, hasContext: Bool)] = []
        for line in message.split(separator: "\n").map(String.init) {
            // A label begins a line of its own; `failed: ` is in front of every refusal.
            if let range = line.firstRange(of: "failed: "),
                let state = Self.sqlState(in: String(line[range.lowerBound...]))
            {
                refusals.append((state.code, state.text, false))
            } else if line.hasPrefix("CONTEXT:"), let last = refusals.indices.last {
                refusals[last].hasContext = true
            }
        }
        // With sslmode=prefer or allow libpq tries with and without TLS, and a server that accepts one of them only
        // refuses the other with 28000: the other refusal says what is wrong.
        let telling = refusals.last { $0.code != "28000" } ?? refusals.last
        return telling.map {
            ServerMessage(severity: .fatal, sqlState: $0.code, text: $0.text, hasContext: $0.hasContext)
        }
    }

    /// The SQLSTATE and the text that follows it, found as `:  XXXXX: `.
    private static func sqlState(in line: String) -> (code: SQLState, text: String)? {
        let bytes = Array(line.utf8)
        let isCode: (UInt8) -> Bool = { (48...57).contains($0) || (65...90).contains($0) }
        for start in bytes.indices where start + 10 <= bytes.count {
            guard bytes[start...].starts(with: ":  ".utf8), bytes[start + 3..<start + 8].allSatisfy(isCode),
                bytes[start + 8] == UInt8(ascii: ":")
            else { continue }
            return (
                SQLState(rawValue: String(decoding: bytes[start + 3..<start + 8], as: UTF8.self)),
                String(decoding: bytes[(start + 9)...], as: UTF8.self).trimmed
            )
        }
        return nil
    }

    /// libpq repeats the address in front; the rest says why.
    private var reason: String {
        guard let range = message.firstRange(of: "failed: ") else { return message }
        // Without the question that follows, and the guess: our own hint says what to look at.
        let text = String(message[range.upperBound...])
        let telling = text.split(separator: "\n").filter { line in
            !["\tIs the server running", "\tThis probably means", "\tbefore or while processing"].contains {
                line.hasPrefix($0)
            }
        }
        return onOneLine(telling.joined(separator: "\n"))
    }

    private var cause: PostgresError.Unreachability {
        // Not of the whole message: a host may be called `ssl.example.org`.
        let words = reason.lowercased()
        // TLS broke off, or something else than PostgreSQL answered the request for it.
        if ["eof detected", "reset by peer", "invalid response"].contains(where: words.contains) { return .broken }
        if ["ssl", "tls", "certificate", "channel binding"].contains(where: words.contains) { return .tls }
        if ["unreachable", "no route", "cannot assign requested address"].contains(where: words.contains) {
            return .noRoute
        }
        if words.contains("refused") || words.contains("no such file") { return .refused }
        if words.contains("timeout") || words.contains("timed out") { return .silent }
        return .broken
    }
}

/// Returns libpq's last message about a connection, without line ends, cut to a bound: a server that speaks no version of
/// the protocol can have any text taken up in it.
///
/// - Parameter secrets: passwords, none of which is repeated.
func libpqMessage(of connection: OpaquePointer, hiding secrets: [String]) -> String {
    // Above two refusals, each with a message of the longest that is shown and its labels.
    let longest = 4 * ServerMessage.longestText
    guard let text = PQerrorMessage(connection) else { return "no reason given" }
    return withoutTrailingLines(String(beginningOf: text, upTo: longest, hiding: secrets))
}

/// Returns libpq's text without its line ends and the blanks after them, and visible.
func onOneLine(_ message: String) -> String {
    message.split(separator: "\n").map { String($0).trimmed }.joined(separator: " ").visible
}

func withoutTrailingLines(_ message: String) -> String {
    var text = message[...]
    while text.last?.isNewline == true { text.removeLast() }
    return text.isEmpty ? "no reason given" : String(text)
}

extension String {
    /// The text without passwords, which a server that was given one may quote.
    func hiding(_ secrets: [String]) -> String {
        // The longest first: a shorter one may be a part of it.
        secrets.sorted { $0.utf8.count > $1.utf8.count }.reduce(self) { text, secret in
            guard !secret.isEmpty, text.contains(secret) else { return text }
            return text.replacing(secret, with: "…")
        }
    }

    fileprivate var trimmed: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
