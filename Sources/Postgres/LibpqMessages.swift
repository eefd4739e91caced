import CLibpq

extension QueryResult {
    /// Copies libpq's result; the caller still owns `raw`.
    init(_ raw: OpaquePointer) {
        let columns = (0..<PQnfields(raw)).map { String(cString: PQfname(raw, $0)) }
        self.columns = columns
        rows = (0..<PQntuples(raw)).map { row in
            Row(
                columns: columns,
                values: (0..<PQnfields(raw)).map { column in
                    PQgetisnull(raw, row, column) == 1 ? nil : String(cString: PQgetvalue(raw, row, column))
                })
        }
        rowsAffected = Int(String(cString: PQcmdTuples(raw))) ?? 0
    }
}

extension ServerMessage {
    /// The message of an error or notice result; `nil` when it has no SQLSTATE, that is when no server made it.
    init?(_ raw: OpaquePointer) {
        // PG_DIAG_… of postgres_ext.h, which are character constants that Swift does not import.
        func field(_ code: Unicode.Scalar) -> String? {
            PQresultErrorField(raw, Int32(code.value)).map { String(cString: $0) }
        }
        guard let sqlState = field("C") else { return nil }
        self.init(
            severity: field("V") ?? "ERROR", sqlState: SQLState(rawValue: sqlState), message: field("M") ?? "",
            detail: field("D"), hint: field("H"), context: field("W"), table: field("t"), constraint: field("n"))
    }
}

/// Hands the server's notices to a closure.
final class NoticeReceiver: Sendable {
    private let receive: @Sendable (ServerMessage) -> Void

    init(_ receive: @escaping @Sendable (ServerMessage) -> Void) { self.receive = receive }

    /// libpq keeps a pointer to this object as long as the connection lives: the connection must own it.
    func register(on connection: OpaquePointer) {
        PQsetNoticeReceiver(
            connection,
            { context, raw in
                guard let context, let raw, let message = ServerMessage(raw) else { return }
                Unmanaged<NoticeReceiver>.fromOpaque(context).takeUnretainedValue().receive(message)
            }, Unmanaged.passUnretained(self).toOpaque())
    }
}

/// What libpq's text about a failed connection attempt means. libpq offers no SQLSTATE for it, only prose; with
/// `PQERRORS_VERBOSE` the prose of a server's refusal contains the SQLSTATE, which no translation changes.
struct ConnectFailure {
    private let message: String
    private let candidate: HostCandidate

    init(message: String, candidate: HostCandidate) {
        self.message = withoutTrailingLines(message)
        self.candidate = candidate
    }

    /// For an attempt that libpq refused before it opened a socket, or whose socket could not be opened.
    var beforeAnyPacket: PostgresError {
        message.contains("failed: ") ? error : .invalidParameters(withoutQuotations(message))
    }

    var error: PostgresError {
        if let refusal { return .server(refusal, during: .connecting) }
        return .unreachable(cause, message: "\(candidate.description): \(reason)")
    }

    /// `connection to server at "h", port 1 failed: FATAL:  28P01: password authentication failed for user "x"`,
    /// then `LOCATION:` and sometimes `DETAIL:` and `HINT:` lines.
    private var refusal: ServerMessage? {
        let lines = message.split(separator: "\n").map(String.init)
        var refusals: [ServerMessage] = []
        for line in lines {
            // A label begins a line of its own; `failed: ` is in front of every refusal.
            if let range = line.firstRange(of: "failed: "),
                let state = Self.sqlState(in: String(line[range.lowerBound...]))
            {
                refusals.append(ServerMessage(severity: "FATAL", sqlState: state.code, message: state.message))
            } else if let last = refusals.indices.last {
                if let detail = Self.value("DETAIL:", in: line) { refusals[last].detail = detail }
                if let hint = Self.value("HINT:", in: line) { refusals[last].hint = hint }
            }
        }
        // With sslmode=prefer or allow libpq tries with and without TLS, and a server that accepts one of them only
        // refuses the other with 28000: the other refusal says what is wrong.
        return refusals.last { $0.sqlState != "28000" } ?? refusals.last
    }

    private static func value(_ label: String, in line: String) -> String? {
        line.hasPrefix(label) ? String(line.dropFirst(label.count)).trimmed : nil
    }

    /// The SQLSTATE and what follows it, found as `:  XXXXX: `.
    private static func sqlState(in line: String) -> (code: SQLState, message: String)? {
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
        return message[range.upperBound...].split(separator: "\n").map { String($0).trimmed }.joined(separator: " ")
    }

    private var cause: PostgresError.Unreachability {
        // Not of the whole message: a host may be called `ssl.example.org`.
        let words = reason.lowercased()
        // TLS broke off, or something else than PostgreSQL answered the request for it.
        if ["eof detected", "reset by peer", "invalid response"].contains(where: words.contains) { return .broken }
        if ["ssl", "tls", "certificate", "channel binding"].contains(where: words.contains) { return .tls }
        if ["refused", "no such file", "unreachable", "no route"].contains(where: words.contains) { return .refused }
        if words.contains("timeout") || words.contains("timed out") { return .silent }
        return .broken
    }
}

extension SQLState {
    /// The server is starting, stopping, recovering (57P03) or has no connection left (53300): another may serve us.
    var isTemporaryRefusal: Bool { self == "57P03" || self == "53300" || self == "57P01" }
}

extension String {
    fileprivate var trimmed: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
