import Time
import Postgres

/// The physical address of a row version: its table or partition, and `ctid`.
struct RowAddress: Hashable, Comparable, Sendable {
    /// The table or partition, by OID.
    let partition: UInt32
    /// Block number and line pointer, in the server's order.
    private let packed: UInt64

    init(partition: UInt32, block: UInt64, line: UInt64) {
        self.partition = partition
        packed = block << 16 | line & 0xFFFF
    }

    /// Reads an array of addresses as the server writes it: `{"(0,1)","(0,2)"}`, or one of them.
    ///
    /// - Parameter partition: the OID of the table that an address belongs to, by the address's place in the array.
    static func list(_ text: String, partition: (Int) -> UInt32?) throws(PostgresError) -> [RowAddress] {
        var rows: [RowAddress] = []
        // A search may find 50,000 rows: growing by doubling would take twice the memory.
        rows.reserveCapacity(text.utf8.count { $0 == UInt8(ascii: "(") })
        var block: UInt64?
        var isOrphaned = false
        forEachNumber(in: text) { number in
            guard let first = block else { return block = number }
            if let partition = partition(rows.count) {
                rows.append(RowAddress(partition: partition, block: first, line: number))
            } else {
                isOrphaned = true
            }
            block = nil
        }
        if isOrphaned { throw .unexpectedAnswer("a row address without a table") }
        guard block == nil else { throw .unexpectedAnswer("an odd row address") }
        return rows
    }

    /// The numbers in the text of an array of row addresses or of OIDs.
    static func numbers(in text: String) -> [UInt64] {
        var numbers: [UInt64] = []
        forEachNumber(in: text) { numbers.append($0) }
        return numbers
    }

    private static func forEachNumber(in text: String, _ body: (UInt64) -> Void) {
        var number: UInt64?
        for byte in text.utf8 {
            if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                // A block number and an OID have 32 bits: ten digits and no overflow.
                number = (number ?? 0) &* 10 &+ UInt64(byte - UInt8(ascii: "0"))
            } else if let complete = number {
                body(complete)
                number = nil
            }
        }
        if let number { body(number) }
    }

    /// The order of tables, and of places in a table.
    static func < (left: RowAddress, right: RowAddress) -> Bool {
        (left.partition, left.packed) < (right.partition, right.packed)
    }

    private var text: String { "(\(packed >> 16),\(packed & 0xFFFF))" }

    /// The address as SQL.
    var literal: String { "'\(text)'::pg_catalog.tid" }

    /// The addresses as a SQL array, without their tables.
    static func literal(_ rows: ArraySlice<RowAddress>) -> String {
        var text = "'{"
        for row in rows {
            if text.utf8.count > 2 { text += "," }
            text += "\"\(row.text)\""
        }
        return text + "}'::pg_catalog.tid[]"
    }
}

/// The rows that one search found.
struct FoundRows: Sendable {
    /// In the order of their tables, and of their places there.
    var rows: [RowAddress] = []
    /// Since when the oldest of them is due; `nil` if there is none, or for a time before the year 1 or after 9999.
    var oldest: UTCInstant?
    /// The last of them by age; `nil` unless the search was by age.
    var last: SearchSQL.Key?
    /// The run's row in the history, if the search found nothing and recorded the run together with its end.
    var recordedRunID: Int64?

    /// Returns true if one of the rows is in none of these tables.
    func hasRows(outside tables: Set<UInt32>) -> Bool {
        var known: UInt32?
        return rows.contains { row in
            if row.partition == known { return false }
            known = row.partition
            return !tables.contains(row.partition)
        }
    }

    /// Reads the result of `SearchSQL.first`, `.byAge` or `.unordered`.
    init(_ result: QueryResult) throws(PostgresError) {
        for row in result.rows {
            guard try row.textIfPresent("partition") != nil else {
                recordedRunID = Int64(try row.integer("recorded", most: .max))
                continue
            }
            let partition = UInt32(exactly: try row.integer("partition"))
            let found = try RowAddress.list(try row.text("addresses")) { _ in partition }
            // Thousands of rows, mostly of one table: the first list is taken without a copy.
            if rows.isEmpty { rows = found } else { rows += found }
            if let since = try row.instantIfPresent("oldest") { oldest = min(oldest ?? since, since) }
        }
        guard let row = result.rows.first, row.columns.contains("last_address") else { return }
        let partition = UInt32(exactly: try row.integer("last_partition"))
        let age = try row.textIfPresent("last_age")
        last = try RowAddress.list(try row.text("last_address")) { _ in partition }.first.map {
            SearchSQL.Key(age: age, row: $0)
        }
    }
}
