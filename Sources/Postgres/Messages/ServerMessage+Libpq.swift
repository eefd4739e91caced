import CLibpq
import Glibc

extension ServerMessage {
    /// Reads the message of an error or notice result; `nil` when it has no SQLSTATE, that is when no server made it.
    ///
    /// - Parameters:
    ///   - statementIndex: in a script, the number of results before it.
    ///   - secrets: passwords, none of which is repeated.
    init?(_ raw: OpaquePointer, statementIndex: Int?, secrets: [String]) {
        // PG_DIAG_… of postgres_ext.h, which are character constants that Swift does not import.
        guard let state = Self.field("C", of: raw, upTo: 5) else { return nil }
        func name(_ code: Unicode.Scalar) -> String? {
            Self.field(code, of: raw, upTo: Self.longestName)?.hiding(secrets).visible(upTo: Self.longestName)
        }
        self.init(
            severity: Self.field("V", of: raw, upTo: 16).flatMap(Severity.init) ?? .error,
            sqlState: SQLState(rawValue: state),
            text: Self.field("M", of: raw, upTo: Self.longestText)?.hiding(secrets) ?? "",
            hasContext: PQresultErrorField(raw, Int32(UInt8(ascii: "W"))) != nil,
            isRaised: Self.field("R", of: raw, upTo: Self.longestName) == "exec_stmt_raise",
            isAtPosition: PQresultErrorField(raw, Int32(UInt8(ascii: "P"))) != nil,
            names: Names(
                schema: name("s"), table: name("t"), column: name("c"), dataType: name("d"), constraint: name("n")),
            statementIndex: statementIndex)
    }

    /// Copies at most one byte more than the bound, so that it shows that the field is longer.
    private static func field(_ code: Unicode.Scalar, of raw: OpaquePointer, upTo bytes: Int) -> String? {
        guard let text = PQresultErrorField(raw, Int32(code.value)) else { return nil }
        // The result owns the text, which ends with a NUL, and outlives this function. It is copied at once.
        let start = UnsafeRawBufferPointer(start: text, count: strnlen(text, bytes + 1))
        return String(decoding: start, as: UTF8.self)
    }
}
