package import Postgres
package import Time

/// Why a run deleted less than its rule names, or why another command could not do its work at the database; `description` says
/// more of each.
package enum RunFailure: Error, Hashable, Sendable {
    case database(PostgresError)
    /// The file or the text that should hold the database URL does not.
    case databaseURL(String)
    case serverTooOld(version: Int)
    case serverReadOnly
    case tableMissing(TableName)
    /// A view, a foreign table or the like.
    case notATable(TableName)
    /// A partition that is kept on another server, where addresses mean other rows.
    case foreignPartition(TableName, String)
    /// A part of the table was dropped while a run walked over the parts.
    case partDropped(TableName)
    case columnMissing(TableName, column: String)
    case columnType(TableName, column: String, found: String, expected: String)
    /// Neither or both of the columns that tell the two schema generations apart.
    case generationUndecided(TableName, hasBoth: Bool)
    /// The condition of an operator's own job contains a volatile function, operator or cast.
    case volatileFunction(job: String, function: String)
    /// The server refuses the condition of an operator's own job: its syntax, names, types, values or features.
    case conditionRefused(job: String, PostgresError)
    case privilegesMissing(TableName, role: String, isOnSchema: Bool, [String])
    case rowSecurity(TableName, role: String, String)
    /// Row security is active, and `row_security` is off for the role: the server refuses what policies would filter.
    case rowSecurityOff(TableName, role: String)
    /// - hasGivenUp: 1,000 successive rows were refused at each end, the oldest and the youngest; the rest was not
    ///   tried.
    case rowsRefused(TableName, count: Int, Refusal, hasGivenUp: Bool)
    case deleteRule(TableName)
    case notReplicated(ServerMessage)
    case schemaChanged(TableName, from: SchemaGeneration, to: SchemaGeneration)
    case tooManyDue(TableName, due: Int, total: Int, limit: Double)
    case historyMissing(hasVanished: Bool)
    case historyUnusable(HistoryTable.Name, role: String, HistoryTable.Obstacle)
    /// `history.removed` or a command needs the table of removed sessions; it does not exist, or there is no history.
    case removedMissing(hasHistory: Bool)
    /// A command that reads the history found no `mcp_cleanup.runs`.
    case nothingRecorded
    case sessionsTableDiffers(TableName)
    case indexesOfPartitionedTable(TableName)
    case indexBlocked(TableName, index: String)
    case indexNameTaken(TableName, index: String)
    case claimLost
    case databaseClockAhead(database: UTCInstant, host: UTCInstant, limit: Duration)
    case deadlinePassed(Duration)
    case canceled
}

/// Why the database refuses to delete a row, as far as the catalog confirms it.
package enum Refusal: Hashable, Sendable {
    case constraint(String, SQLState)
    /// One of these BEFORE DELETE triggers keeps the row.
    case trigger([String])
    case error(SQLState)
    /// The row's deletion alone takes longer than a transaction of a run may.
    case timeLimit
}

/// The kind of a failure, from which the exit code and the decision to retry follow.
package enum FailureKind: Hashable, Sendable, CaseIterable {
    /// No server can be reached, or none takes connections now.
    case unreachable
    /// The database's rules forbid it: authentication, privileges, row security, a constraint, a trigger.
    case refused
    /// An operator has to correct the URL, the configuration or the schema.
    case misconfigured
    /// It may succeed the next time.
    case mayPass
    /// The process was asked to end.
    case canceled
    /// A bug, or an error without a kind of its own.
    case unexpected
}

extension RunFailure {
    package var kind: FailureKind {
        switch self {
        case .database(let error): error.kind
        case .privilegesMissing, .rowSecurity, .rowSecurityOff, .rowsRefused: .refused
        case .historyUnusable(_, _, let obstacle):
            switch obstacle {
            case .column, .index: .misconfigured
            case .privileges, .rowSecurity, .insertVetoed, .owner: .refused
            }
        case .serverReadOnly, .databaseClockAhead, .deadlinePassed, .tooManyDue, .claimLost, .indexBlocked,
            .notReplicated, .partDropped:
            .mayPass
        case .canceled: .canceled
        case .databaseURL, .serverTooOld, .tableMissing, .notATable, .foreignPartition, .columnMissing, .columnType,
            .generationUndecided, .schemaChanged, .deleteRule, .volatileFunction, .conditionRefused, .historyMissing,
            .nothingRecorded, .removedMissing, .sessionsTableDiffers, .indexesOfPartitionedTable, .indexNameTaken:
            .misconfigured
        }
    }

    /// True if the same attempt may succeed a little later.
    package var mayPass: Bool {
        switch self {
        // Not retried: no certificate is renewed in minutes; no time is left; `max-fraction` asks for a person.
        case .database(.unreachable(.tls, _)), .deadlinePassed, .tooManyDue: false
        default: kind == .mayPass || kind == .unreachable
        }
    }

    /// The server's SQLSTATE, where the server said one.
    package var sqlState: SQLState? {
        switch self {
        case .database(let error), .conditionRefused(_, let error): error.sqlState
        case .rowsRefused(_, _, .constraint(_, let state), _), .rowsRefused(_, _, .error(let state), _): state
        case .notReplicated(let message): message.sqlState
        default: nil
        }
    }

    /// Wraps an error of a `do` block that throws both kinds.
    init(_ error: any Error) {
        switch error {
        case let failure as RunFailure: self = failure
        case PostgresError.canceled: self = .canceled
        case let error as PostgresError: self = .database(error)
        default: self = .database(.unexpectedAnswer("\(error)"))
        }
    }
}

extension PostgresError {
    fileprivate var kind: FailureKind {
        switch self {
        case .invalidParameters: .misconfigured
        case .unreachable: .unreachable
        case .server(let message, let step):
            switch PoolerRefusal(message) {
            case .authentication: .refused
            case .database, .startupParameter, .statementPooling: .misconfigured
            case .disabled, .busy: .unreachable
            case nil:
                (step == .connecting ? message.sqlState.value(in: SQLState.kindsWhileConnecting) : nil)
                    ?? message.sqlState.value(in: SQLState.kinds) ?? .unexpected
            }
        case .connectionLost, .timedOut: .mayPass
        case .canceled: .canceled
        case .unexpectedAnswer: .unexpected
        }
    }
}

extension SQLState {
    /// Returns the value for the code itself, or else for its class.
    func value<Value>(in table: [String: Value]) -> Value? { table[rawValue] ?? table[conditionClass] }

    /// The server is starting or stopping, or has no connection left, or a pooler cannot reach its server. A proxy in
    /// front of a serverless database answers XX000 while it cannot wake the database.
    fileprivate static let kindsWhileConnecting: [String: FailureKind] = [
        "57": .unreachable, "53": .unreachable, "08": .unreachable, "XX000": .unreachable,
    ]

    /// PostgreSQL manual, appendix A.
    fileprivate static let kinds: [String: FailureKind] = [
        "42501": .refused,
        // A table publishes its deletes and has no replica identity.
        "55000": .misconfigured,
        // A function, a setting or a statement that this server does not have; a wrong name or type.
        "42": .misconfigured, "3D": .misconfigured, "3F": .misconfigured, "22": .misconfigured, "0A000": .misconfigured,
        // Authentication; integrity constraints; exceptions that triggers raise.
        "28": .refused, "23": .refused, "27": .refused, "44": .refused, "P0": .refused, "09": .refused,
        // Passing causes: connection, transaction state (read-only after a failover, idle too long), rollback
        // (deadlock, serialization), resources, locks, operator intervention (shutdown, cancel), the server's I/O,
        // snapshots.
        "08": .mayPass, "25": .mayPass, "40": .mayPass, "53": .mayPass, "55": .mayPass, "57": .mayPass, "58": .mayPass,
        "72": .mayPass,
    ]
}
