import Postgres
import Time

/// How transactions of ours begin.
enum Transaction {
    /// Whose functions, operators, types and tables an unqualified name means in the transaction.
    enum SearchPath: Sendable {
        /// pg_catalog's alone: for statements that run no code of the application.
        case catalog
        /// The role's own search path, for statements that may fire the application's triggers or that contain an
        /// operator's condition. The rest of such a statement qualifies every name.
        case role
    }

    /// Returns the statements that begin a transaction which the server itself ends when a statement takes longer than the
    /// limit, or when this process is silent in it for longer.
    ///
    /// Isolation and access mode are explicit: under a role's default of repeatable read, SKIP LOCKED would fail with
    /// 40001. SET LOCAL is the only kind of setting that a transaction pooler keeps apart.
    /// - Parameter serverVersion: as `PQserverVersion` gives it, such as 170002.
    static func begin(
        isReadOnly: Bool, limit: Duration, lockLimit: Duration? = nil, path: SearchPath, serverVersion: Int
    ) -> Script {
        var script = Script("BEGIN ISOLATION LEVEL READ COMMITTED \(isReadOnly ? "READ ONLY" : "READ WRITE")")
        script.add(setLimits(limit, lockLimit))
        script.add("SET LOCAL idle_in_transaction_session_timeout = \(milliseconds(limit))")
        // A role's or server's own timeout would end the connection, not the statement: PostgreSQL manual, 20.11.1.
        if serverVersion >= 170_000 { script.add("SET LOCAL transaction_timeout = 0") }
        script.add(setPath(path))
        return script
    }

    /// - Parameter lockLimit: half of `limit` unless given, so that the server reports the lock as the cause.
    static func setLimits(_ limit: Duration, _ lockLimit: Duration? = nil) -> Script {
        Script("SET LOCAL statement_timeout = \(milliseconds(limit))")
            .adding("SET LOCAL lock_timeout = \(milliseconds(lockLimit ?? limit / 2))")
    }

    /// For a search that is to use an index if there is one: the planner takes a rule's conditions for independent, and
    /// would read a quarter of the table for a few rows. Without an index, the disabled scan's cost would make the
    /// server compile the plan. An index scan marks the index entries of deleted rows, which the next one skips.
    static let preferIndexes = Script("SET LOCAL enable_seqscan = off").adding("SET LOCAL enable_bitmapscan = off")
        .adding("SET LOCAL jit = off")

    /// COMMIT warns if no standby has confirmed it; a role's setting may keep that back.
    static let showWarnings = "SET LOCAL client_min_messages = warning"

    /// pg_temp comes last: else a temporary table would come before pg_catalog's.
    static func setPath(_ path: SearchPath) -> String {
        "SET LOCAL search_path \(path == .catalog ? "= pg_catalog, pg_temp" : "TO DEFAULT")"
    }

    /// Returns statements that fail if row security applies to the role on one of the tables, and lock the tables so
    /// that it cannot apply until the transaction's end. The setting holds only for these statements, which read
    /// nothing: the application's triggers may write to other tables, whose policies admit the role.
    static func refuseFilters(of tables: [TableName]) -> Script {
        var script = Script("SET LOCAL row_security = off")
        for table in tables { script.add("SELECT FROM ONLY \(table.quoted) LIMIT 0") }
        script.add("SET LOCAL row_security TO DEFAULT")
        return script
    }

    /// Never 0, which means no limit.
    static func milliseconds(_ limit: Duration) -> Int64 { max(1, limit.wholeMilliseconds) }
}
