import Glibc
import Postgres
import Synchronization
import Time

/// Whether runs are recorded, and claimed, in `mcp_cleanup.runs`.
package enum HistoryMode: String, Hashable, Sendable, CaseIterable {
    /// Where the table is there. Once it was, it has to stay.
    case auto
    /// Always: without the table a run fails.
    case required
    /// Never.
    case off
}

/// What a process does with the history of runs: `mcp_cleanup.runs`.
package struct History: Sendable {
    package let mode: HistoryMode
    /// The age of the last heartbeat above which a run's owner counts as dead.
    package let lease: Duration
    /// How long closed runs are kept.
    package let retention: Duration
    /// The time for which it is recorded which sessions were removed; `nil` records nothing.
    package let removed: Duration?
    package let memory: Memory

    package init(
        mode: HistoryMode = .auto, lease: Duration = .seconds(60), retention: Duration = .seconds(30 * 86_400),
        removed: Duration? = nil, memory: Memory = Memory()
    ) {
        self.mode = mode
        self.lease = lease
        self.retention = retention
        self.removed = removed
        self.memory = memory
    }

    /// What a process remembers of the history as long as it lives.
    package final class Memory: Sendable {
        private enum Seen { case nothing, absence, table }

        private let seen = Mutex(Seen.nothing)
        private let generations = Mutex<[(table: TableName, generation: SchemaGeneration)]>([])
        private let onAbsence: @Sendable () -> Void

        /// - Parameter onAbsence: called once, when the table is not there the first time that one looks.
        package init(onAbsence: @escaping @Sendable () -> Void = {}) { self.onAbsence = onAbsence }

        /// Remembers the generation of a table.
        ///
        /// - Parameter isConfirmed: true if the configuration or the history names it.
        /// - Throws: `schemaChanged` if nothing confirms it, and it was another one before: which sessions are active is in
        ///   doubt then.
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
            let before = seen.withLock { seen in
                defer { if isThere || seen == .nothing { seen = isThere ? .table : .absence } }
                return seen
            }
            if !isThere, before == .nothing { onAbsence() }
            return !isThere && before == .table
        }
    }

    /// Whether a run is to be recorded, given what the database has.
    ///
    /// - Throws: `historyMissing`, `historyUnusable`.
    func isUsed(_ found: HistoryTable, by role: String) throws(RunFailure) -> Bool {
        guard mode != .off else { return false }
        let hasVanished = memory.hasVanished(isThere: found.isThere)
        guard found.isThere else {
            if hasVanished || mode == .required { throw .historyMissing(hasVanished: hasVanished) }
            return false
        }
        if let obstacle = found.obstacle() { throw .historyUnusable(.runs, role: role, obstacle) }
        return true
    }

    /// Returns a fresh token for a claim: its owner, for people, and a number that no other has. ASCII, for a database of
    /// any encoding.
    static func token() -> String {
        "\(HostName.current):\(getpid()):\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
    }
}

/// A table of the history as the database has it.
package struct HistoryTable: Hashable, Sendable {
    let name: Name
    let isThere: Bool
    let canUseSchema: Bool
    /// Which of SELECT, INSERT, UPDATE (of runs) and DELETE the role lacks.
    private(set) var missingPrivileges: [String] = []
    private(set) var isRowSecurityActive = false
    /// The owner is the role itself, a superuser, or the owner of the sessions or of the database: its triggers are the
    /// application's. Another role with CREATE on the database may have made the table.
    private var isTrusted = true
    private var owner = ""
    private var columns: [String: ColumnType] = [:]
    /// The columns of its valid unique indexes, with the condition of a partial one.
    private var uniqueIndexes: [String] = []
    /// True if the condition of a unique index is in a form that only `SurveySQL.details` reads.
    private(set) var hasUnknownIndex = false
    /// The names of the columns by their numbers.
    private var names: [String: String] = [:]

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
        /// A row was inserted, nothing stood in its way, and it is not there.
        case insertVetoed
    }

    /// The first thing that keeps it from being written, or only from being read, or `nil`.
    func obstacle(for purpose: Purpose = .deleting) -> Obstacle? {
        guard isTrusted else { return .owner(owner) }
        guard canUseSchema else { return .privileges(isOnSchema: true, ["USAGE"]) }
        if purpose == .deleting, let shapeObstacle { return shapeObstacle }
        let missing = missingPrivileges.filter { purpose == .deleting || $0 == "SELECT" }
        guard missing.isEmpty else { return .privileges(isOnSchema: false, missing) }
        return columnObstacle() ?? (isRowSecurityActive ? .rowSecurity : nil)
    }

    /// A column or index that the table lacks; privileges are not looked at.
    var shapeObstacle: Obstacle? {
        if let obstacle = columnObstacle() { return obstacle }
        for (index, text) in name == .runs ? Self.expectedIndexes : [] where !uniqueIndexes.contains(index) {
            return .index(text)
        }
        return nil
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

    /// The two that claims rely on.
    private static let expectedIndexes = [
        ("job,scheduled_at", "(job, scheduled_at)"), ("job \(isRunning)", "(job) WHERE \(isRunning)"),
    ]

    /// As `pg_get_expr` shows it.
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
        for index in RowText.rows(try row.text("history_indexes")) where index.count == 2 {
            let isRunning = isRunningCondition(index[1])
            if !index[1].isEmpty, !isRunning { hasUnknownIndex = true }
            add(index: index[0], condition: isRunning ? Self.isRunning : index[1])
        }
    }

    /// Reads a row of `SurveySQL.details`.
    mutating func add(details row: QueryResult.Row) throws(PostgresError) {
        isTrusted = try row.bool("is_history_trusted")
        owner = try row.textIfPresent("history_owner") ?? ""
        isRowSecurityActive = try row.boolIfPresent("is_history_row_security_active") ?? false
        columns.name(RowText.rows(try row.text("history_types")))
        uniqueIndexes = []
        for index in RowText.rows(try row.text("history_indexes")) where index.count == 2 {
            add(index: index[0], condition: index[1])
        }
    }

    private mutating func add(index numbers: String, condition: String) {
        let columns = numbers.split(separator: " ").map { names[String($0)] ?? "?" }.joined(separator: ",")
        uniqueIndexes.append(condition.isEmpty ? columns : "\(columns) \(condition)")
    }

    /// True for the tree that PostgreSQL keeps of `status = 'running'` on a machine of the usual byte order. To have the
    /// server write a condition as SQL costs as much as all else that a survey asks.
    private func isRunningCondition(_ tree: String) -> Bool {
        let fields = tree.split(separator: ":").map { String($0) }
        let bytes = "running".utf8.map { String($0) }.joined(separator: " ")
        // One operator, text = text; one column; one constant: its length and its bytes.
        return fields.first == "{OPEXPR " && tree.utf8.count { $0 == UInt8(ascii: "{") } == 3
            && fields.contains("opno 98 ") && fields.contains("constvalue 11 [ 44 0 0 0 \(bytes) ]}) ")
            && fields.contains { $0.hasPrefix("varattno ") && names[String($0.dropFirst(9).dropLast())] == "status" }
    }
}
