import Postgres
import Time

/// The table that a job deletes from, as the configuration names it.
package struct SessionTable: Hashable, Sendable {
    package let name: TableName
    /// `nil` for a table of an operator's own job, which holds no sessions.
    package let schema: SessionSchema?

    package init(name: TableName, schema: SessionSchema?) {
        self.name = name
        self.schema = schema
    }
}

/// What a survey is made for: decides which privileges and policies matter.
enum Purpose: Sendable {
    case deleting
    case reading

    /// FOR UPDATE needs the privilege and the policies for UPDATE.
    var commands: [RowSecurity.Command] { self == .deleting ? RowSecurity.Command.allCases : [.select] }
}

/// The facts about the server, the table, the history and the role that one look at the catalogs found.
struct Survey: Sendable {
    let table: SessionTable
    let clock: UTCInstant
    let serverVersion: Int
    let isInRecovery: Bool
    let role: String
    /// `synchronous_commit` is off by default for the role.
    let commitsAsynchronously: Bool
    /// How long a transaction waits for a lock before the server looks for a deadlock.
    let deadlockTimeout: Duration

    /// `nil` if there is no such table.
    let oid: UInt32?
    /// `pg_class.relkind`; `nil` if there is no such table.
    let kind: String?
    /// The table has partitions or inheritance children.
    let hasChildren: Bool
    /// A rule replaces or accompanies a DELETE: no statement of ours can delete and count there.
    private(set) var hasDeleteRule = false
    private(set) var isRowSecurityActive = false
    /// Row security is active, and the role's setting `row_security` makes the server refuse what policies would filter.
    private(set) var refusesFilters = false
    let canUseSchema: Bool
    /// Which of SELECT, UPDATE (or on any of its columns) and DELETE the role lacks on the table.
    private(set) var missingPrivileges: [String] = []
    /// The types of those columns of interest that exist.
    private(set) var columnTypes: [String: ColumnType] = [:]
    private(set) var history: HistoryTable

    /// When the survey was made.
    private let madeAt = ContinuousClock.now

    /// A second run over the same connection uses the survey for at most 1 s, the age that a survey may have anyway by the
    /// time of the first batch.
    private static let lifetime = Duration.seconds(1)

    private static let oldestServer = 140_000

    var isFresh: Bool { madeAt.duration(to: .now) < Self.lifetime }

    /// Returns the generation of the sessions table, if everything is as the purpose needs it. Row security and clocks
    /// are checked apart.
    ///
    /// - Returns: `nil` for a table of an operator's own job.
    /// - Throws: the first obstacle, in the order in which one would look.
    func generation(for purpose: Purpose) throws(RunFailure) -> SchemaGeneration? {
        guard serverVersion >= Self.oldestServer else { throw .serverTooOld(version: serverVersion) }
        guard purpose == .reading || !isInRecovery else { throw .serverReadOnly }
        guard let kind else { throw .tableMissing(table.name) }
        guard kind == "r" || kind == "p" else { throw .notATable(table.name) }
        let missing = missingPrivileges.filter { purpose.commands.map(\.rawValue).contains($0) }
        guard canUseSchema, missing.isEmpty else {
            throw .privilegesMissing(table.name, role: role, isOnSchema: !canUseSchema, missing)
        }
        let generation = try generation()
        if purpose == .deleting, hasDeleteRule { throw .deleteRule(table.name) }
        return generation
    }

    /// Returns the generation by the columns alone: privileges and the server's state are not looked at.
    func generation() throws(RunFailure) -> SchemaGeneration? {
        guard let kind else { throw .tableMissing(table.name) }
        guard kind == "r" || kind == "p" else { throw .notATable(table.name) }
        guard let schema = table.schema else { return nil }
        let found = SchemaGeneration.allCases.filter { columnTypes[$0.rawValue] != nil }
        guard let generation = schema.generation ?? (found.count == 1 ? found[0] : nil) else {
            throw .generationUndecided(table.name, hasBoth: !found.isEmpty)
        }
        for (column, types) in Self.neededColumns where column == generation.rawValue || column.hasSuffix("_at") {
            guard let type = columnTypes[column] else { throw .columnMissing(table.name, column: column) }
            guard types.contains(where: { $0.oid == type.oid }) else {
                throw .columnType(table.name, column: column, found: type.name, expected: types[0].name)
            }
        }
        return generation
    }

    /// The columns that decide what is due, each with the types that it may have: one of the first two, and the others.
    private static let neededColumns: [(String, [ColumnType])] = [
        ("active", [.boolean]), ("status", [.text, .varchar]), ("expires_at", [.timestamp]),
        ("updated_at", [.timestamp]),
    ]

    /// True if a column that decides what is due, or one of the history's, has a type that no run needs.
    private var hasOtherTypes: Bool {
        if history.isThere, history.columnObstacle() != nil { return true }
        guard table.schema != nil else { return false }
        return Self.neededColumns.contains { column, types in columnTypes[column].map { !types.contains($0) } ?? false }
    }
}

/// A column's type. Types are compared by OID: how a name is printed depends on settings.
struct ColumnType: Hashable, Sendable {
    let oid: UInt32
    let name: String

    // pg_type.dat; the OIDs of built-in types never change.
    static let boolean = ColumnType(oid: 16, name: "boolean")
    static let bigint = ColumnType(oid: 20, name: "bigint")
    static let integer = ColumnType(oid: 23, name: "integer")
    static let text = ColumnType(oid: 25, name: "text")
    static let varchar = ColumnType(oid: 1043, name: "character varying")
    static let timestamp = ColumnType(oid: 1184, name: "timestamp with time zone")
}

// MARK: Reading

extension Survey {
    /// Surveys the server, the table and the history, mostly in one round trip: in the transaction that is open, or in one of
    /// its own. Leaves it open; the caller ends it.
    ///
    /// - Parameter limit: the longest time that a statement may take; that of any transaction unless given.
    static func make(
        of table: SessionTable, for purpose: Purpose, history: HistoryTable.Name = .runs, limit: Duration? = nil,
        in session: DatabaseSession
    ) async throws(RunFailure) -> Survey {
        let version = await session.connection.serverVersion
        // An older server does not understand the rest.
        if version < oldestServer, version > 0 { throw .serverTooOld(version: version) }
        let script = Script(SurveySQL.server, as: .server).adding(SurveySQL.tables(table.name, history), as: .tables)
        let answers =
            await session.connection.hasOpenTransaction
            ? try await session.continue(script, limit: limit)
            : try await session.open(script, isReadOnly: purpose == .reading, limit: limit)
        let server = try answers.read(.server) { try $0.onlyRow() }
        let tables = try answers.read(.tables) { try $0.onlyRow() }
        do {
            var survey = try Survey(of: table, history, server: server, tables: tables)
            if try tables.needsDetails || survey.missingPrivileges.contains("UPDATE")
                || survey.hasOtherTypes || survey.history.hasUnknownIndex
            {
                let details = try await session.continue(
                    Script(SurveySQL.details(table.name, history), as: .details))
                try details.read(.details) { try survey.add(details: $0.onlyRow()) }
            }
            return survey
        } catch {
            throw RunFailure(error)
        }
    }

    /// Reads the rows of `SurveySQL.server` and `SurveySQL.tables`.
    init(
        of table: SessionTable, _ history: HistoryTable.Name = .runs, server: QueryResult.Row,
        tables row: QueryResult.Row
    ) throws(PostgresError) {
        self.table = table
        clock = try server.instant("clock")
        serverVersion = try server.integer("server_version")
        isInRecovery = try server.textIfPresent("is_in_recovery") == "on"
        role = try server.text("role")
        commitsAsynchronously = try server.text("synchronous_commit") == "off"
        deadlockTimeout = Duration(setting: try server.text("deadlock_timeout")) ?? .seconds(1)
        let found = try row.textIfPresent("kind")
        // Indexes and types share the names of tables.
        kind = found.flatMap { ["r", "p", "v", "m", "f", "S"].contains($0) ? $0 : nil }
        oid = kind == nil ? nil : try row.textIfPresent("oid").flatMap { UInt32($0) }
        hasChildren = try row.boolIfPresent("has_children") ?? false || kind == "p"
        canUseSchema = try row.boolIfPresent("can_use_schema") ?? true
        for (privilege, column) in [("SELECT", "can_select"), ("UPDATE", "can_update"), ("DELETE", "can_delete")]
        where try row.boolIfPresent(column) == false {
            missingPrivileges.append(privilege)
        }
        for column in RowText.rows(try row.text("columns")) where column.count == 3 {
            columnTypes[column[2]] = ColumnType(oid: column[1])
        }
        self.history = try HistoryTable(history, row)
    }

    /// Reads a row of `SurveySQL.details`.
    mutating func add(details row: QueryResult.Row) throws(PostgresError) {
        hasDeleteRule = try row.boolIfPresent("has_delete_rule") ?? false
        isRowSecurityActive = try row.boolIfPresent("is_row_security_active") ?? false
        refusesFilters = try row.boolIfPresent("refuses_filters") ?? false
        if try row.boolIfPresent("can_update_columns") ?? false { missingPrivileges.removeAll { $0 == "UPDATE" } }
        columnTypes.name(RowText.rows(try row.text("types")))
        if history.isThere { try history.add(details: row) }
    }
}

extension QueryResult.Row {
    /// True if a row of `SurveySQL.tables` leaves something open.
    fileprivate var needsDetails: Bool {
        get throws(PostgresError) {
            for column in ["has_rules", "has_row_security", "history_has_row_security"] {
                if try boolIfPresent(column) == true { return true }
            }
            // NULL where the sessions table or the history is missing.
            guard try bool("has_history") else { return false }
            return try boolIfPresent("history_has_same_owner") != true
        }
    }
}

extension Survey {
    /// Returns the table and its parts, in the transaction that is open or one of its own.
    ///
    /// - Throws: `foreignPartition` if a part is kept on another server, where an address means another row.
    func parts(in session: DatabaseSession) async throws(RunFailure) -> [Target.Part] {
        guard let oid else { throw .tableMissing(table.name) }
        let parts = try await session.read(SurveySQL.parts(of: oid)).reading { try $0.rows.map(Target.Part.init) }
        if let foreign = parts.first(where: { $0.kind == "f" }) {
            throw .foreignPartition(table.name, "\(foreign.name)")
        }
        return parts
    }

    /// Returns how many pages each of the parts has that holds rows, by its OID. Waits for locks on the parts.
    static func pages(of parts: [Target.Part], in session: DatabaseSession) async throws(RunFailure) -> [UInt32: Int] {
        let tables = parts.filter { $0.kind == "r" }.map(\.oid)
        guard !tables.isEmpty else { return [:] }
        return try await session.read(SurveySQL.pages(of: tables)).reading { result in
            var pages: [UInt32: Int] = [:]
            for row in result.rows {
                guard let oid = UInt32(exactly: try row.integer("oid")) else { continue }
                pages[oid] = try row.integer("pages")
            }
            return pages
        }
    }

    /// Reads the policies, where row security is active for the role.
    ///
    /// - Throws: `rowSecurity` if a policy could hide a row from the role.
    func requireNoHiddenRows(for purpose: Purpose, in session: DatabaseSession) async throws(RunFailure) {
        guard isRowSecurityActive, let oid else { return }
        if refusesFilters { throw .rowSecurity(table.name, role: role, .statementsRefused) }
        let policies = try await session.read(SurveySQL.policies(of: oid)).reading {
            try $0.rows.map(RowSecurity.Policy.init)
        }
        if let obstacle = RowSecurity.obstacle(among: policies, to: purpose.commands) {
            throw .rowSecurity(table.name, role: role, obstacle)
        }
    }
}

extension RowSecurity.Policy {
    /// Reads a row of `SurveySQL.policies`.
    fileprivate init(_ row: QueryResult.Row) throws(PostgresError) {
        self.init(
            name: try row.text("name"),
            command: try row.textIfPresent("command").flatMap(RowSecurity.Command.init(rawValue:)),
            isPermissive: try row.bool("is_permissive"), condition: try row.textIfPresent("condition"))
    }
}

extension ColumnType {
    /// - Parameter oid: as text. Of a type that no run needs, `SurveySQL.details` has the name.
    init?(oid text: String) {
        guard let oid = UInt32(text) else { return nil }
        let known: [ColumnType] = [.boolean, .bigint, .integer, .text, .varchar, .timestamp]
        self = known.first { $0.oid == oid } ?? ColumnType(oid: oid, name: "type \(oid)")
    }
}

extension [String: ColumnType] {
    /// Names the types by rows of `SurveySQL.details`: OID and name.
    mutating func name(_ rows: [[String]]) {
        for row in rows where row.count == 2 {
            guard let type = UInt32(row[0]).map({ ColumnType(oid: $0, name: row[1]) }) else { continue }
            self = mapValues { $0.oid == type.oid ? type : $0 }
        }
    }
}

extension Duration {
    /// Reads a setting as `current_setting` shows it: `1s`, `500ms`, `2min`.
    fileprivate init?(setting text: String) {
        let digits = text.prefix { $0.isNumber }
        let units = ["": 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000]
        guard let number = Int(digits), let unit = units[String(text.dropFirst(digits.count))] else { return nil }
        self = .milliseconds(number * unit)
    }
}

extension QueryResult.Row {
    /// Reads a time that `SearchSQL.seconds` wrote; `nil` for NULL and for a time before the year 1 or after 9999.
    func instantIfPresent(_ column: String) throws(PostgresError) -> UTCInstant? {
        guard let text = try textIfPresent(column), text != "Infinity", text != "-Infinity" else { return nil }
        // The server writes six digits behind the point.
        guard text.utf8.dropLast(6).last == UInt8(ascii: "."), let microseconds = Int64(text.filter { $0 != "." })
        else {
            throw .unexpectedAnswer("column \(column) is not a time")
        }
        let instant = UTCInstant(microsecondsSinceEpoch: microseconds)
        return (UTCInstant.earliestNameable...UTCInstant.latestNameable).contains(instant) ? instant : nil
    }

    func instant(_ column: String) throws(PostgresError) -> UTCInstant {
        guard let instant = try instantIfPresent(column) else {
            throw .unexpectedAnswer("column \(column) is not a time")
        }
        return instant
    }
}
