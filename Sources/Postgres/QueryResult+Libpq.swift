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
    }
}
