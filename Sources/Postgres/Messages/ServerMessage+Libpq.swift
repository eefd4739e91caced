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
            Self.field(code, of: raw, upTo: Self.longestName, hiding: secrets)?.cut(to: Self.longestName)
        }
        self.init(
            severity: Self.field("V", of: raw, upTo: 16).flatMap(Severity.init) ?? .error,
            sqlState: SQLState(rawValue: state),
            text: Self.field("M", of: raw, upTo: Self.longestText, hiding: secrets) ?? "",
            hasContext: PQresultErrorField(raw, Int32(UInt8(ascii: "W"))) != nil,
            isRaised: Self.field("R", of: raw, upTo: Self.longestName) == "exec_stmt_raise",
            isAtPosition: PQresultErrorField(raw, Int32(UInt8(ascii: "P"))) != nil,
            names: Names(
                schema: name("s"), table: name("t"), column: name("c"), dataType: name("d"), constraint: name("n")),
            statementIndex: statementIndex)
    }

    /// Copies little more than the bound, so that it shows that the field is longer.
    private static func field(
        _ code: Unicode.Scalar, of raw: OpaquePointer, upTo bytes: Int, hiding secrets: [String] = []
    ) -> String? {
        // The result owns the text, which ends with a NUL, and outlives this function.
        PQresultErrorField(raw, Int32(code.value)).map { String(beginningOf: $0, upTo: bytes + 1, hiding: secrets) }
    }
}

extension String {
    /// Copies the beginning of a text that ends with a NUL, without passwords, and without the beginning of one that the
    /// bound cuts.
    ///
    /// - Parameter bytes: the most to copy of a text that has none of the passwords.
    init(beginningOf text: UnsafePointer<CChar>, upTo bytes: Int, hiding secrets: [String]) {
        let longest = secrets.map(\.utf8.count).max() ?? 0
        let count = strnlen(text, bytes + longest)
        // `count` bytes before the NUL; copied at once.
        let copy = String(decoding: UnsafeRawBufferPointer(start: text, count: count), as: UTF8.self).hiding(secrets)
        let isCut = count == bytes + longest
        self = isCut ? String(decoding: copy.utf8.dropLast(longest), as: UTF8.self) : copy
    }
}
