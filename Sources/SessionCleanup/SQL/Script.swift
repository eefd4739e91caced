import Postgres

/// Statements that are sent in one message of the simple protocol, which has no parameters: all values are literals. The
/// results that matter have names.
struct Script: Sendable {
    enum Answer: Sendable {
        case server, tables, details, candidates, earlierRuns, reopened, closed
        case batch, cost, runs, deletions, row, answer
    }

    private var statements: [(sql: String, answer: Answer?)] = []

    init() {}

    init(_ sql: String, as answer: Answer? = nil) { add(sql, as: answer) }

    /// - Parameter sql: one statement, without a semicolon.
    mutating func add(_ sql: String, as answer: Answer? = nil) { statements.append((sql, answer)) }

    mutating func add(_ script: Script) { statements += script.statements }

    func adding(_ sql: String, as answer: Answer? = nil) -> Script {
        var script = self
        script.add(sql, as: answer)
        return script
    }

    var text: String { statements.map(\.sql).joined(separator: ";\n") }

    /// True if the statement with that index in the script is the named one, or comes after it.
    func isAtOrAfter(_ answer: Answer, _ index: Int) -> Bool { place(of: answer).map { index >= $0 } ?? false }

    private func place(of answer: Answer) -> Int? { statements.lastIndex { $0.answer == answer } }

    /// The results of a script's statements.
    struct Answers: Sendable {
        let script: Script
        let results: [QueryResult]

        /// - Throws: `database(.unexpectedAnswer)` if there is no such result, or if `body` cannot read it.
        func read<Value>(_ answer: Answer, _ body: (QueryResult) throws -> Value) throws(RunFailure) -> Value {
            guard let place = script.place(of: answer), results.indices.contains(place) else {
                throw .database(.unexpectedAnswer("\(results.count) results, and none for \(answer)"))
            }
            return try results[place].reading(body)
        }
    }
}

extension QueryResult {
    /// - Throws: `database(.unexpectedAnswer)` if `body` cannot read it.
    func reading<Value>(_ body: (QueryResult) throws -> Value) throws(RunFailure) -> Value {
        do {
            return try body(self)
        } catch {
            throw RunFailure(error)
        }
    }
}
