package import Postgres
package import Time

/// Why a run deleted less than its rule names.
package enum RunFailure: Error, Hashable, Sendable {
    case database(PostgresError)
    /// The file or the text that should hold the database URL does not.
    case databaseURL(String)
    case serverTooOld(version: Int)
    /// A standby, which cannot delete.
    case serverReadOnly
    case tableMissing(TableName)
    /// A view, a foreign table or the like.
    case notATable(TableName)
    /// A partition that is kept on another server, where addresses mean other rows.
    case foreignPartition(TableName, String)
    case columnMissing(TableName, column: String)
    case columnType(TableName, column: String, found: String, expected: String)
    /// Neither or both of the columns that tell the two schema generations apart.
    case generationUndecided(TableName, hasBoth: Bool)
    /// In the condition of a job of the operator's own.
    case volatileFunction(job: String, function: String)
    /// The server refuses the condition of a job of the operator's own: its syntax, its names or its types.
    case conditionRefused(job: String, PostgresError)
    /// Without USAGE on the schema, or without privileges on the table itself.
    case privilegesMissing(TableName, role: String, isOnSchema: Bool, [String])
    case rowSecurity(TableName, role: String, RowSecurityObstacle)
    /// The database would not delete some of the due rows; the others are gone.
    ///
    /// - hasGivenUp: 1,000 rows in a row were refused at both ends, the oldest and the youngest; the rest was not tried.
    case rowsRefused(TableName, count: Int, Refusal, hasGivenUp: Bool)
    /// A rule on the table replaces or accompanies a DELETE.
    case deleteRule(TableName)
    /// A batch was committed here, and the server warned that no standby has confirmed it.
    case notReplicated(ServerMessage)
    /// The table changed from one schema to the other while `database.session-schema` is auto.
    case schemaChanged(TableName, from: SchemaGeneration, to: SchemaGeneration)
    /// More than the job's share of the table is due, and nothing was deleted.
    case tooManyDue(TableName, due: Int, total: Int, limit: Double)
    /// The history's table is not there, or no longer.
    case historyMissing(hasVanished: Bool)
    case historyUnusable(HistoryTable.Name, role: String, HistoryTable.Obstacle)
    /// `history.removed` is set, or a command reads the record, and its table or the history is not there.
    case removedMissing(hasHistory: Bool)
    /// A command that reads the history found no table of it.
    case nothingRecorded
    /// The sessions table to create is there already, in another shape.
    case sessionsTableDiffers(TableName)
    /// Indexes of a partitioned table cannot be built beside its use.
    case indexesOfPartitionedTable(TableName)
    /// Something was in the way of an index for all of the time that was given.
    case indexBlocked(TableName, index: String)
    /// After it was built, the index is not there: something else has its name.
    case indexNameTaken(TableName, index: String)
    /// Another process closed the run or took it over, since ours was silent for too long.
    case claimLost
    case databaseClockAhead(database: UTCInstant, host: UTCInstant, limit: Duration)
    /// The run's deadline came before its end.
    case deadlinePassed(Duration)
    case canceled
}

/// Why the database refuses to delete a row, as far as the catalog confirms it.
package enum Refusal: Hashable, Sendable {
    case constraint(String, SQLState)
    /// A BEFORE DELETE trigger: one of these.
    case trigger([String])
    case error(SQLState)
    /// The row's deletion alone takes longer than a transaction of a run may.
    case timeLimit
}

/// What follows from a failure: the one place that decides it.
package enum FailureKind: Hashable, Sendable, CaseIterable {
    /// No server to talk to.
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
        case .databaseURL, .serverTooOld, .tableMissing, .notATable, .foreignPartition, .columnMissing, .columnType,
            .generationUndecided, .schemaChanged, .deleteRule, .volatileFunction, .conditionRefused, .historyMissing,
            .historyUnusable(_, _, .column), .historyUnusable(_, _, .index), .nothingRecorded, .removedMissing,
            .sessionsTableDiffers,
            .indexesOfPartitionedTable,
            .indexNameTaken:
            .misconfigured
        case .privilegesMissing, .rowSecurity, .rowsRefused, .historyUnusable(_, _, .privileges),
            .historyUnusable(_, _, .rowSecurity), .historyUnusable(_, _, .insertVetoed), .historyUnusable(_, _, .owner):
            .refused
        case .serverReadOnly, .databaseClockAhead, .deadlinePassed, .tooManyDue, .claimLost, .indexBlocked,
            .notReplicated:
            .mayPass
        case .canceled: .canceled
        }
    }

    /// Whether the same attempt, a little later, may succeed.
    package var mayPass: Bool {
        switch self {
        // A certificate is not renewed within an interval.
        case .database(.unreachable(.tls, _)): false
        // The time that the run had is used up; the next one goes on where it ended.
        case .deadlinePassed: false
        // A guard that a person set, for a person to look at.
        case .tooManyDue: false
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

    /// Whether time ran out, rather than something going wrong.
    package var isTimeout: Bool {
        switch self {
        case .deadlinePassed, .database(.timedOut): true
        default: false
        }
    }
}

extension PostgresError {
    fileprivate var kind: FailureKind {
        switch self {
        case .invalidParameters: .misconfigured
        case .unreachable: .unreachable
        case .server(let message, let step):
            PoolerRefusal(message)?.kind
                ?? (step == .connecting ? message.sqlState.kindWhileConnecting : message.sqlState.kind)
        case .connectionLost, .timedOut: .mayPass
        case .canceled: .canceled
        case .unexpectedAnswer: .unexpected
        }
    }
}

extension PoolerRefusal {
    fileprivate var kind: FailureKind {
        switch self {
        case .authentication: .refused
        case .database, .startupParameter, .statementPooling: .misconfigured
        case .disabled, .busy: .unreachable
        }
    }
}

extension SQLState {
    fileprivate var kindWhileConnecting: FailureKind {
        switch (rawValue, conditionClass) {
        case ("3D000", _): .misconfigured
        // Starting or stopping, no connection left, or a pooler that cannot reach its server. A proxy in front of a
        // serverless database says XX000 while it cannot wake it.
        case (_, "57"), (_, "53"), (_, "08"), ("XX000", _): .unreachable
        default: kind
        }
    }

    /// PostgreSQL manual, appendix A.
    fileprivate var kind: FailureKind {
        switch (rawValue, conditionClass) {
        case ("42501", _): .refused
        // A table publishes its deletes and has no replica identity.
        case ("55000", _): .misconfigured
        // A function, a setting or a statement that this server does not have; a wrong name or type.
        case (_, "42"), (_, "3D"), (_, "3F"), (_, "22"), ("0A000", _): .misconfigured
        // Authentication; integrity constraints; exceptions that triggers raise.
        case (_, "28"), (_, "23"), (_, "27"), (_, "44"), (_, "P0"), (_, "09"): .refused
        // Connection, transaction state (read-only after a failover, idle too long), rollback (deadlock,
        // serialization), resources, locks, operator intervention (shutdown, cancel), the server's own I/O.
        case (_, "08"), (_, "25"), (_, "40"), (_, "53"), (_, "55"), (_, "57"), (_, "58"), (_, "72"): .mayPass
        default: .unexpected
        }
    }
}

extension RunFailure {
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
