@testable import Postgres
@testable import SessionCleanup
import Testing

@Suite struct RowAddressesTests {
    private static func addresses(_ array: String, partition: String = "16385") throws -> RowAddresses {
        try RowAddresses(QueryResult.Row(columns: ["partition", "addresses"], values: [partition, array]))
    }

    @Test func writesWhatItRead() throws {
        let text = #"{"(0,1)","(0,2)","(7,65535)","(4294967294,291)"}"#
        let addresses = try Self.addresses(text, partition: "4294967295")
        #expect(addresses.partition == 4_294_967_295)
        #expect(addresses.count == 4)
        #expect(addresses.literal(0..<4) == text)
        #expect(addresses.literal(2..<3) == #"{"(7,65535)"}"#)
        #expect(addresses.literal(1..<1) == "{}")
    }

    @Test func anEmptyArrayHasNoAddress() throws {
        #expect(try Self.addresses("{}").count == 0)
    }

    @Test(arguments: [#"{"(0,1)","(0)"}"#, #"{"(0,1)","(0,"#, "{(5}"])
    func halfAnAddressIsNone(array: String) {
        #expect(throws: PostgresError.unexpectedAnswer("an odd row address")) { try Self.addresses(array) }
    }

    @Test(arguments: ["", "-1", "4294967296", "mcp_sessions"])
    func theTableIsNamedByItsNumber(partition: String) {
        #expect(throws: PostgresError.unexpectedAnswer("partition is no OID")) {
            try Self.addresses("{}", partition: partition)
        }
    }
}
