import Postgres
import Time

/// The checks for what stops a run before its first batch, slows each batch down, or gives the role or others more rights
/// than a run needs.
extension Survey {
    /// Lets the server refuse a DELETE as it would refuse the first batch's: for a table that publishes its deletes and
    /// has no replica identity.
    ///
    /// - Throws: the server's refusal.
    func requireDeletePlan(in session: DatabaseSession) async throws(RunFailure) {
        _ = try await session.read(HazardSQL.explainDelete(table.name))
    }

    /// Returns the results about the table, in the order of `CheckResult.Check`; none where there is no table.
    func hazardChecks(in session: DatabaseSession) async -> [CheckResult] {
        guard let oid, kind == "r" || kind == "p" else { return [] }
        var results: [CheckResult] = [
            hasDeleteRule ? .fail(.deleteRule, .deleteRule(table.name)) : .ok(.deleteRule, "none")
        ]
        if canUseSchema, missingPrivileges.isEmpty, !hasDeleteRule, !isInRecovery, !refusesFilters {
            results += await CheckResult.all(.replicaIdentity) {
                try await requireDeletePlan(in: session)
                return [.ok(.replicaIdentity, "not needed, or there")]
            }
        }
        results += await CheckResult.all(.foreignKeys) { try await foreignKeyChecks(to: oid, in: session) }
        results += await CheckResult.all(.triggers) { try await triggerChecks(of: oid, in: session) }
        return await results + CheckResult.all(.role) { [try await roleCheck(on: oid, in: session)] }
    }

    private func foreignKeyChecks(to oid: UInt32, in session: DatabaseSession) async throws -> [CheckResult] {
        let rows = try await session.read(HazardSQL.foreignKeys(to: oid)).rows
        var results: [CheckResult] = []
        for row in rows {
            let relation = TableName(schema: try row.text("schema"), table: try row.text("relation"))
            let columns = try row.text("columns").split(separator: "\n").map(String.init)
            let key = "the foreign key \(try row.text("name")) of \(relation) (\(columns.joined(separator: ", ")))"
            if try row.bool("restricts") {
                results.append(
                    .warn(
                        .foreignKeys, "\(key) keeps each due row of \(table.name) that it refers to",
                        hint: "Declare it ON DELETE CASCADE or SET NULL, or delete the rows of \(relation) first."))
            }
            if try !row.bool("has_index") {
                let list = columns.map(SQL.identifier).joined(separator: ", ")
                results.append(
                    .warn(
                        .foreignKeys, "\(key) has no index: each deleted row of \(table.name) reads all of \(relation)",
                        hint: "CREATE INDEX CONCURRENTLY ON \(relation.quoted) (\(list));"))
            }
        }
        guard results.isEmpty else { return results }
        return rows.isEmpty
            ? [.ok(.foreignKeys, "none refers to \(table.name)")]
            : [.ok(.foreignKeys, "\(rows.count) to \(table.name), each with an index, and none keeps a row")]
    }

    private func triggerChecks(of oid: UInt32, in session: DatabaseSession) async throws -> [CheckResult] {
        let rows = try await session.read(HazardSQL.deleteTriggers(of: oid)).rows
        guard !rows.isEmpty else { return [.ok(.triggers, "none on DELETE of \(table.name)")] }
        return try rows.map { row in
            let name = try row.text("name")
            let relation = TableName(schema: try row.text("schema"), table: try row.text("relation"))
            let (isBefore, isForEachRow) = (try row.bool("is_before"), try row.bool("is_for_each_row"))
            let event = isForEachRow ? "deleted row" : "DELETE statement"
            let effect = isBefore && isForEachRow ? "keep or refuse it" : "refuse it"
            return .warn(
                .triggers,
                "the trigger \(name) on \(relation) runs \(isBefore ? "before" : "after") each \(event), and may \(effect); "
                    + "its time makes batches smaller",
                hint: "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = \(SQL.literal(name)); shows it.")
        }
    }

    private func roleCheck(on oid: UInt32, in session: DatabaseSession) async throws -> CheckResult {
        let row = try await session.read(HazardSQL.role(on: oid)).onlyRow()
        let rights = [
            ("is_superuser", "is a superuser"), ("owns_table", "owns \(table.name)"),
            ("bypasses_row_security", "has BYPASSRLS"),
        ]
        guard let excess = try rights.first(where: { try row.bool($0.0) })?.1 else {
            return .ok(.role, "\(role) has no more rights than a run needs on \(table.name)")
        }
        return .warn(
            .role,
            "\(role) \(excess), which a run does not need: everyone who can read the database URL has these rights",
            hint: "Create a role of its own, run mcp-cleanupd migrate --role NAME, and put it into the database URL.")
    }

    /// Finds schemas of the role's search path in which other roles may create functions.
    func searchPathChecks(in session: DatabaseSession) async -> [CheckResult] {
        await CheckResult.all(.searchPath) {
            let path = try await session.read(HazardSQL.schemasOfPath, path: .role).rows
            let schemas = try path.map { try $0.text("schema") }
            guard !schemas.isEmpty else { return [.ok(.searchPath, "no schema")] }
            let open = try await session.read(HazardSQL.openSchemas(schemas)).rows
            guard !open.isEmpty else { return [.ok(.searchPath, schemas.joined(separator: ", "))] }
            return try open.map { row in
                let (schema, roles) = (try row.text("schema"), try row.text("roles"))
                return .warn(
                    .searchPath,
                    "other roles may create functions in \(schema), a schema of \(role)'s search path: \(roles)",
                    hint: "REVOKE CREATE ON SCHEMA \(SQL.identifier(schema)) FROM \(roles);")
            }
        }
    }

    func lockTimeoutCheck(_ limit: Duration) -> CheckResult {
        let most = deadlockTimeout / 2
        let found = limit.secondsText
        guard limit > most else {
            return .ok(.lockTimeout, "\(found), and the server's deadlock_timeout is \(deadlockTimeout.secondsText)")
        }
        return .warn(
            .lockTimeout,
            "batch.lock-timeout is \(found), more than half of the server's deadlock_timeout of "
                + "\(deadlockTimeout.secondsText): the server may end a transaction of the application for a deadlock",
            hint: "Set batch.lock-timeout to at most \(most.secondsText).")
    }
}
