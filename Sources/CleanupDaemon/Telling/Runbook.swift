package import SessionCleanup

/// The runbook, `docs/operations.md`, as alerts and the page link to it.
package enum Runbook {
    /// Where the project's documentation is published. `config/prometheus-rules.yml` has the same address; a test compares them.
    package static let address = "file:///usr/share/doc/mcp-cleanupd/docs/operations.md"

    /// The section about a failed reload.
    package static let failedReload = "\(address)#mcpcleanupconfigreloadfailed"

    /// The section about failures of this kind; the runbook's section “Causes” has one for each.
    package static func section(for failure: RunFailure) -> String {
        let anchor =
            switch failure.kind {
            case .unreachable: "cannot-connect"
            case .refused: "the-database-refuses"
            case .misconfigured: "url-configuration-or-schema"
            case .mayPass: "transient-causes"
            case .canceled, .unexpected: "causes"
            }
        return "\(address)#\(anchor)"
    }
}
