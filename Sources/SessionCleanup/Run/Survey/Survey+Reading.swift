import Postgres
import Time

extension Survey {
    /// Surveys the server, the table and the history, mostly in one round trip: in the transaction that is open, or in one of
    /// its own. Leaves it open; the caller ends it.
    ///
    /// - Parameter limit: the longest time that a statement may take; `RunBudget.transactionLimit` unless given.
    static func make(
        of table: SessionTable, for purpose: Purpose, history: HistoryTable.Name = .runs, limit: Duration? = nil,
        in session: DatabaseSession
    ) async throws(RunFailure) -> Survey {
        let version = await session.connection.serverVersion
        // An older server does not understand the rest.
        if version < oldestServer, version > 0 { throw .serverTooOld(version: version) }
        let script = Script(SurveySQL.server, as: .server).adding(SurveySQL.tables(table.name, history), as: .tables)
        let answers = try await session.open(script, isReadOnly: purpose == .reading, limit: limit)
        let server = try answers.read(.server) { try $0.onlyRow() }
        let tables = try answers.read(.tables) { try $0.onlyRow() }
        do {
            var survey = try Survey(of: table, history, server: server, tables: tables)
            if try survey.needsDetails(tables) {
                let details = try await session.continue(Script(SurveySQL.details(table.name, history), as: .details))
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
        let clock = try server.instant("clock")
        clocks = ClockComparison(database: clock, sent: clock, received: clock)
        serverVersion = try server.integer("server_version")
        isInRecovery = try server.textIfPresent("is_in_recovery") == "on"
        role = try server.text("role")
        hidesWarnings = try ["error", "fatal", "panic"].contains(server.text("client_min_messages"))
        commitsAsynchronously = try server.text("synchronous_commit") == "off"
        deadlockTimeout = Duration(setting: try server.text("deadlock_timeout")) ?? .seconds(1)
        let found = try row.textIfPresent("kind")
        // Indexes and types are in pg_class too, under names like tables: they count as no table.
        kind = found.flatMap { ["r", "p", "v", "m", "f", "S"].contains($0) ? $0 : nil }
        oid = kind == nil ? nil : try row.textIfPresent("oid").flatMap { UInt32($0) }
        hasChildren = try row.boolIfPresent("has_children") ?? false || kind == "p"
        canUseSchema = try row.boolIfPresent("can_use_schema") ?? true
        for privilege in Purpose.deleting.commands where try row.boolIfPresent("can_\(privilege.lowercased())") == false
        {
            missingPrivileges.append(privilege)
        }
        for column in RowText.rows(try row.text("columns")) where column.count == 3 {
            columnTypes[column[2]] = ColumnType(oid: column[1])
        }
        self.history = try HistoryTable(history, row)
    }

    /// True if a row of `SurveySQL.tables` leaves something open.
    private func needsDetails(_ row: QueryResult.Row) throws(PostgresError) -> Bool {
        for column in ["has_rules", "has_row_security", "history_has_row_security"] {
            if try row.boolIfPresent(column) == true { return true }
        }
        // NULL where the sessions table is missing.
        if history.isThere, try row.boolIfPresent("history_has_same_owner") != true { return true }
        if history.isThere, history.columnObstacle() != nil { return true }
        // The error is thrown later, once `details` has told the name of the column's type.
        if table.schema != nil, (try? generation()) == nil { return true }
        return missingPrivileges.contains("UPDATE") || history.hasUnknownIndex
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

    /// Returns the number of pages of each part that stores rows, by its OID. Waits for locks on the parts.
    static func pages(of parts: [Target.Part], in session: DatabaseSession) async throws(RunFailure) -> [UInt32: Int] {
        let tables = parts.filter { $0.kind == "r" }.map(\.oid)
        guard !tables.isEmpty else { return [:] }
        return try await session.read(SurveySQL.pages(of: tables)).reading { result in
            try result.rows.reduce(into: [:]) { pages, row in
                pages[UInt32(truncatingIfNeeded: try row.integer("oid"))] = try row.integer("pages")
            }
        }
    }

    /// Reads the policies, where row security is active for the role.
    ///
    /// - Throws: `rowSecurity` if a policy could hide a row from the role; `rowSecurityOff` if `refusesFilters`.
    func requireNoHiddenRows(for purpose: Purpose, in session: DatabaseSession) async throws(RunFailure) {
        guard isRowSecurityActive, let oid else { return }
        if refusesFilters { throw .rowSecurityOff(table.name, role: role) }
        let policies = try await session.read(SurveySQL.policies(of: oid)).reading { result in
            try result.rows.map { row in
                RowPolicy(
                    name: try row.text("name"), command: try row.textIfPresent("command"),
                    isPermissive: try row.bool("is_permissive"), condition: try row.textIfPresent("condition"))
            }
        }
        if let obstacle = RowPolicy.obstacle(among: policies, to: purpose.commands) {
            throw .rowSecurity(table.name, role: role, obstacle)
        }
    }
}

extension ColumnType {
    /// - Parameter oid: the OID as text. A type that no run needs gets its name from `SurveySQL.details`.
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
            self = mapValues { String($0.oid) == row[0] ? ColumnType(oid: $0.oid, name: row[1]) : $0 }
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
        if let instant = try instantIfPresent(column) { return instant }
        throw .unexpectedAnswer("column \(column) is not a time")
    }
}

/// The server's text of an array of rows, `{"(1,\"a b\")","(2,c)"}`, taken apart. NULL reads as an empty text.
enum RowText {
    static func rows(_ text: String) -> [[String]] { elements(Array(text.utf8)).map { elements(Array($0.utf8)) } }

    /// Returns the elements of an array or the fields of a row, without the characters around all of them.
    private static func elements(_ bytes: [UInt8]) -> [String] {
        guard bytes.count > 2 else { return [] }
        var elements: [String] = []
        var element: [UInt8] = []
        var isQuoted = false
        var index = 1
        while index < bytes.count - 1 {
            let byte = bytes[index]
            switch byte {
            // An array escapes a quotation mark with a backslash; a row doubles it.
            case UInt8(ascii: "\\"),
                UInt8(ascii: "\"") where isQuoted && bytes[index + 1] == UInt8(ascii: "\""):
                index += 1
                element.append(bytes[index])
            case UInt8(ascii: "\""): isQuoted.toggle()
            case UInt8(ascii: ",") where !isQuoted:
                elements.append(String(decoding: element, as: UTF8.self))
                element = []
            default: element.append(byte)
            }
            index += 1
        }
        elements.append(String(decoding: element, as: UTF8.self))
        return elements
    }
}
