import Postgres
import Time

/// One of the things that a run relies on, and how it is.
package struct CheckResult: Hashable, Sendable {
    package let check: Check
    package let status: Status
    package internal(set) var message: String
    /// What to do about it.
    package let hint: String?
    /// What a run would fail with; only where the status is `fail`.
    package let kind: FailureKind?

    /// In the order in which they are made.
    package enum Check: String, Hashable, Sendable, CaseIterable {
        case connection, transport, server, pooler, clock
        case lockTimeout = "lock-timeout"
        case searchPath = "search-path"
        case table
        case schemaPrivilege = "privilege-schema"
        case selectPrivilege = "privilege-select"
        case updatePrivilege = "privilege-update"
        case deletePrivilege = "privilege-delete"
        case rowSecurity = "row-security"
        case deleteRule = "delete-rule"
        case replicaIdentity = "replica-identity"
        case foreignKeys = "foreign-keys"
        case triggers, role
        case search, indexes, history
        case staleRun = "stale-run"
        case removed
        case cron = "pg-cron"
    }

    package enum Status: String, Hashable, Sendable, CaseIterable {
        case ok
        /// Runs succeed all the same.
        case warn
        /// Runs fail.
        case fail
    }

    static func ok(_ check: Check, _ message: String) -> CheckResult {
        CheckResult(check: check, status: .ok, message: message, hint: nil, kind: nil)
    }

    static func warn(_ check: Check, _ message: String, hint: String?) -> CheckResult {
        CheckResult(check: check, status: .warn, message: message, hint: hint, kind: nil)
    }

    package static func fail(_ check: Check, _ failure: RunFailure) -> CheckResult {
        CheckResult(
            check: check, status: .fail, message: "\(failure)", hint: failure.hint, kind: failure.kind)
    }

    /// Returns the results of checks that ask the server, or its refusal to answer as the failure of the first of them.
    ///
    /// - Parameter job: the one that the check is about, for the message of a failure that does not name it.
    static func all(
        _ check: Check, of job: String? = nil, _ body: () async throws -> [CheckResult]
    ) async -> [CheckResult] {
        do {
            return try await body()
        } catch {
            var result = CheckResult.fail(check, RunFailure(error))
            if let job, !result.message.contains(job) { result.message = "\(job): \(result.message)" }
            return [result]
        }
    }
}

extension Survey {
    func serverCheck() -> CheckResult {
        guard serverVersion >= 140_000 else { return .fail(.server, .serverTooOld(version: serverVersion)) }
        if isInRecovery { return .fail(.server, .serverReadOnly) }
        return .ok(.server, "PostgreSQL \(serverVersion / 10_000).\(serverVersion % 10_000), read-write")
    }

    /// One for each privilege; none where there is no table.
    func privilegeChecks() -> [CheckResult] {
        let table = table.name
        guard kind != nil else { return [] }
        func result(_ check: CheckResult.Check, _ privilege: String, _ has: Bool, onSchema: Bool) -> CheckResult {
            has
                ? .ok(check, "\(role) has \(privilege) on \(onSchema ? "the schema of " : "")\(table)")
                : .fail(check, .privilegesMissing(table, role: role, isOnSchema: onSchema, [privilege]))
        }
        let onTable: [(CheckResult.Check, String)] = [
            (.selectPrivilege, "SELECT"), (.updatePrivilege, "UPDATE"), (.deletePrivilege, "DELETE"),
        ]
        return [result(.schemaPrivilege, "USAGE", canUseSchema, onSchema: true)]
            + onTable.map { result($0, $1, !missingPrivileges.contains($1), onSchema: false) }
    }
}

extension ClockComparison {
    func check(limit: Duration) -> CheckResult {
        do {
            try refuseAhead(by: limit)
        } catch {
            return .fail(.clock, error)
        }
        if skew == .zero { return .ok(.clock, "the database's clock and this host's agree") }
        let distance = (skew > .zero ? skew : .zero - skew).secondsText
        if skew < .zero - limit {
            return .warn(
                .clock, "the database's clock is \(distance) behind this host's: sessions are removed that much later",
                hint: "Set both clocks right.")
        }
        let direction = skew > .zero ? "ahead of" : "behind"
        return .ok(
            .clock,
            "the database's clock is \(distance) \(direction) this host's; \(limit.secondsText) are allowed")
    }
}
