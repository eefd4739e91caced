@testable import Postgres
@testable import SessionCleanup
import Testing

@Suite struct RowAddressTests {
    @Test func writesWhatItRead() throws {
        let text = #"{"(0,1)","(0,2)","(7,65535)","(4294967294,291)"}"#
        let rows = try RowAddress.list(text) { _ in 4_294_967_295 }
        #expect(rows.map(\.partition) == Array(repeating: 4_294_967_295, count: 4))
        #expect(RowAddress.literal(rows[...]) == "'\(text)'::pg_catalog.tid[]")
        #expect(RowAddress.literal(rows[2..<3]) == #"'{"(7,65535)"}'::pg_catalog.tid[]"#)
        #expect(RowAddress.literal([]) == "'{}'::pg_catalog.tid[]")
        #expect(rows[3].literal == "'(4294967294,291)'::pg_catalog.tid")
    }

    @Test func readsASingleAddressAndAnEmptyArray() throws {
        #expect(try RowAddress.list("(3,4)") { _ in 1 } == [RowAddress(partition: 1, block: 3, line: 4)])
        #expect(try RowAddress.list("{}") { _ in 1 }.isEmpty)
        #expect(RowAddress.numbers(in: "{16385,4294967295}") == [16_385, 4_294_967_295])
    }

    @Test(arguments: [#"{"(0,1)","(0)"}"#, #"{"(0,1)","(0,"#, "{(5}"])
    func halfAnAddressIsNone(array: String) {
        #expect(throws: PostgresError.unexpectedAnswer("an odd row address")) {
            try RowAddress.list(array) { _ in 1 }
        }
    }

    @Test func anAddressNeedsATable() {
        #expect(throws: PostgresError.unexpectedAnswer("a row address without a table")) {
            try RowAddress.list("(1,1)") { _ in nil }
        }
    }
}
