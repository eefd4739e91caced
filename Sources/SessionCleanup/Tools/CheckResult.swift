/// The result of checking one of the things that a run relies on.
package struct CheckResult: Hashable, Sendable {
    package let check: Check
    package let status: Status
    package internal(set) var message: String
    /// A remedy for the operator; `nil` if there is none to name.
    package var hint: String?
    /// The kind of failure that a run would end with; `nil` unless the status is `fail`.
    package var kind: FailureKind?

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

    package static func fail(_ check: Check, _ failure: RunFailure) -> CheckResult {
        CheckResult(check: check, status: .fail, message: "\(failure)", hint: failure.hint, kind: failure.kind)
    }
}

/// A finding of a check that did not fail.
enum Finding: Hashable, Sendable {
    case ok(String)
    case warn(String, hint: String?)
}
