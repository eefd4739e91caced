import Postgres

/// SQL that creates what is missing, applied as a whole or not at all.
package struct Migration: Sendable {
    private let sql: String

    /// - Parameter sql: statements that may be repeated, and none that controls a transaction.
    package init(sql: String) { self.sql = sql }

    /// Long enough to build an index on a large table.
    private static let deadline = Duration.seconds(600)

    /// Short: whoever wants the table waits in line behind a lock that waits. Somebody else's transaction that takes
    /// longer makes the migration fail, and it can be repeated.
    private static let lockLimit = Duration.seconds(5)

    package func apply(_ access: DatabaseAccess) async throws(RunFailure) {
        let clock = RunClock(deadline: Self.deadline)
        let connection = try await access.connect(limit: clock.remaining)
        _ = try await connection.begin(clock, limit: clock.remaining, lockLimit: Self.lockLimit)
        do {
            // On a line of its own: the SQL may end with a comment.
            _ = try await connection.script("\(sql)\nCOMMIT;", deadline: clock.giveUp(after: clock.remaining))
            await connection.close()
        } catch {
            await connection.close()
            throw clock.failure(error)
        }
    }
}
