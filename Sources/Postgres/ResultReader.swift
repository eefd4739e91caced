import CLibpq

/// Collects the rows of one answer, statement by statement, up to a bound.
///
/// Rows come one at a time: libpq manual, "Retrieving Query Results Row-by-Row".
struct ResultReader {
    /// One for each statement that has ended.
    private(set) var results: [QueryResult] = []
    private var columns: [String]?
    private var rows: [QueryResult.Row] = []
    /// The memory that all rows take, about.
    private var size = 0

    /// The most memory that the rows of one answer may take: above 10,000 rows of the history, each with an error of the
    /// longest that is stored (1 KB), and a third of what the process may take.
    static let mostBytes = 20 << 20
    /// The most statements of one script; ours have a dozen.
    static let mostResults = 1000

    /// Takes over the row of a result, and counts its bytes in the protocol.
    ///
    /// - Throws: `unexpectedAnswer` above the bound.
    mutating func addRow(_ raw: OpaquePointer) throws(PostgresError) -> Int {
        let columns: [String]
        if let known = self.columns { columns = known } else { columns = try names(raw) }
        self.columns = columns
        var bytes = 7
        for row in 0..<PQntuples(raw) {
            var values: [String?] = []
            values.reserveCapacity(columns.count)
            for column in 0..<Int32(columns.count) {
                let isNull = PQgetisnull(raw, row, column) == 1
                let length = isNull ? 0 : Int(PQgetlength(raw, row, column))
                bytes += 4 + length
                try count(Self.valueSize + length)
                values.append(isNull ? nil : String(cString: PQgetvalue(raw, row, column)))
            }
            try count(Self.rowSize)
            rows.append(QueryResult.Row(columns: columns, values: values))
        }
        return bytes
    }

    /// Ends a statement with its last result, which has no rows.
    ///
    /// - Throws: `unexpectedAnswer` above the bound.
    mutating func endStatement(_ raw: OpaquePointer) throws(PostgresError) {
        guard results.count < Self.mostResults else {
            throw .unexpectedAnswer("the server sent more than \(Self.mostResults) results")
        }
        if columns == nil { columns = try names(raw) }
        results.append(QueryResult(columns: columns ?? [], rows: rows))
        columns = nil
        rows = []
    }

    private mutating func names(_ raw: OpaquePointer) throws(PostgresError) -> [String] {
        var names: [String] = []
        for column in 0..<PQnfields(raw) {
            let name = String(cString: PQfname(raw, column))
            try count(Self.valueSize + name.utf8.count)
            names.append(name)
        }
        return names
    }

    private mutating func count(_ bytes: Int) throws(PostgresError) {
        size += bytes
        guard size <= Self.mostBytes else {
            throw .unexpectedAnswer("the server sent more than \(Self.mostBytes >> 20) MB of rows")
        }
    }

    /// An array's head and the row that points at it.
    private static let rowSize = 48
    /// A `String?`; a text of more than 15 bytes has another head, which its length makes up for here.
    private static let valueSize = 17
}
