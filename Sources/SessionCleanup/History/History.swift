import Glibc
import Postgres
import Synchronization
import Time

/// The condition for recording and claiming runs in `mcp_cleanup.runs`.
package enum HistoryMode: String, Hashable, Sendable, CaseIterable {
    /// If the table exists. Once a process has seen the table, a run without it fails.
    case auto
    /// Always: without the table a run fails.
    case required
    case off
}

/// The settings of the history of runs: `mcp_cleanup.runs`.
package struct History: Hashable, Sendable {
    package var mode = HistoryMode.auto
    /// The age of the last heartbeat above which a run's owner counts as dead.
    package var lease = Duration.seconds(60)
    /// The time for which closed runs are kept.
    package var retention = Duration.seconds(30 * 86_400)
    /// The time for which the records of removed sessions are kept; `nil` records none.
    package var removed: Duration?

    package static let standard = History()

    /// Returns a new token: host and process ID, for people, and a random number. ASCII, for a database of any
    /// encoding.
    static func token() -> String {
        "\(HostName.current):\(getpid()):\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
    }
}

/// The process's memory of the history, kept until the process ends.
package final class HistoryMemory: Sendable {
    /// True once the table has been seen; `nil` before the first look.
    private let hadTable = Mutex<Bool?>(nil)
    private let generations = Mutex<[(table: TableName, generation: SchemaGeneration)]>([])
    private let onAbsence: @Sendable () -> Void

    /// - Parameter onAbsence: called once, if the table is not there at the first look.
    package init(onAbsence: @escaping @Sendable () -> Void = {}) { self.onAbsence = onAbsence }

    /// Remembers the generation of a table.
    ///
    /// - Parameter isConfirmed: true if the configuration or the history names it.
    /// - Throws: `schemaChanged` if it was another one and the new one is not confirmed: the active sessions are in
    ///   doubt.
    func remember(_ generation: SchemaGeneration, of table: TableName, isConfirmed: Bool) throws(RunFailure) {
        let before = generations.withLock { known in
            if !isConfirmed, let before = known.first(where: { $0.table == table }) { return before.generation }
            known.removeAll { $0.table == table }
            known.append((table, generation))
            return generation
        }
        if before != generation { throw .schemaChanged(table, from: before, to: generation) }
    }

    /// - Returns: true if the table was there before and is gone.
    fileprivate func hasVanished(isThere: Bool) -> Bool {
        let before = hadTable.withLock { hadTable in
            defer { hadTable = isThere || hadTable == true }
            return hadTable
        }
        if !isThere, before == nil { onAbsence() }
        return !isThere && before == true
    }
}

extension CleanupRun {
    /// Returns true if the run is to be recorded. Throws `historyMissing` or `historyUnusable`.
    func usesHistory(_ survey: Survey) throws(RunFailure) -> Bool {
        guard history.mode != .off else { return false }
        let found = survey.history
        let hasVanished = memory.hasVanished(isThere: found.isThere)
        if found.isThere {
            try found.requireUsable(by: survey.role)
        } else if hasVanished || history.mode == .required {
            throw .historyMissing(hasVanished: hasVanished)
        }
        return found.isThere
    }
}

/// A table of the history as the database has it.
package struct HistoryTable: Hashable, Sendable {
    let name: Name
    let isThere: Bool
    let canUseSchema: Bool
    /// Those of SELECT, INSERT, UPDATE (for `runs` only) and DELETE that the role lacks.
    private var missingPrivileges: [String] = []
    private var isRowSecurityActive = false
    /// The owner if its triggers are not trusted: any role with CREATE on the database may own the table. `nil` for the
    /// role itself, a superuser, and the owners of the sessions and the database, whose triggers are the application's.
    private var foreignOwner: String?
    private var columns: [String: ColumnType] = [:]
    /// The names of the columns by their numbers.
    private var names: [String: String] = [:]
    /// The columns of its valid unique indexes, with the condition of a partial one.
    private var uniqueIndexes: [String] = []
    /// True if the condition of a unique index is in a form that only `SurveySQL.details` reads.
    private(set) var hasUnknownIndex = false

    package enum Name: String, Hashable, Sendable {
        case runs = "mcp_cleanup.runs"
        case removed = "mcp_cleanup.removed"
    }

    package enum Obstacle: Hashable, Sendable {
        case privileges(isOnSchema: Bool, [String])
        case rowSecurity
        case column(String, found: String?, expected: String)
        case index(String)
        case owner(String)
        /// An INSERT met no conflict, and its row is not there: a trigger or a rule discarded it.
        case insertVetoed
    }

    /// - Throws: `historyUnusable` for the first obstacle to writing the table or, for `.reading`, to reading it.
    func requireUsable(for purpose: Purpose = .deleting, by role: String) throws(RunFailure) {
        try refuse(foreignOwner.map { .owner($0) }, by: role)
        try refuse(canUseSchema ? nil : .privileges(isOnSchema: true, ["USAGE"]), by: role)
        if purpose == .deleting { try refuse(shapeObstacle, by: role) }
        let missing = missingPrivileges.filter { purpose == .deleting || $0 == "SELECT" }
        try refuse(missing.isEmpty ? nil : .privileges(isOnSchema: false, missing), by: role)
        try refuse(columnObstacle() ?? (isRowSecurityActive ? .rowSecurity : nil), by: role)
    }

    func refuse(_ obstacle: Obstacle?, by role: String) throws(RunFailure) {
        if let obstacle { throw .historyUnusable(name, role: role, obstacle) }
    }

    /// A column or index that the table lacks; privileges are not looked at.
    var shapeObstacle: Obstacle? {
        let indexes = name == .runs ? Self.expectedIndexes : []
        return columnObstacle() ?? indexes.first { !uniqueIndexes.contains($0.index) }.map { .index($0.text) }
    }

    /// - Parameter optional: columns that may be missing.
    func columnObstacle(except optional: Set<String> = []) -> Obstacle? {
        for (column, type) in name == .runs ? Self.expectedColumns : Self.removedColumns
        where columns[column]?.oid != type.oid {
            if columns[column] == nil, optional.contains(column) { continue }
            return .column(column, found: columns[column]?.name, expected: type.name)
        }
        return nil
    }

    private static let expectedColumns: [(String, ColumnType)] = [
        ("run_id", .bigint), ("job", .text), ("scheduled_at", .timestamp), ("origin", .text), ("claimed_by", .text),
        ("attempts", .integer), ("status", .text), ("started_at", .timestamp), ("heartbeat_at", .timestamp),
        ("finished_at", .timestamp), ("cutoff", .timestamp), ("rows_deleted", .bigint), ("rows_skipped", .bigint),
        ("rows_refused", .bigint), ("batches", .integer), ("session_schema", .text), ("next_attempt_at", .timestamp),
        ("error_sqlstate", .text), ("error_message", .text),
    ]

    private static let removedColumns: [(String, ColumnType)] = [
        ("run_id", .bigint), ("session_id", .text), ("user_id", .text), ("server_id", .text), ("server_name", .text),
        ("server_url", .text), ("created_at", .timestamp), ("updated_at", .timestamp), ("expires_at", .timestamp),
        ("removed_at", .timestamp),
    ]

    /// The two unique indexes that claims rely on.
    private static let expectedIndexes: [(index: String, text: String)] = [
        ("job,scheduled_at", "(job, scheduled_at)"), ("job \(isRunning)", "(job) WHERE \(isRunning)"),
    ]

    /// The condition of a running row, as `pg_get_expr` shows it.
    private static let isRunning = "(status = 'running'::text)"
}

extension HistoryTable {
    /// Reads a row of `SurveySQL.tables`.
    init(_ name: Name, _ row: QueryResult.Row) throws(PostgresError) {
        self.name = name
        isThere = try row.bool("has_history")
        canUseSchema = try row.boolIfPresent("can_use_history_schema") ?? false
        for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] where name == .runs || privilege != "UPDATE" {
            if try row.boolIfPresent("can_\(privilege.lowercased())_history") != true {
                missingPrivileges.append(privilege)
            }
        }
        for column in RowText.rows(try row.text("history_columns")) where column.count == 3 {
            columns[column[2]] = ColumnType(oid: column[1])
            names[column[0]] = column[2]
        }
        try readIndexes(row)
    }

    /// Reads a row of `SurveySQL.details`.
    mutating func add(details row: QueryResult.Row) throws(PostgresError) {
        foreignOwner = try row.bool("is_history_trusted") ? nil : try row.textIfPresent("history_owner") ?? ""
        isRowSecurityActive = try row.boolIfPresent("is_history_row_security_active") ?? false
        columns.name(RowText.rows(try row.text("history_types")))
        try readIndexes(row)
    }

    private mutating func readIndexes(_ row: QueryResult.Row) throws(PostgresError) {
        uniqueIndexes = []
        for index in RowText.rows(try row.text("history_indexes")) where index.count == 2 {
            let columns = index[0].split(separator: " ").map { names[String($0)] ?? "?" }.joined(separator: ",")
            let condition = isRunningCondition(index[1]) ? Self.isRunning : index[1]
            if !condition.isEmpty, condition != Self.isRunning { hasUnknownIndex = true }
            uniqueIndexes.append(condition.isEmpty ? columns : "\(columns) \(condition)")
        }
    }

    /// True for the expression tree (`indpred`) that PostgreSQL stores for `status = 'running'` on a little-endian
    /// machine. `pg_get_expr`, which writes it as SQL, would cost as much as everything else that a survey asks.
    private func isRunningCondition(_ tree: String) -> Bool {
        let fields = tree.split(separator: ":").map { String($0) }
        let bytes = "running".utf8.map { String($0) }.joined(separator: " ")
        // One operator, text = text; one column; one constant: its length and its bytes.
        return fields.first == "{OPEXPR " && tree.utf8.count { $0 == UInt8(ascii: "{") } == 3
            && fields.contains("opno 98 ") && fields.contains("constvalue 11 [ 44 0 0 0 \(bytes) ]}) ")
            && fields.contains { $0.hasPrefix("varattno ") && names[String($0.dropFirst(9).dropLast())] == "status" }
    }
}
