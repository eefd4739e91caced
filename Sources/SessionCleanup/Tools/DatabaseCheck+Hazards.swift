import Postgres
import Time

/// The checks for what stops a run before its first batch, slows each batch down, or gives the role or others more rights
/// than a run needs.
extension DatabaseCheck {
    /// Checks the table in the order of `CheckResult.Check`.
    func checkHazards(_ survey: Survey) async {
        guard let oid = survey.oid, survey.kind == "r" || survey.kind == "p" else { return }
        let table = survey.table.name
        await perform(.deleteRule) {
            if survey.hasDeleteRule { throw RunFailure.deleteRule(table) }
            return [.ok("none")]
        }
        if survey.canUseSchema, survey.missingPrivileges.isEmpty, !survey.hasDeleteRule, !survey.isInRecovery,
            !survey.refusesFilters
        {
            await perform(.replicaIdentity) {
                try await survey.requireDeletePlan(in: session)
                return [.ok("not needed, or there")]
            }
        }
        await perform(.foreignKeys) { try await foreignKeys(to: oid, table) }
        await perform(.triggers) {
            let rows = try await session.read(HazardSQL.deleteTriggers(of: oid)).rows
            return rows.isEmpty ? [.ok("none on DELETE of \(table)")] : try rows.map(Self.trigger)
        }
        await perform(.role) {
            let row = try await session.read(HazardSQL.role(on: oid)).onlyRow()
            let rights = [
                ("is_superuser", "is a superuser"), ("owns_table", "owns \(table)"),
                ("bypasses_row_security", "has BYPASSRLS"),
            ]
            guard let excess = try rights.first(where: { try row.bool($0.0) })?.1 else {
                return [.ok("\(survey.role) has no more rights than a run needs on \(table)")]
            }
            return [
                .warn(
                    "\(survey.role) \(excess), which a run does not need: everyone who can read the database URL has these "
                        + "rights",
                    hint:
                        "Create a role of its own, run mcp-cleanupd migrate --role NAME, and put it into the database URL."
                )
            ]
        }
    }

    private func foreignKeys(to oid: UInt32, _ table: TableName) async throws -> [Finding] {
        let rows = try await session.read(HazardSQL.foreignKeys(to: oid)).rows
        var warnings: [Finding] = []
        for row in rows {
            let relation = TableName(schema: try row.text("schema"), table: try row.text("relation"))
            let columns = try row.text("columns").split(separator: "\n").map(String.init)
            let key = "the foreign key \(try row.text("name")) of \(relation) (\(columns.joined(separator: ", ")))"
            if try row.bool("restricts") {
                let hint = "Declare it ON DELETE CASCADE or SET NULL, or delete the rows of \(relation) first."
                warnings.append(.warn("\(key) keeps each due row of \(table) that it refers to", hint: hint))
            }
            if try !row.bool("has_index") {
                let list = columns.map(SQL.identifier).joined(separator: ", ")
                let message = "\(key) has no index: each deleted row of \(table) reads all of \(relation)"
                warnings.append(
                    .warn(message, hint: "CREATE INDEX CONCURRENTLY ON \(relation.quoted) (\(list));"))
            }
        }
        if !warnings.isEmpty { return warnings }
        if rows.isEmpty { return [.ok("none refers to \(table)")] }
        return [.ok("\(rows.count) to \(table), each with an index, and none keeps a row")]
    }

    /// Reads a row of `HazardSQL.deleteTriggers`.
    private static func trigger(_ row: QueryResult.Row) throws -> Finding {
        let name = try row.text("name")
        let relation = TableName(schema: try row.text("schema"), table: try row.text("relation"))
        let (isBefore, isForEachRow) = (try row.bool("is_before"), try row.bool("is_for_each_row"))
        let event = isForEachRow ? "deleted row" : "DELETE statement"
        let effect = isBefore && isForEachRow ? "keep or refuse it" : "refuse it"
        return .warn(
            "the trigger \(name) on \(relation) runs \(isBefore ? "before" : "after") each \(event), and may \(effect); "
                + "its time makes batches smaller",
            hint: "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = \(SQL.literal(name)); shows it.")
    }

    /// Finds schemas of the role's search path in which other roles may create functions.
    func checkSearchPath(of role: String) async {
        await perform(.searchPath) {
            let path = try await session.read(HazardSQL.schemasOfPath, path: .role).rows
            let schemas = try path.map { try $0.text("schema") }
            guard !schemas.isEmpty else { return [.ok("no schema")] }
            let open = try await session.read(HazardSQL.openSchemas(schemas)).rows
            guard !open.isEmpty else { return [.ok(schemas.joined(separator: ", "))] }
            return try open.map { row in
                let (schema, roles) = (try row.text("schema"), try row.text("roles"))
                return .warn(
                    "other roles may create functions in \(schema), a schema of \(role)'s search path: \(roles)",
                    hint: "REVOKE CREATE ON SCHEMA \(SQL.identifier(schema)) FROM \(roles);")
            }
        }
    }
}

extension Survey {
    /// Has the server plan a DELETE. It refuses, as it would refuse the first batch's, if the table publishes its
    /// deletes and has no replica identity.
    ///
    /// - Throws: the server's refusal.
    func requireDeletePlan(in session: DatabaseSession) async throws(RunFailure) {
        _ = try await session.read(HazardSQL.explainDelete(table.name))
    }

    func finding(lockTimeout limit: Duration) -> Finding {
        let most = deadlockTimeout / 2
        let found = limit.secondsText
        guard limit > most else {
            return .ok("\(found), and the server's deadlock_timeout is \(deadlockTimeout.secondsText)")
        }
        return .warn(
            "batch.lock-timeout is \(found), more than half of the server's deadlock_timeout of "
                + "\(deadlockTimeout.secondsText): the server may end a transaction of the application for a deadlock",
            hint: "Set batch.lock-timeout to at most \(most.secondsText).")
    }
}
