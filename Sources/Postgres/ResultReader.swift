import CLibpq

/// Collects the rows of one answer, statement by statement and one at a time, up to a bound.
struct ResultReader {
    /// One for each statement that has ended.
    private(set) var results: [QueryResult] = []
    private(set) var failure: ServerMessage?
    private var columns: [String] = []
    private var rows: [QueryResult.Row] = []
    /// The approximate memory that all rows take, in bytes.
    private var size = 0

    /// The most memory that the rows of one answer may take: more than 10,000 rows of the history take, each with the
    /// longest message of a server (1 KB), and a third of what the process may take.
    private static let mostBytes = 20 << 20
    /// The most statements of one script; ours have a dozen.
    private static let mostResults = 1000

    /// Copies what a result of libpq's holds.
    /// - Returns: the length of its rows in the protocol; `nil` for the result that libpq makes when the connection
    ///   breaks.
    /// - Throws: `unexpectedAnswer` for a result that none of our statements has, or one above the bounds.
    mutating func take(_ raw: OpaquePointer, hiding secrets: [String]) throws(PostgresError) -> Int? {
        switch PQresultStatus(raw) {
        case PGRES_SINGLE_TUPLE: return try addRow(raw)
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
            guard results.count < Self.mostResults else {
                throw .unexpectedAnswer("the server sent more than \(Self.mostResults) results")
            }
            results.append(QueryResult(rows: rows))
            (columns, rows) = ([], [])
        case PGRES_FATAL_ERROR:
            // libpq makes an error without SQLSTATE itself, when the connection breaks.
            guard let message = ServerMessage(raw, statementIndex: results.count, secrets: secrets) else { return nil }
            failure = failure ?? message
        // In COPY, libpq would return the same result again and again.
        case let status: throw .unexpectedAnswer(String(cString: PQresStatus(status)))
        }
        return 0
    }

    private mutating func addRow(_ raw: OpaquePointer) throws(PostgresError) -> Int {
        if columns.isEmpty {
            columns = (0..<PQnfields(raw)).map { String(cString: PQfname(raw, $0)) }
            size += columns.reduce(0) { $0 + Self.valueSize + $1.utf8.count }
        }
        let places = 0..<Int32(columns.count)
        let length = places.reduce(0) { $0 + Int(PQgetlength(raw, 0, $1)) }
        size += Self.rowSize + columns.count * Self.valueSize + length
        guard size <= Self.mostBytes else {
            throw .unexpectedAnswer("the server sent more than \(Self.mostBytes >> 20) MB of rows")
        }
        let values = places.map { PQgetisnull(raw, 0, $0) == 1 ? nil : String(cString: PQgetvalue(raw, 0, $0)) }
        rows.append(QueryResult.Row(columns: columns, values: values))
        return 7 + columns.count * 4 + length
    }

    /// In bytes: an array's header and the element that points at it.
    private static let rowSize = 48
    /// A `String?`; a text of more than 15 bytes has another head, which its length makes up for here.
    private static let valueSize = 17
}
