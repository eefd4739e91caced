/// Whether row security lets a role see and delete every row of a table.
///
/// PostgreSQL filters silently: a DELETE that a policy hides rows from says `DELETE 0`, and so does `FOR UPDATE`, which
/// brings the policies for UPDATE in as well. Whether an arbitrary condition hides a row cannot be known, so only the
/// literal `true` counts as hiding none.
package enum RowSecurity {
    /// A policy that applies to the role: to PUBLIC, or to a role whose privileges it inherits.
    struct Policy: Hashable, Sendable {
        let name: String
        /// `nil` is FOR ALL.
        let command: Command?
        let isPermissive: Bool
        /// The USING condition as the server prints it; `nil` when there is none.
        let condition: String?
    }

    /// INSERT policies have no USING and are of no interest.
    package enum Command: String, Hashable, Sendable, CaseIterable {
        case select = "SELECT"
        case update = "UPDATE"
        case delete = "DELETE"
    }

    /// What stands in the way, or `nil` when every row can be reached by the commands.
    static func obstacle(among policies: [Policy], to commands: [Command]) -> RowSecurityObstacle? {
        for command in commands {
            let applicable = policies.filter { $0.command == nil || $0.command == command }
            guard applicable.contains(where: { $0.isPermissive && $0.condition == "true" }) else {
                return .noUnconditionalPolicy(command)
            }
            // No USING on a restrictive policy restricts nothing.
            if let policy = applicable.first(where: { !$0.isPermissive && ($0.condition ?? "true") != "true" }) {
                return .restrictivePolicy(policy.name)
            }
        }
        return nil
    }
}

package enum RowSecurityObstacle: Hashable, Sendable, CustomStringConvertible {
    case noUnconditionalPolicy(RowSecurity.Command)
    case restrictivePolicy(String)
    /// `row_security` is off for the role: the server refuses what policies would filter.
    case statementsRefused

    package var description: String {
        switch self {
        case .noUnconditionalPolicy(let command): "no policy for \(command.rawValue) applies to it with USING (true)"
        case .restrictivePolicy(let name): "the restrictive policy \(name) applies to it"
        case .statementsRefused:
            "its setting row_security is off, so the server refuses every statement that policies apply to"
        }
    }
}
