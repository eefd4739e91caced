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
            results += await CheckResult.all(.replicaIdentity) { () async throws(RunFailure) in
                try await requireDeletePlan(in: session)
                return [.ok(.replicaIdentity, "not needed, or there")]
            }
        }
        results += await CheckResult.all(.foreignKeys) { () async throws(RunFailure) in
            try await foreignKeyChecks(to: oid, in: session)
        }
        results += await CheckResult.all(.triggers) { () async throws(RunFailure) in
            try await triggerChecks(of: oid, in: session)
        }
        results += await CheckResult.all(.role) { () async throws(RunFailure) in
            try await roleChecks(on: oid, in: session)
        }
        return results
    }

    private func foreignKeyChecks(to oid: UInt32, in session: DatabaseSession) async throws(RunFailure) -> [CheckResult]
    {
        let found = try await session.read(HazardSQL.foreignKeys(to: oid))
        let results = try found.reading { result in
            var results: [CheckResult] = []
            for row in result.rows {
                let name = try row.text("name")
                let relation = TableName(schema: try row.text("schema"), table: try row.text("relation"))
                let columns = try row.text("columns").split(separator: "\n").map(String.init)
                let key = "the foreign key \(name) of \(relation) (\(columns.joined(separator: ", ")))"
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
                            .foreignKeys,
                            "\(key) has no index: each deleted row of \(table.name) reads all of \(relation)",
                            hint: "CREATE INDEX CONCURRENTLY ON \(relation.quoted) (\(list));"))
                }
            }
            return (results, result.rows.count)
        }
        guard results.0.isEmpty else { return results.0 }
        return [
            .ok(
                .foreignKeys,
                results.1 == 0
                    ? "none refers to \(table.name)"
                    : "\(results.1) to \(table.name), each with an index, and none keeps a row")
        ]
    }

    private func triggerChecks(of oid: UInt32, in session: DatabaseSession) async throws(RunFailure) -> [CheckResult] {
        let found = try await session.read(HazardSQL.deleteTriggers(of: oid))
        let results = try found.reading { result in
            try result.rows.map { row -> CheckResult in
                let name = try row.text("name")
                let relation = TableName(schema: try row.text("schema"), table: try row.text("relation"))
                let effect =
                    switch (try row.bool("is_for_each_row"), try row.bool("is_before")) {
                    case (true, true): "runs before each deleted row, and may keep or refuse it"
                    case (true, false): "runs after each deleted row, and may refuse it"
                    case (false, true): "runs before each DELETE statement, and may refuse it"
                    case (false, false): "runs after each DELETE statement, and may refuse it"
                    }
                return .warn(
                    .triggers, "the trigger \(name) on \(relation) \(effect); its time makes batches smaller",
                    hint: "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = \(SQL.literal(name)); shows it."
                )
            }
        }
        return results.isEmpty ? [.ok(.triggers, "none on DELETE of \(table.name)")] : results
    }

    private func roleChecks(on oid: UInt32, in session: DatabaseSession) async throws(RunFailure) -> [CheckResult] {
        let found = try await session.read(HazardSQL.role(on: oid))
        let excess: String? = try found.reading { result in
            let row = try result.onlyRow()
            if try row.bool("is_superuser") { return "is a superuser" }
            if try row.bool("owns_table") { return "owns \(table.name)" }
            return try row.bool("bypasses_row_security") ? "has BYPASSRLS" : nil
        }
        guard let excess else { return [.ok(.role, "\(role) has no more rights than a run needs on \(table.name)")] }
        return [
            .warn(
                .role,
                "\(role) \(excess), which a run does not need: everyone who can read the database URL has these rights",
                hint:
                    "Create a role of its own, run mcp-cleanupd migrate --role NAME, and put it into the database URL.")
        ]
    }

    /// Finds schemas of the role's search path in which other roles may create functions.
    func searchPathChecks(in session: DatabaseSession) async -> [CheckResult] {
        await CheckResult.all(.searchPath) { () async throws(RunFailure) in
            let path = try await session.read(HazardSQL.schemasOfPath, path: .role)
            let schemas = try path.reading { try $0.rows.map { try $0.text("schema") } }
            guard !schemas.isEmpty else { return [.ok(.searchPath, "no schema")] }
            let found = try await session.read(HazardSQL.openSchemas(schemas))
            let open = try found.reading { result in
                try result.rows.map { row -> CheckResult in
                    let (schema, roles) = (try row.text("schema"), try row.text("roles"))
                    return .warn(
                        .searchPath,
                        "other roles may create functions in \(schema), a schema of \(role)'s search path: \(roles)",
                        hint: "REVOKE CREATE ON SCHEMA \(SQL.identifier(schema)) FROM \(roles);")
                }
            }
            return open.isEmpty ? [.ok(.searchPath, schemas.joined(separator: ", "))] : open
        }
    }

    func lockTimeoutCheck(_ limit: Duration) -> CheckResult {
        let most = deadlockTimeout / 2
        guard limit > most else {
            return .ok(
                .lockTimeout,
                "\(limit.secondsText), and the server's deadlock_timeout is \(deadlockTimeout.secondsText)")
        }
        return .warn(
            .lockTimeout,
            "batch.lock-timeout is \(limit.secondsText), more than half of the server's deadlock_timeout of "
                + "\(deadlockTimeout.secondsText): the server may end a transaction of the application for a deadlock",
            hint: "Set batch.lock-timeout to at most \(most.secondsText).")
    }
}
