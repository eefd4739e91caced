import Postgres

/// An operator's condition on the rows of a table: SQL over the table's columns, with the cutoff as `$1`.
///
/// It stands in parentheses in the statements of a run and cannot leave them: `ConditionReader` refuses what could end them or
/// comment them out; the server checks everything else. It may look at other tables by EXISTS; there the job's table
/// has its unqualified name as alias.
package struct RowCondition: Hashable, Sendable {
    /// The pieces of SQL before, between and after the cutoffs.
    private let parts: [String]
    /// The names with a parenthesis behind them, as a function call has it: for `SurveySQL.volatileFunction`.
    let calls: [Call]
    /// The tables that it looks at by EXISTS.
    let tables: [TableName]

    struct Call: Hashable, Sendable {
        let schema: String?
        let name: String
    }

    /// The greatest length of a condition in bytes: far above what a person can read at a glance.
    private static let sizeLimit = 4096

    /// - Throws: `RowConditionError` for the first thing that is refused.
    package init(parsing text: String) throws(RowConditionError) {
        guard text.utf8.count <= Self.sizeLimit else { throw .tooLong(limit: Self.sizeLimit) }
        var reader = ConditionReader(text: text)
        try reader.read()
        guard reader.parts.count > 1 else { throw .cutoffMissing }
        (parts, calls, tables) = (reader.parts, reader.calls, reader.tables)
    }

    package var sql: String { sql(cutoff: "$1") }

    /// The condition with `$1` replaced by a complete SQL expression.
    func sql(cutoff: String) -> String { parts.joined(separator: cutoff) }
}

package enum RowConditionError: Error, Hashable, Sendable, CustomStringConvertible {
    case tooLong(limit: Int)
    case cutoffMissing
    case unbalanced(String)
    case unterminated(String)
    case refused(String, why: String)

    package var description: String {
        switch self {
        case .tooLong(let limit): "it is longer than \(limit) bytes"
        case .cutoffMissing: "it does not use $1, the cutoff"
        case .unbalanced(let bracket): "a \(bracket) has no counterpart"
        case .unterminated(let quote): "a \(quote) is not closed"
        case .refused(let found, let why): "\(found) cannot be used: \(why)"
        }
    }
}
