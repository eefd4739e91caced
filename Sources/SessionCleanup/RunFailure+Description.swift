import Postgres
import Time

extension RunFailure: CustomStringConvertible {
    /// Says what failed, on which object.
    package var description: String {
        switch self {
        case .database(let error): "\(error)"
        case .databaseURL(let message): message
        case .serverTooOld(let version):
            "the server is PostgreSQL \(version / 10_000), and 14 is the oldest that is supported"
        case .serverReadOnly: "the server is a read-only standby, so nothing can be deleted there"
        case .tableMissing(let table): "the table \(table) does not exist"
        case .notATable(let table): "\(table) is not a table"
        case .foreignPartition(let table, let name):
            "\(name), a part of \(table), is a foreign table, whose rows cannot be told apart from here"
        case .partDropped(let table): "a part of \(table) was dropped during the run"
        case .columnMissing(let table, let column): "the table \(table) has no column \(column)"
        case .columnType(let table, let column, let found, let expected):
            "the column \(column) of \(table) is \(found), and must be \(expected)"
        case .generationUndecided(let table, let hasBoth):
            "the table \(table) has \(hasBoth ? "both" : "neither") of the columns active and status, so it is not "
                + "clear which sessions are active"
        case .volatileFunction(let job, let function):
            "the condition of the job \(job) calls \(function), which may answer otherwise each time"
        case .conditionRefused(let job, let error): "the server refuses the condition of the job \(job): \(error)"
        case .privilegesMissing(let table, let role, isOnSchema: true, _):
            "the role \(role) has no USAGE privilege on the schema of \(table)"
        case .privilegesMissing(let table, let role, isOnSchema: false, let privileges):
            "the role \(role) has no \(privileges.joined(separator: ", no ")) privilege on \(table)"
        case .rowSecurity(let table, let role, let obstacle):
            "row security on \(table) would hide sessions from the role \(role): \(obstacle)"
        case .rowSecurityOff(let table, let role):
            "row security on \(table) would hide sessions from the role \(role): its setting row_security is off, so the server "
                + "refuses every statement that policies apply to"
        case .rowsRefused(let table, let count, let refusal, let hasGivenUp):
            "the database refused to delete \(count.groupedText) due \(count == 1 ? "row" : "rows") of \(table): \(refusal)"
                + (hasGivenUp
                    ? "; too many were refused in a row, and the rest was not tried" : "; the others are deleted")
        case .deleteRule(let table):
            "a rule on \(table) replaces or accompanies a DELETE, so its rows cannot be deleted and counted"
        case .notReplicated(let message):
            "a batch was committed, and the server warned that no standby has confirmed it: \(message)"
        case .schemaChanged(let table, let before, let now):
            "the table \(table) has changed from the schema \(before.rawValue) to \(now.rawValue): sessions that were "
                + "active may now count as pending, so nothing was deleted"
        case .tooManyDue(let table, let due, let total, let limit):
            "\(due) of \(total) rows of \(table) are due, more than the share of \(limit) that the job may delete; nothing "
                + "was deleted"
        case .historyMissing(hasVanished: true): "the table mcp_cleanup.runs, which was there before, is gone"
        case .historyMissing(hasVanished: false):
            "the table mcp_cleanup.runs does not exist, and history.mode is required"
        case .historyUnusable(let table, let role, let obstacle): obstacle.description(of: table.rawValue, role: role)
        case .removedMissing(hasHistory: true):
            "the table mcp_cleanup.removed does not exist, so it is not recorded which sessions are removed"
        case .removedMissing(hasHistory: false):
            "history.removed is set, and runs are not recorded: without mcp_cleanup.runs no session has a run that removed it"
        case .nothingRecorded: "the table mcp_cleanup.runs does not exist, so no run was recorded"
        case .sessionsTableDiffers(let table):
            "\(table) is there already, and is not the table that --sessions creates: it has no column active"
        case .indexesOfPartitionedTable(let table):
            "the table \(table) is partitioned, and PostgreSQL cannot build its indexes beside its use"
        case .indexBlocked(let table, let index):
            "the index \(index) of \(table) could not be built: transactions that began before, or another change of the "
                + "table, did not end in time"
        case .indexNameTaken(let table, let index):
            "the index \(index) of \(table) is not there: something else in its schema has the name"
        case .claimLost: "another process has taken over or closed the run, since this one was silent for too long"
        case .databaseClockAhead(let database, let host, let limit):
            "the database's clock says \(database) and this host's says \(host): more than \(limit.secondsText) ahead, "
                + "and a wrong clock must not empty a table"
        case .deadlinePassed(let deadline): "the run did not end within its deadline of \(deadline.secondsText)"
        case .canceled: "canceled before its end"
        }
    }

    /// A remedy for the operator; `nil` if there is none to name.
    package var hint: String? {
        switch self {
        case .database(let error): error.operatorHint
        case .databaseURL: "See mcp-cleanupd --help for the places that the database URL may come from."
        case .serverTooOld: "Upgrade the server, or use a release of its time."
        case .serverReadOnly:
            "Point the database URL at the primary; target_session_attrs=read-write picks it from several hosts."
        case .tableMissing(let table):
            table == .sessions
                ? "Check that the database URL names the application's database. In another schema, or under another name: set "
                    + "database.table. mcp-cleanupd migrate --sessions, with an owner's URL, creates the table."
                : "Check that the database URL names the right database, and database.table, or the job's own table, the table "
                    + "with its schema."
        case .notATable: "Set database.table, or the job's own table, to the table that holds the rows."
        case .foreignPartition:
            "Run mcp-cleanupd on the server that holds it, and set database.table, or the job's own table, to a local table."
        case .partDropped: "What was deleted stays deleted; the next attempt looks at the table again."
        case .columnMissing:
            "Set database.table to the table that holds the sessions, and database.session-schema to auto or to its "
                + "generation."
        case .columnType(let table, let column, found: "timestamp without time zone", let expected):
            "ALTER TABLE \(table.quoted) ALTER COLUMN \(column) TYPE \(expected) USING \(column) AT TIME ZONE 'UTC'; if "
                + "the times in it are UTC. Without a zone they cannot be compared with a clock."
        case .columnType(let table, let column, _, let expected):
            "ALTER TABLE \(table.quoted) ALTER COLUMN \(column) TYPE \(expected);"
        case .generationUndecided(_, hasBoth: false):
            "Check that database.table names the sessions table; where it cannot be told, database.session-schema says "
                + "which it is: active or status."
        case .generationUndecided(_, hasBoth: true):
            "Set database.session-schema to active or status, whichever the application writes."
        case .volatileFunction:
            "Compare with $1, the cutoff, instead. If the function does answer the same within a statement: ALTER FUNCTION … "
                + "STABLE;"
        case .privilegesMissing(let table, let role, isOnSchema: true, _):
            "GRANT USAGE ON SCHEMA \(SQL.identifier(table.schema)) TO \(SQL.identifier(role));"
        case .privilegesMissing(let table, let role, isOnSchema: false, let privileges):
            "GRANT \(privileges.joined(separator: ", ")) ON \(table.quoted) TO \(SQL.identifier(role));"
        case .conditionRefused(let job, _): "Correct jobs.\(job).where in the configuration."
        case .rowSecurityOff(_, let role):
            "ALTER ROLE \(SQL.identifier(role)) RESET row_security; the setting may also come from the database or the "
                + "server's configuration."
        case .rowSecurity(let table, let role, _):
            "CREATE POLICY mcp_cleanupd ON \(table.quoted) FOR ALL TO \(SQL.identifier(role)) USING (true); and let no "
                + "restrictive policy apply to the role."
        case .rowsRefused(_, _, .trigger(let names), _) where !names.isEmpty:
            "SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname IN "
                + "(\(names.map(SQL.literal).joined(separator: ", "))); shows their tables."
        // PostgreSQL 18 has a code of its own, 23001, for ON DELETE RESTRICT.
        case .rowsRefused(_, _, .constraint(let name, "23503"), _),
            .rowsRefused(_, _, .constraint(let name, "23001"), _):
            "Declare the foreign key \(name) ON DELETE CASCADE or SET NULL, or delete the rows that refer to the sessions."
        case .rowsRefused(_, _, .timeLimit, _):
            "Look for a foreign key without an index on the referencing column: mcp-cleanupd check names it."
        case .rowsRefused:
            "The server's log has the message. mcp-cleanupd check names the foreign keys and triggers that can refuse."
        case .notReplicated:
            "The rows are deleted here and counted. Check the standbys in synchronous_standby_names: pg_stat_replication."
        case .deleteRule(let table):
            "SELECT rulename, definition FROM pg_rules WHERE tablename = \(SQL.literal(table.table)); shows it. Make it a "
                + "trigger, or drop it."
        case .schemaChanged:
            "Set database.session-schema to active or status once the application's migration is complete."
        case .tooManyDue: "Look at what is due with --once --dry-run; the job's max-fraction is the limit."
        case .historyMissing:
            "Run mcp-cleanupd migrate with an owner's URL, or set history.mode to off."
        case .historyUnusable(let table, let role, let obstacle): obstacle.hint(for: table.rawValue, role: role)
        case .removedMissing:
            "Run mcp-cleanupd migrate with an owner's URL, and leave history.mode on; or set history.removed to off."
        case .nothingRecorded: "Run mcp-cleanupd migrate with an owner's URL; the runs after that are recorded."
        case .sessionsTableDiffers:
            "Leave out --sessions: the table, in whichever of its shapes, belongs to the application's migrations."
        case .indexesOfPartitionedTable:
            "Set database.table to each partition in turn, and run migrate --indexes for it: the search uses the "
                + "partitions' own indexes."
        case .indexBlocked:
            "SELECT pid, xact_start, query FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start; shows "
                + "them. Nothing waits for us; run migrate --indexes again when they are gone."
        case .indexNameTaken: "Rename the object that has the name, then run migrate --indexes again."
        case .claimLost:
            "Nothing is lost or counted twice. If it recurs, look at what froze this process, or raise claim.lease."
        case .databaseClockAhead: "Set both clocks right; database.max-clock-skew is the limit."
        case .deadlinePassed:
            "What was deleted stays deleted; the next run goes on. Raise the job's deadline if it recurs."
        case .canceled: nil
        }
    }
}

extension HistoryTable.Obstacle {
    fileprivate func description(of table: String, role: String) -> String {
        let records = table == HistoryTable.Name.runs.rawValue ? "its runs" : "the sessions that it removes"
        return switch self {
        case .privileges(let isOnSchema, let privileges):
            "the role \(role) has no \(privileges.joined(separator: ", no ")) privilege on "
                + "\(isOnSchema ? "the schema mcp_cleanup" : table), so \(records) cannot be recorded"
        case .rowSecurity:
            "row security on \(table) applies to the role \(role), so rows of others might be hidden from it"
        case .column(let column, let found?, let expected):
            "the column \(column) of \(table) is \(found), and must be \(expected)"
        case .column(let column, nil, _): "the table \(table) has no column \(column)"
        case .index(let columns):
            "the table \(table) has no unique index on \(columns), so two processes could own one run"
        case .owner(let owner):
            "\(table) belongs to the role \(owner), which owns neither the sessions nor the database: its triggers would run "
                + "with this role's rights"
        case .insertVetoed:
            "a run was inserted into \(table) and is not there: a trigger or a rule on the table keeps it out"
        }
    }

    fileprivate func hint(for table: String, role: String) -> String {
        switch self {
        case .privileges(let isOnSchema, let privileges):
            "GRANT \(privileges.joined(separator: ", ")) ON \(isOnSchema ? "SCHEMA mcp_cleanup" : table) TO "
                + "\(SQL.identifier(role));"
        case .rowSecurity: "ALTER TABLE \(table) DISABLE ROW LEVEL SECURITY;"
        case .owner: "ALTER TABLE \(table) OWNER TO the role that owns the sessions; check its triggers first."
        case .column, .index:
            "It was made by another release or another program. Run mcp-cleanupd migrate with an owner's URL; if that does "
                + "not help, rename the table first."
        case .insertVetoed: "SELECT tgname FROM pg_trigger WHERE tgrelid = '\(table)'::regclass; shows the triggers."
        }
    }
}

extension Refusal: CustomStringConvertible {
    package var description: String {
        switch self {
        case .constraint(let name, let state): "the constraint \(name.visible) forbids it (SQLSTATE \(state))"
        case .trigger(let names):
            "a BEFORE DELETE trigger keeps them (\(names.joined(separator: ", ").visible))"
        case .error(let state): "the application's code in the database raised SQLSTATE \(state)"
        case .timeLimit: "deleting one of them alone takes longer than a transaction of a run may"
        }
    }
}

extension PostgresError {
    /// A remedy for the operator; `nil` if there is none to name.
    fileprivate var operatorHint: String? {
        switch self {
        case .invalidParameters: "Correct the database URL."
        case .unreachable(.unresolved, _):
            "Check the host in the database URL, and this host's name service. A paused project of a provider may have no "
                + "address."
        case .unreachable(.refused, _): "Check that the server runs and listens at that address and port."
        case .unreachable(.noRoute, _):
            "This host has no route to that address. If it is an IPv6 address, use a host with an IPv4 address, such as the "
                + "provider's pooler, or give this host (or its container) IPv6."
        case .unreachable(.silent, _):
            "Check the network and firewalls in between. A database that sleeps may take longer to wake: "
                + "database.connect-timeout is the limit."
        case .unreachable(.tls, _):
            "Check sslmode, sslrootcert and channel_binding in the database URL against the server's certificate."
        case .unreachable(.broken, _): "Check that a PostgreSQL server is what listens there."
        case .server(let message, let step):
            PoolerRefusal(message)?.hint
                ?? message.sqlState.value(in: step == .connecting ? SQLState.hintsWhileConnecting : SQLState.hints)
        case .connectionLost(.committing, _):
            "The last batch may or may not have been deleted; nothing is half deleted, and the next run goes on."
        case .connectionLost, .timedOut: "Nothing is half deleted; the next run goes on."
        case .canceled: nil
        case .unexpectedAnswer:
            "This is a bug in mcp-cleanupd or in something between it and the server; please report it."
        }
    }
}

extension PoolerRefusal {
    fileprivate var hint: String {
        switch self {
        case .authentication:
            "Check the role and the password in the database URL, and the pooler's auth_file or auth_query."
        case .database:
            "Check the database's name in the database URL, and the section [databases] of the pooler's configuration."
        case .disabled: "An administrator has disabled it in the pooler; ENABLE in its console takes that back."
        case .startupParameter:
            "Leave this parameter out of the database URL and of the environment (PGOPTIONS), or name it in the pooler's "
                + "ignore_startup_parameters."
        case .statementPooling:
            "Set the pooler's pool_mode to transaction or session for this database, or use the server's own URL."
        case .busy:
            "The pooler has no connection to give: it is paused, its pools are full, or it cannot reach its server. SHOW POOLS "
                + "in its console, and its log, tell which."
        }
    }
}

extension SQLState {
    fileprivate static let hintsWhileConnecting = [
        "28": "Check the role and the password in the database URL, and the server's pg_hba.conf.",
        "3D000": "Check the database's name in the database URL.",
        "53300": "The server has no connection left; look at max_connections and at who holds them.",
        "57P03": "The server is starting or stopping; it should take connections soon.",
        "XX000": asleep, "08": asleep,
    ]

    private static let asleep =
        "A proxy of a serverless database may answer so while it cannot wake it. Look at the provider's console: the project "
        + "may be paused, or over its limits."

    fileprivate static let hints = [
        "42501": "Grant the role what it lacks; docs/security.md has the exact grants, and the policy that row "
            + "security needs.",
        "42703": changed, "42P01": changed,
        "55000":
            "ALTER TABLE … REPLICA IDENTITY FULL; or give the table a primary key, or let the publication leave out "
            + "deletes: ALTER PUBLICATION … SET (publish = 'insert, update');",
        "55P03": "Something holds a lock on the whole table, such as ALTER TABLE; the next run tries again.",
        "25006": "The server became read-only, as after a failover; the next run connects again.",
        "53": "The server is out of a resource, such as disk space or memory.",
        "57014": "An administrator, or a timeout of the server's, canceled the statement; the next run continues.",
        "57": "The server is shutting down or restarting; the next run connects again.",
    ]

    private static let changed = "The table was changed during the run; the next run looks at it again."
}
