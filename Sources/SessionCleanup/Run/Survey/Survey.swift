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
    case deleting, reading

    /// FOR UPDATE needs the privilege and the policies for UPDATE.
    var commands: [String] { self == .deleting ? ["SELECT", "UPDATE", "DELETE"] : ["SELECT"] }
}

/// The facts about the server, the table, the history and the role that one look at the catalogs found.
struct Survey: Sendable {
    let table: SessionTable
    /// The host's times in it are the database's until `CleanupRun.look` sets them.
    var clocks: ClockComparison
    var clock: UTCInstant { clocks.database }
    let serverVersion: Int
    let isInRecovery: Bool
    let role: String
    /// The role has a `client_min_messages` that keeps back the warning of a COMMIT that no standby has confirmed.
    let hidesWarnings: Bool
    /// `synchronous_commit` is off by default for the role.
    let commitsAsynchronously: Bool
    /// How long a transaction waits for a lock before the server looks for a deadlock.
    let deadlockTimeout: Duration

    /// `nil` if there is no such table; so is `kind`.
    let oid: UInt32?
    /// `pg_class.relkind`.
    let kind: String?
    /// The table has partitions or inheritance children.
    let hasChildren: Bool
    /// A rule replaces or accompanies a DELETE: no statement of ours can delete and count there.
    var hasDeleteRule = false
    var isRowSecurityActive = false
    /// Row security is active, and the role has `row_security = off`: the server refuses what policies would filter.
    var refusesFilters = false
    let canUseSchema: Bool
    /// Those of SELECT, UPDATE (on the table or any of its columns) and DELETE that the role lacks.
    var missingPrivileges: [String] = []
    var columnTypes: [String: ColumnType] = [:]
    var history: HistoryTable

    private let madeAt = ContinuousClock.now

    /// True for 1 s, in which a second run over the same connection may use the survey: by the time of the first batch,
    /// a survey may be that old anyway.
    var isFresh: Bool { madeAt.duration(to: .now) < .seconds(1) }

    static let oldestServer = 140_000

    /// Returns the generation of the sessions table, if everything but row security and clocks is as the purpose needs it;
    /// `nil` for a table of an operator's own job.
    ///
    /// - Parameter purpose: without one, privileges and the server's state are not looked at.
    /// - Throws: the first obstacle, in the order in which one would look.
    func generation(for purpose: Purpose? = nil) throws(RunFailure) -> SchemaGeneration? {
        if purpose != nil, serverVersion < Self.oldestServer { throw .serverTooOld(version: serverVersion) }
        if purpose == .deleting, isInRecovery { throw .serverReadOnly }
        guard let kind else { throw .tableMissing(table.name) }
        guard kind == "r" || kind == "p" else { throw .notATable(table.name) }
        if let purpose {
            let missing = missingPrivileges.filter(purpose.commands.contains)
            guard canUseSchema, missing.isEmpty else {
                throw .privilegesMissing(table.name, role: role, isOnSchema: !canUseSchema, missing)
            }
        }
        let generation = try table.schema.map(generationByColumns)
        if purpose == .deleting, hasDeleteRule { throw .deleteRule(table.name) }
        return generation
    }

    private func generationByColumns(_ schema: SessionSchema) throws(RunFailure) -> SchemaGeneration {
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

    /// The columns that decide what is due, each with the types that it may have: `active` or `status`, and both times.
    private static let neededColumns: [(String, [ColumnType])] = [
        ("active", [.boolean]), ("status", [.text, .varchar]), ("expires_at", [.timestamp]),
        ("updated_at", [.timestamp]),
    ]
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

/// The database's clock beside the host's, with the time that asking took.
struct ClockComparison: Sendable {
    var database: UTCInstant
    /// The host's clock before the question was sent.
    var sent: UTCInstant
    /// The host's clock after the answer came.
    var received: UTCInstant

    /// How far the database is ahead; negative when it is behind, zero within the time that asking took.
    var skew: Duration {
        if database > received { return database - received }
        return database < sent ? database - sent : .zero
    }

    /// - Throws: `databaseClockAhead` above the limit: what is not due yet would be deleted.
    func refuseAhead(by limit: Duration) throws(RunFailure) {
        if skew > limit { throw .databaseClockAhead(database: database, host: received, limit: limit) }
    }
}

/// A policy of row security that applies to the role: to PUBLIC, or to a role whose privileges it inherits.
///
/// PostgreSQL filters silently: a DELETE reports `DELETE 0` if a policy hides the rows, and `FOR UPDATE`, to which the
/// policies for UPDATE apply as well, leaves them out. Whether an arbitrary condition hides a row cannot be known, so
/// only the literal `true` counts as hiding none.
struct RowPolicy: Sendable {
    let name: String
    /// SELECT, UPDATE or DELETE; `nil` is FOR ALL. INSERT policies have no USING and are of no interest.
    let command: String?
    let isPermissive: Bool
    /// The USING condition as the server prints it; `nil` when there is none.
    let condition: String?

    /// Returns what may hide rows from one of the commands, or `nil`.
    static func obstacle(among policies: [RowPolicy], to commands: [String]) -> String? {
        for command in commands {
            let applicable = policies.filter { $0.command == nil || $0.command == command }
            guard applicable.contains(where: { $0.isPermissive && $0.condition == "true" }) else {
                return "no policy for \(command) applies to it with USING (true)"
            }
            // No USING on a restrictive policy restricts nothing.
            if let policy = applicable.first(where: { !$0.isPermissive && ($0.condition ?? "true") != "true" }) {
                return "the restrictive policy \(policy.name) applies to it"
            }
        }
        return nil
    }
}
