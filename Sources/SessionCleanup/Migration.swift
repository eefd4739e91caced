import Postgres

/// SQL that creates what is missing, applied as a whole or not at all.
package struct Migration: Sendable {
    private let sql: String

    /// - Parameter sql: statements that may be repeated, and none that controls a transaction.
    package init(sql: String) { self.sql = sql }

    /// Long enough to build an index on a large table.
    private static let deadline = Duration.seconds(600)

    package func apply(_ access: DatabaseAccess) async throws(RunFailure) {
        let clock = RunClock(deadline: Self.deadline)
        let connection = try await access.connect(limit: clock.remaining)
        do {
            let limit = try clock.limit(clock.remaining)
            _ = try await connection.script(
                "\(Statements.begin(limit: limit)) \(sql) COMMIT;", deadline: clock.giveUp(after: limit))
            await connection.close()
        } catch {
            await connection.close()
            throw RunFailure(error)
        }
    }
}
