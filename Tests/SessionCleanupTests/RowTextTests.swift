@testable import SessionCleanup
import Testing

/// Rows in the server's text format, with names as strange as a column's may be.
@Suite struct RowTextTests {
    @Test(arguments: [
        ("{}", []),
        (#"{"(1,2950,id)"}"#, [["1", "2950", "id"]]),
        (#"{"(\"2 3\",)","(2,\"{OPEXPR :opno 98}\")"}"#, [["2 3", ""], ["2", "{OPEXPR :opno 98}"]]),
        (#"{"(1,\"a\"\"b, c\")"}"#, [["1", #"a"b, c"#]]),
        (#"{"(1,\"back\\\\slash\")"}"#, [["1", #"back\slash"#]]),
        (#"{"(,\"\")"}"#, [["", ""]]),
    ])
    func takesRowsApart(text: String, rows: [[String]]) {
        #expect(RowText.rows(text) == rows)
    }
}
