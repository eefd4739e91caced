import Postgres

/// Physical row addresses (`ctid`) of one table or partition, packed into 8 bytes each: a search may find very many.
struct RowAddresses {
    /// The table or partition, by OID.
    let partition: UInt32
    /// Block number and line pointer, in the server's order.
    private var packed: [UInt64] = []

    /// Reads a row of `Statements.search`, whose array looks like `{"(0,1)","(0,2)"}`.
    init(_ row: QueryResult.Row) throws(PostgresError) {
        guard let partition = UInt32(try row.text("partition")) else { throw .unexpectedAnswer("partition is no OID") }
        self.partition = partition
        var numbers: [UInt64] = []
        var number: UInt64?
        for byte in try row.text("addresses").utf8 {
            if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                // A block number has 32 bits: ten digits and no overflow.
                number = (number ?? 0) &* 10 &+ UInt64(byte - UInt8(ascii: "0"))
            } else if let complete = number {
                numbers.append(complete)
                number = nil
            }
        }
        guard numbers.count.isMultiple(of: 2) else { throw .unexpectedAnswer("an odd row address") }
        packed.reserveCapacity(numbers.count / 2)
        for index in stride(from: 0, to: numbers.count, by: 2) {
            packed.append(numbers[index] << 16 | numbers[index + 1])
        }
    }

    var count: Int { packed.count }

    /// The array literal of some of them.
    func literal(_ range: Range<Int>) -> String {
        var text = "{"
        for address in packed[range] {
            if text.utf8.count > 1 { text += "," }
            text += "\"(\(address >> 16),\(address & 0xFFFF))\""
        }
        return text + "}"
    }
}
