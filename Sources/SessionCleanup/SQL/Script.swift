import Postgres

/// Statements that are sent in one message of the simple protocol, in one round trip. The results that matter have names.
///
/// The simple protocol has no parameters: all values in the statements are literals.
struct Script: Sendable {
    enum Answer: Hashable, Sendable {
        case server, tables, details
        case candidates, earlierRuns, reopened, closed, row
        case batch, cost
        case runs, deletions
        case answer
    }

    private(set) var statements: [String] = []
    /// An array: a dictionary would have the start of the program look for what makes its key hashable.
    private var places: [(answer: Answer, place: Int)] = []

    init() {}

    /// - Parameter sql: one statement, without a semicolon.
    init(_ sql: String, as answer: Answer? = nil) { add(sql, as: answer) }

    /// - Parameter sql: one statement, without a semicolon.
    mutating func add(_ sql: String, as answer: Answer? = nil) {
        if let answer { places.append((answer, statements.count)) }
        statements.append(sql)
    }

    mutating func add(_ script: Script) {
        for (answer, place) in script.places { places.append((answer, statements.count + place)) }
        statements += script.statements
    }

    func adding(_ sql: String, as answer: Answer? = nil) -> Script {
        var script = self
        script.add(sql, as: answer)
        return script
    }

    var text: String { statements.joined(separator: ";\n") }

    /// True if the statement with that index in the script is the named one, or comes after it.
    func isAtOrAfter(_ answer: Answer, _ index: Int) -> Bool {
        places.last { $0.answer == answer }.map { index >= $0.place } ?? false
    }

    func answers(_ results: [QueryResult]) -> Answers { Answers(results: results, places: places) }

    /// The results of a script's statements.
    struct Answers: Sendable {
        fileprivate let results: [QueryResult]
        fileprivate let places: [(answer: Answer, place: Int)]

        /// Returns what `body` makes of the named result.
        ///
        /// - Throws: `database(.unexpectedAnswer)` if there is no such result, or if `body` cannot read it.
        func read<Value>(_ answer: Answer, _ body: (QueryResult) throws -> Value) throws(RunFailure) -> Value {
            guard let place = places.last(where: { $0.answer == answer })?.place, results.indices.contains(place) else {
                throw .database(.unexpectedAnswer("\(results.count) results, and none for \(answer)"))
            }
            return try results[place].reading(body)
        }
    }
}

extension QueryResult {
    /// Returns what `body` makes of the result.
    ///
    /// - Throws: `database(.unexpectedAnswer)` if `body` cannot read it.
    func reading<Value>(_ body: (QueryResult) throws -> Value) throws(RunFailure) -> Value {
        do {
            return try body(self)
        } catch {
            throw RunFailure(error)
        }
    }
}
