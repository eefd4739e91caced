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

    /// Returns the results of checks that ask the server, or its refusal to answer as the failure of the first of them.
    static func all(
        _ check: Check, _ body: () async throws(RunFailure) -> [CheckResult]
    ) async -> [CheckResult] {
        do {
            return try await body()
        } catch {
            return [.fail(check, error)]
        }
    }

    package static func fail(_ check: Check, _ failure: RunFailure) -> CheckResult {
        CheckResult(
            check: check, status: .fail, message: "\(failure)", hint: failure.hint, kind: failure.kind)
    }
}

extension Survey {
    /// The version as people write it.
    private var release: String { "PostgreSQL \(serverVersion / 10_000).\(serverVersion % 10_000)" }

    func serverCheck() -> CheckResult {
        guard serverVersion >= 140_000 else { return .fail(.server, .serverTooOld(version: serverVersion)) }
        return isInRecovery ? .fail(.server, .serverReadOnly) : .ok(.server, "\(release), read-write")
    }

    /// One for each privilege; none where there is no table.
    func privilegeChecks() -> [CheckResult] {
        let table = table.name
        guard kind != nil else { return [] }
        let onSchema: CheckResult =
            canUseSchema
            ? .ok(.schemaPrivilege, "\(role) has USAGE on the schema of \(table)")
            : .fail(.schemaPrivilege, .privilegesMissing(table, role: role, isOnSchema: true, []))
        let onTable = [
            ("SELECT", CheckResult.Check.selectPrivilege), ("UPDATE", .updatePrivilege), ("DELETE", .deletePrivilege),
        ].map { (privilege, check) -> CheckResult in
            missingPrivileges.contains(privilege)
                ? .fail(check, .privilegesMissing(table, role: role, isOnSchema: false, [privilege]))
                : .ok(check, "\(role) has \(privilege) on \(table)")
        }
        return [onSchema] + onTable
    }
}

extension ClockComparison {
    func check(limit: Duration) -> CheckResult {
        do {
            try refuseAhead(by: limit)
        } catch {
            return .fail(.clock, error)
        }
        if skew < .zero - limit {
            return .warn(
                .clock,
                "the database's clock is \((.zero - skew).secondsText) behind this host's: sessions are removed that much later",
                hint: "Set both clocks right.")
        }
        if skew == .zero { return .ok(.clock, "the database's clock and this host's agree") }
        let direction = skew > .zero ? "ahead of" : "behind"
        let distance = skew > .zero ? skew : .zero - skew
        return .ok(
            .clock,
            "the database's clock is \(distance.secondsText) \(direction) this host's; \(limit.secondsText) are allowed"
        )
    }
}
